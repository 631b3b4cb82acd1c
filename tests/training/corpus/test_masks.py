"""The table of masks: what is written is what is read, and what is missing or broken is named."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest

from training.corpus.manifest import write_rows
from training.corpus.masks import CACHED_MASKS, MASK_SCHEMA, MASKS_FILE, Mask, Masks, make_mask, read_masks
from training.errors import UserError


def valid_pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((20, 30)) > 0.3


def save(folder, masks: list[Mask]) -> None:
    write_rows(masks, MASK_SCHEMA, folder / MASKS_FILE)


def test_round_trip(tmp_path):
    masks = [make_mask("a", valid_pixels(0)), make_mask("a", valid_pixels(1)), make_mask("b", valid_pixels(0))]
    save(tmp_path, masks)
    assert read_masks(tmp_path / MASKS_FILE) == masks
    opened = Masks.open(str(tmp_path))
    assert len(opened) == 3  # the same pixels of another video have an id of their own
    for mask, seed in zip(masks, (0, 1, 0), strict=True):
        assert mask.mask_id in opened
        assert opened.get(mask.mask_id).dtype == bool
        np.testing.assert_array_equal(opened.get(mask.mask_id), valid_pixels(seed))


def test_png_is_255_for_valid_and_0_for_the_rest():
    valid = valid_pixels()
    mask = make_mask("a", valid)
    gray = cv2.imdecode(np.frombuffer(mask.png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (mask.width, mask.height, gray.shape) == (30, 20, (20, 30))
    np.testing.assert_array_equal(gray, np.where(valid, 255, 0))


def test_ids_follow_from_video_size_and_pixels():
    valid = np.ones((4, 6), bool)
    ids = {
        make_mask("a", valid).mask_id,
        make_mask("b", valid).mask_id,
        make_mask("a", valid.reshape(6, 4)).mask_id,
        make_mask("a", ~valid).mask_id,
    }
    assert len(ids) == 4
    assert make_mask("a", valid) == make_mask("a", valid.copy())


def test_answers_are_read_only_and_survive_pickling(tmp_path):
    mask = make_mask("a", valid_pixels())
    save(tmp_path, [mask])
    opened = Masks.open(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        opened.get(mask.mask_id)[0, 0] = False
    again = pickle.loads(pickle.dumps(opened))
    np.testing.assert_array_equal(again.get(mask.mask_id), valid_pixels())
    assert not again.get(mask.mask_id).flags.writeable


def test_more_masks_than_are_kept_decoded(tmp_path):
    masks = [make_mask("a", valid_pixels(seed)) for seed in range(CACHED_MASKS + 3)]
    save(tmp_path, masks)
    opened = Masks.open(tmp_path)
    for _ in range(2):
        for seed, mask in enumerate(masks):
            np.testing.assert_array_equal(opened.get(mask.mask_id), valid_pixels(seed))


def test_no_file_is_no_masks(tmp_path):
    assert len(Masks.open(tmp_path)) == 0


def test_unknown_mask(tmp_path):
    with pytest.raises(UserError, match=r"masks.parquet of corpus '.*' has no mask 'abc' among its 0: copy"):
        Masks.open(tmp_path).get("abc")


@pytest.mark.parametrize("change", [{"png": b""}, {"png": b"text"}, {"width": 31}])
def test_broken_mask(tmp_path, change):
    mask = replace(make_mask("a", valid_pixels()), **change)
    save(tmp_path, [mask])
    with pytest.raises(UserError, match=f"mask '{mask.mask_id}' in masks.parquet .* is no PNG of 3[01] x 20 pixels"):
        Masks.open(tmp_path).get(mask.mask_id)


def test_unreadable_file(tmp_path):
    (tmp_path / MASKS_FILE).write_text("not a table")
    with pytest.raises(UserError, match=r"masks.parquet' cannot be read \(ArrowInvalid: .*run the same"):
        Masks.open(tmp_path)
