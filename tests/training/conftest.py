"""A tiny real corpus and two tiny random teachers as model folders, made once per test session."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import (
    BitImageProcessor,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
)

from training.corpus.curation import curate
from training.corpus.filters import FilterSettings
from training.corpus.filters.blur import BlurSettings
from training.corpus.filters.out_of_body import OutOfBodySettings
from training.corpus.filters.screen import ScreenSettings
from training.corpus.frames import encode_image
from training.corpus.manifest import (
    CLIP_SCHEMA,
    CURATION_FILE,
    DROP_SCHEMA,
    DROPS_FILE,
    MANIFEST_FILE,
    SHARD_FOLDER,
    Clip,
    fingerprint,
    write_rows,
)
from training.corpus.masks import MASK_SCHEMA, MASKS_FILE, Mask
from training.corpus.settings import CurationSettings
from training.corpus.shards import open_shard, shard_name
from training.loader import ViewBatch
from training.views import all_valid


def make_batch(images: torch.Tensor, valid: torch.Tensor | None = None, **columns: Any) -> ViewBatch:
    """Images (B, 3, V, V), numbered from 0, as a batch of one clip, source and procedure."""
    count, size = len(images), images.shape[-1]
    zeros = torch.zeros(count, dtype=torch.int64)
    facts = {"clips": zeros, "sources": zeros, "procedures": zeros, "shared": torch.arange(count), **columns}
    return ViewBatch(images, torch.arange(count), all_valid(count, size) if valid is None else valid, **facts)


@pytest.fixture(scope="session")
def as_batch() -> Callable[..., ViewBatch]:
    return make_batch


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases of eight stills: smooth color fields whose hue and blob positions differ, one case below test/."""
    root = tmp_path_factory.mktemp("stills")
    generator = np.random.default_rng(0)
    for number in range(5):
        folder = root / ("test" if number == 4 else "train")
        folder.mkdir(exist_ok=True)
        for frame in range(8):
            coarse = generator.integers(40, 220, (4, 5, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"case{number}_{frame}.jpg"), cv2.resize(coarse, (80, 64)))
    out = tmp_path_factory.mktemp("corpus") / "corpus"
    # Color fields are no tissue: these filters would rightly drop them.
    filters = FilterSettings(
        out_of_body=OutOfBodySettings(enabled=False),
        screen=ScreenSettings(enabled=False),
        blur=BlurSettings(enabled=False),
    )
    curate([root], out, CurationSettings(filters=filters))
    return out


def save_corpus(
    folder: Path,
    clips: Sequence[dict[str, Any]],
    masks: Sequence[Mask] = (),
    row_group_frames: int = 8,
    clips_per_shard: int = 4,
) -> Path:
    """A corpus without curation. Each clip gives `num_frames` and what else differs from the defaults.

    Frame p of clip n is flat: red 10 * n, green 10 * p, blue 90. Its size is 32 x 24 pixels, its `clip_id` "clip<n>".
    """
    rows = []
    (folder / SHARD_FOLDER).mkdir(parents=True)
    for first in range(0, len(clips), clips_per_shard):
        name = shard_name(first // clips_per_shard)
        with open_shard(folder / SHARD_FOLDER / name, row_group_frames) as shard:
            for number in range(first, min(first + clips_per_shard, len(clips))):
                clip = {**CLIP, "clip_id": f"clip{number}", "shard": name, **clips[number]}
                flat = [np.full((24, 32, 3), (10 * number, 10 * p, 90), np.uint8) for p in range(clip["num_frames"])]
                frames = [
                    {
                        "image": encode_image(picture, "jpeg", 95),
                        **{key: clip[key] for key in ("clip_id", "video_id", "case_id", "width", "height")},
                        "frame_index": position,
                        "timestamp": float(position),
                        "phash": 0,
                        "luma": 0.0,
                        "sharpness": 0.0,
                    }
                    for position, picture in enumerate(flat)
                ]
                rows.append(Clip(**{**clip, "shard_row": shard.add(frames, clip["num_frames"])}))
    write_rows(rows, CLIP_SCHEMA, folder / MANIFEST_FILE)
    write_rows([], DROP_SCHEMA, folder / DROPS_FILE)
    if masks:
        write_rows(masks, MASK_SCHEMA, folder / MASKS_FILE)
    record = {"schema_version": 2, "fingerprint": fingerprint(rows), "counts": {"clips": len(rows)}, "inputs": ["data"]}
    (folder / CURATION_FILE).write_text(json.dumps(record), encoding="utf-8")
    return folder


CLIP: dict[str, Any] = {
    "source": "data",
    "video_id": "v",
    "case_id": "c",
    "split": "train",
    "procedures": ("cholecystectomy",),
    "robotic": False,
    "licence": "CC-BY-4.0",
    "fps": 1.0,
    "width": 32,
    "height": 24,
    "t_start": 0.0,
    "t_end": 1.0,
    "sha256": "0" * 64,
    "crop_left": 0,
    "crop_top": 0,
    "crop_right": 32,
    "crop_bottom": 24,
    "fov_cx": None,
    "fov_cy": None,
    "fov_radius": None,
    "fov_confidence": None,
    "mask": "",
    "weight": 1.0,
    "overlaps": (),
    "path": "v.mp4",
}


@pytest.fixture
def write_corpus() -> Callable[..., Path]:
    return save_corpus


@pytest.fixture
def write_duplicates() -> Callable[..., None]:
    """Writes duplicates.parquet into a corpus: rows of clip_id, position, representative, all of one cluster."""

    def write(folder: Path, rows: Sequence[tuple[str, int, bool]]) -> None:
        clip_ids, positions, representatives = zip(*rows, strict=True) if rows else ((), (), ())
        table = {
            "cluster": pa.array([0] * len(rows), pa.int64()),
            "clip_id": pa.array(clip_ids, pa.string()),
            "position": pa.array(positions, pa.int32()),
            "video_id": pa.array(["v"] * len(rows), pa.string()),
            "case_id": pa.array(["c"] * len(rows), pa.string()),
            "representative": pa.array(representatives, pa.bool_()),
            "distance": pa.array([0.0] * len(rows), pa.float32()),
            "method": pa.array(["hash"] * len(rows), pa.string()),
        }
        pq.write_table(pa.table(table), folder / "duplicates.parquet")

    return write


@pytest.fixture(scope="session")
def tiny_teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A ViT-like and a CNN-like teacher, random, as folders that load like Hub repositories."""
    root = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(0)
    vit = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, patch_size=8, image_size=32
    )
    Dinov2Model(vit).save_pretrained(root / "vit")
    BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(root / "vit")
    cnn = ConvNextConfig(hidden_sizes=[8, 8, 16, 20], depths=[1, 1, 1, 1], num_stages=4)
    ConvNextModel(cnn).save_pretrained(root / "cnn")
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0).save_pretrained(root / "cnn")
    return {"vit": root / "vit", "cnn": root / "cnn"}
