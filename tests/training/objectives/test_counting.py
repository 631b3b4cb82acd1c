from collections.abc import Callable

import torch

from training.loader import ViewBatch
from training.objectives.counting import clip_ids, counted_images, learns_from, mean_of_images


def test_images_without_a_valid_token_do_not_count(as_batch: Callable[..., ViewBatch]) -> None:
    images, valid = torch.zeros(3, 3, 32, 32), torch.ones(3, 32, 32, dtype=torch.bool)
    assert counted_images(as_batch(images), (2, 2)) is None
    valid[1] = False
    valid[2, :, 4:] = False  # a quarter of two cells
    assert counted_images(as_batch(images, valid), (2, 2)).tolist() == [True, False, False]


def test_means_by_hand() -> None:
    values = torch.tensor([1.0, 5.0, 3.0])
    assert mean_of_images(values, None).item() == 3
    assert mean_of_images(values, torch.tensor([True, False, True])).item() == 2
    assert mean_of_images(values, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_held_out_clips_have_numbers_of_their_own(as_batch: Callable[..., ViewBatch]) -> None:
    batch = as_batch(torch.zeros(2, 3, 32, 32), clips=torch.tensor([0, 4]))
    assert clip_ids(batch).tolist() == [0, 4]
    held_out = batch._replace(numbers=-1 - batch.numbers)
    assert clip_ids(held_out).tolist() == [-1, -5]
    assert learns_from(batch)
    assert not learns_from(held_out)
