from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.datasets import DATASETS, Dataset, FrameReference, Record, read_mask
from training.errors import UserError

IGNORE = frozenset({255})


def save(folder: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(folder / "mask.png")
    return folder / "mask.png"


def test_ignored_values_become_255(tmp_path: Path) -> None:
    path = save(tmp_path, np.array([[0, 1, 2, 9]], dtype=np.uint8))
    assert read_mask(path, 3, frozenset({9, 255})).tolist() == [[0, 1, 2, 255]]


def test_three_equal_channels_are_one(tmp_path: Path) -> None:
    path = save(tmp_path, np.full((2, 2, 3), 1, dtype=np.uint8))
    assert read_mask(path, 3, IGNORE).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 7]], dtype=np.uint8), "mask '.*mask.png' holds the value 7; known are 0 to 2"),
        (np.array([[[0, 1, 2]]], dtype=np.uint8), "is a color image; class ids in one channel are expected"),
        (np.array([[0, 1]], dtype=np.uint16), "holds uint16 pixels; 8-bit class ids are expected"),
    ],
)
def test_wrong_masks(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_mask(save(tmp_path, pixels), 3, IGNORE)


def test_a_side_without_frames(tmp_path: Path) -> None:
    record = Record("a", "train", FrameReference(tmp_path), (True,))
    with pytest.raises(UserError, match="has no usable frame on the test side"):
        Dataset("tiny", tmp_path, (record,), ("hook",), (), IGNORE, "made up")


@pytest.mark.parametrize("name", DATASETS.names())
def test_readers_find_nothing_in_an_empty_folder(name: str, tmp_path: Path) -> None:
    reader = DATASETS.get(name)
    assert reader.find(tmp_path) is None
    assert reader.licence
    assert reader.obtain
