"""A tiny corpus with several held-out videos, and a tiny run on it."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from training import pretrain
from training.corpus.curation import curate
from training.corpus.filters import FilterSettings
from training.corpus.filters.blur import BlurSettings
from training.corpus.filters.duplicate import DuplicateSettings
from training.corpus.filters.out_of_body import OutOfBodySettings
from training.corpus.filters.screen import ScreenSettings
from training.corpus.settings import CurationSettings

STEPS = 4
# All filters that would rightly drop color fields.
FILTERS = FilterSettings(
    out_of_body=OutOfBodySettings(enabled=False),
    screen=ScreenSettings(enabled=False),
    blur=BlurSettings(enabled=False),
    duplicate=DuplicateSettings(enabled=False),
)


def draw_video(folder: Path, name: str, frames: int, seed: int) -> None:
    """Frames one second apart (25 numbers) of a field of colors that drifts."""
    folder.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(40, 220, (8, 24, 3), dtype=np.uint8)
    wide = cv2.resize(coarse, (240, 80))
    for frame in range(frames):
        cv2.imwrite(str(folder / f"{name}_{25 * frame}.png"), wide[:, 4 * frame : 4 * frame + 80])


@pytest.fixture(scope="session")
def videos_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three train videos and three held-out ones of eight frames each, one second apart."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(6):
        draw_video(root / ("train" if number < 3 else "test"), f"{number}", 8, number)
    out = tmp_path_factory.mktemp("diagnosed") / "corpus"
    curate([root], out, CurationSettings(filters=FILTERS, deidentify=False))
    return out


@pytest.fixture(scope="session")
def tiny_run(videos_corpus: Path, tiny_teachers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps with the two tiny teachers."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    words = [
        f"data.corpus={videos_corpus}",
        f"output_dir={out}",
        *(f"teachers.{name}.repo={folder}" for name, folder in tiny_teachers.items()),
        "student.size=nano",
        "student.image_size=32",
        "distillation.head_width=16",
        "distillation.calibration_frames=32",
        "data.held_out_frames=24",
        "data.frames_per_clip=1",
        "batch_size=2",
        f"max_steps={STEPS}",
        "log.eval_every=4",
        "log.save_every=2",
        "log.plan=false",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pretrain", *words])
        pretrain.main()
    return out
