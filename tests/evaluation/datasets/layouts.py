"""Tiny workflow datasets in the layouts of the real ones."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from evaluation.datasets.workflow import Split
from training.corpus.synthetic.writer import write_video


def split(train: Sequence[str], test: Sequence[str], val: Sequence[str] = ()) -> Split:
    return Split("tiny", "made up", tuple(train), tuple(val), tuple(test))


def write_mp4(path: Path, frames: int, fps: float = 25) -> Path:
    """A gray video of 32 x 32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video((np.full((32, 32, 3), 90, np.uint8) for _ in range(frames)), path, Fraction(fps), 32, 32)
    return path


def write_images(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name)


def write_table(path: Path, header: Sequence[object], rows: Iterable[Sequence[object]], separator: str = "\t") -> Path:
    """A text table; no header line where `header` is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(map(str, row)) for row in ([header] if header else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def edit_line(path: Path, line: int, text: str | None) -> None:
    """Replace a line, counted from 1, or take it out."""
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")
