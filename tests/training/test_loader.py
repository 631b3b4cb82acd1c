from dataclasses import dataclass

import numpy as np
import pytest
import torch

from training.errors import UserError
from training.loader import (
    DataConfig,
    FrameRef,
    TrainingViews,
    epoch_order,
    group_frames,
    held_out_views,
    training_batches,
)


@dataclass(frozen=True)
class FakeClip:
    number: int
    num_frames: int


class FakeCorpus:
    """Clips whose frames are one flat color that tells clip and position."""

    def __init__(self, train: list[int], held_out: list[int]) -> None:
        self.lengths = {"train": train, "held_out": held_out}

    def clips(self, split: str) -> list[FakeClip]:
        return [FakeClip(number, length) for number, length in enumerate(self.lengths[split])]

    def read(self, clip: FakeClip, positions: list[int]) -> list[np.ndarray]:
        return [np.full((24, 32, 3), 10 * clip.number + position, np.uint8) for position in positions]


def plain_config(**settings) -> DataConfig:
    from training.views import ViewConfig

    views = ViewConfig(brightness=0, contrast=0, saturation=0)
    return DataConfig(**{"corpus": "x", "views": views, "shuffle_block": 2, "shuffle_window": 2, **settings})


def identities(batch: torch.Tensor) -> list[int]:
    return [round(float(view.mean()) * 255) for view in batch]


def test_groups_have_one_size_and_lose_no_frame() -> None:
    clips = FakeCorpus([5, 1, 2, 4], []).clips("train")
    groups = group_frames(clips, 2)
    assert {len(group) for group in groups} == {2}
    flat = [ref for group in groups for ref in group]
    assert set(flat) == {FrameRef(clip.number, position) for clip in clips for position in range(clip.num_frames)}
    assert len(flat) == 12
    # A clip's own group is spread over the clip.
    assert groups[0] == (FrameRef(0, 0), FrameRef(0, 2))


def test_odd_rest_is_filled_from_the_beginning() -> None:
    groups = group_frames(FakeCorpus([2, 1], []).clips("train"), 2)
    assert groups[-1] == (FrameRef(1, 0), FrameRef(0, 0))


@pytest.mark.parametrize("count", [1, 7, 64, 257])
def test_epoch_order_is_a_repeatable_permutation(count: int) -> None:
    order = epoch_order(count, seed=3, epoch=2, block=4, window=3)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, epoch_order(count, seed=3, epoch=2, block=4, window=3))


def test_epochs_and_seeds_differ() -> None:
    first = epoch_order(100, 0, 0, 8, 4)
    assert not np.array_equal(first, epoch_order(100, 0, 1, 8, 4))
    assert not np.array_equal(first, epoch_order(100, 1, 0, 8, 4))


def test_a_window_stays_among_its_blocks() -> None:
    order = epoch_order(160, 0, 0, block=10, window=2)
    for start in range(0, 160, 20):
        assert len({int(i) // 10 for i in order[start : start + 20]}) == 2


def test_an_epoch_shows_every_frame_once() -> None:
    views = TrainingViews(FakeCorpus([4, 6, 2], []), plain_config(), size=16, seed=1)
    seen = [i for batch in training_batches(views, 0, 3, 2, 0, 1) for i in identities(batch.images)]
    assert sorted(seen) == sorted(10 * c + p for c, n in enumerate([4, 6, 2]) for p in range(n))


def test_resuming_continues_the_same_sequence_with_and_without_workers() -> None:
    corpus = FakeCorpus([4, 6, 2, 3], [])
    whole = list(training_batches(TrainingViews(corpus, plain_config(), 16, 1), 0, 9, 2, 0, 1))
    resumed = list(training_batches(TrainingViews(corpus, plain_config(), 16, 1), 4, 9, 2, 0, 1))
    workers = list(training_batches(TrainingViews(corpus, plain_config(workers=1), 16, 1), 4, 9, 2, 0, 1))
    assert len(resumed) == 5
    for a, b, c in zip(whole[4:], resumed, workers, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.images, c.images)
        assert torch.equal(a.numbers, b.numbers)


def test_two_ranks_share_what_one_rank_of_twice_the_batch_sees() -> None:
    views = TrainingViews(FakeCorpus([8, 8], []), plain_config(), 16, 1)
    both = [list(training_batches(views, 0, 3, 2, rank, 2)) for rank in (0, 1)]
    one = list(training_batches(views, 0, 3, 4, 0, 1))
    for step in range(3):
        assert torch.equal(torch.cat([both[0][step].images, both[1][step].images]), one[step].images)


def test_drawing_batches_leaves_the_global_generator_alone() -> None:
    views = TrainingViews(FakeCorpus([8], []), plain_config(), 16, 1)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(training_batches(views, 0, 2, 2, 0, 1))
    assert torch.equal(torch.rand(1), expected)


def test_views_of_one_clip_are_shared_and_change_with_the_epoch() -> None:
    config = DataConfig(corpus="x", frames_per_clip=2)
    views = TrainingViews(FakeCorpus([2], []), config, 16, 0)
    first, second = views[0].images, views[1].images
    assert first.shape == (2, 3, 16, 16)
    # Frames 0 and 1 differ by one gray level: under one shared color change their difference stays flat.
    assert (first[1] - first[0]).std() < 1e-3
    assert not torch.equal(first, second)


def test_fixed_views_come_back_in_turn() -> None:
    corpus = FakeCorpus([4], [])
    views = TrainingViews(corpus, DataConfig(corpus="x", frames_per_clip=2, views_per_frame=2), 16, 0)
    seen: dict[int, torch.Tensor] = {}
    for sample in range(12):
        batch = views[sample]
        for image, number in zip(batch.images, batch.numbers.tolist(), strict=True):
            assert torch.equal(seen.setdefault(number, image), image)
    # 4 frames x 2 views, and the two views of a frame differ
    assert sorted(seen) == list(range(8))
    assert not torch.equal(seen[0], seen[4])


def test_new_views_every_epoch_have_new_numbers() -> None:
    views = TrainingViews(FakeCorpus([2], []), plain_config(), 16, 0)
    assert [views[sample].numbers.tolist() for sample in range(3)] == [[0, 1], [2, 3], [4, 5]]


def test_held_out_views_spread_over_clips() -> None:
    corpus = FakeCorpus([1], [4, 4])
    assert identities(held_out_views(corpus, 4, 16)) == [0, 2, 11, 13]
    assert held_out_views(corpus, 100, 16).shape == (8, 3, 16, 16)


def test_missing_splits_are_one_sentence() -> None:
    with pytest.raises(UserError, match="the corpus has no clip in its train split"):
        TrainingViews(FakeCorpus([], [1]), plain_config(), 16, 0)
    with pytest.raises(UserError, match="the corpus has no held-out case"):
        held_out_views(FakeCorpus([1], []), 4, 16)
    with pytest.raises(UserError, match=r"data\.frames_per_clip must be at least 1, got 0"):
        DataConfig(frames_per_clip=0)
