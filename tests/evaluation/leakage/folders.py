"""A tiny HyperKvasir with pictures that differ, and cases made by hand."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from evaluation.datasets.dataset import FrameReference
from evaluation.datasets.workflow import Side
from evaluation.leakage.cases import Case, Cases
from tests.evaluation.datasets.layouts import write_table

POLYPS = "labeled-images/lower-gi-tract/pathological-findings/polyps"
TABLE = "official_splits/2_fold_split.csv"


def draw(seed: int) -> np.ndarray:
    """A picture of coarse structure, uint8 (96, 128, 3), unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(40, 200, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC)


def name_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def write_hyperkvasir(root: Path) -> Path:
    """Four polyps; the first two are trained on."""
    (root / POLYPS).mkdir(parents=True)
    (root / "labeled-images" / "upper-gi-tract").mkdir()
    for number in range(4):
        Image.fromarray(draw(number)).save(root / POLYPS / f"{name_of(number)}.jpg", quality=95)
    rows = [(f"{name_of(number)}.jpg", "polyp", number // 2) for number in range(4)]
    write_table(root / TABLE, ["file-name", "class-name", "split-index"], rows, ";")
    return root


def cases_of(dataset: str, root: Path, *cases: tuple[str, Side, str]) -> Cases:
    """Cases of (name, side, file within the root)."""
    made = [Case(name, side, (FrameReference(root / file),)) for name, side, file in cases]
    return Cases(dataset, root, "tiny", tuple(made))
