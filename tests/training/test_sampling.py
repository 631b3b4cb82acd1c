"""Groups and their order: every frame once, weights in the mean, a pure function."""

import numpy as np
import pytest

from training.corpus.segments import LeftOut, Segments, cut_segments
from training.sampling import BlockShuffle, Groups, epoch_offset

NOTHING = LeftOut(np.zeros(0, np.int64), np.zeros(0, np.int64))


def runs(lengths: list[int], weights: list[float] | None = None) -> Segments:
    return cut_segments(np.array(lengths), np.array(weights or [1.0] * len(lengths)), NOTHING)


def drawn(groups: Groups, offset: int = 0) -> list[list[tuple[int, int]]]:
    """(clip, position) of the frames of every group of an epoch."""
    draws = [groups.draw(number, offset) for number in range(groups.draws)]
    return [[(part.clip, position) for part in parts for position in part.positions] for parts in draws]


def test_groups_by_hand() -> None:
    # 5 frames spread by 2: (0, 2), (1, 3), and frame 4 is left; 1: frame 0 is left; 2: (0, 1); 4: (0, 2), (1, 3).
    assert drawn(Groups(runs([5, 1, 2, 4]), 2, 0)) == [
        [(0, 0), (0, 2)],
        [(0, 1), (0, 3)],
        [(2, 0), (2, 1)],
        [(3, 0), (3, 2)],
        [(3, 1), (3, 3)],
        [(0, 4), (1, 0)],
    ]


def test_a_stride_by_hand() -> None:
    # 11 frames, 3 each at stride 2: six neighbours give two groups; of the other five, frames 6, 8, 10; 7 and 9 stay.
    groups = Groups(runs([11]), 3, 2)
    assert drawn(groups) == [
        [(0, 0), (0, 2), (0, 4)],
        [(0, 1), (0, 3), (0, 5)],
        [(0, 6), (0, 8), (0, 10)],
        [(0, 7), (0, 9), (0, 7)],
    ]
    assert groups.packed_share == 0.25
    assert [part.frames for part in groups.draw(2, 0)] == [(6, 8, 10)]


def test_rows_by_hand() -> None:
    # Frames 0-4 of the first clip: groups (0, 2), (1, 3), then frame 4; the second clip is never drawn; then (7, 8).
    groups = Groups(runs([5, 2, 2], [1.0, 0.0, 3.0]), 2, 0)
    assert groups.num_rows == 7
    assert [(row, groups.part_at(row)[1].frames) for row in range(7)] == [
        (0, (0, 2)),
        (1, (0, 2)),
        (2, (1, 3)),
        (3, (1, 3)),
        (4, (4,)),
        (5, (7, 8)),
        (6, (7, 8)),
    ]
    assert [groups.part_at(row)[0] for row in range(7)] == [0, 0, 2, 2, 4, 5, 5]
    assert [groups.row_of(frame) for frame in (0, 2, 1, 3, 4, 7, 8)] == list(range(7))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [0, 1, 2, 5])
def test_rows_hold_the_parts_that_are_drawn(size: int, stride: int) -> None:
    generator = np.random.default_rng(10 * size + stride)
    lengths = generator.integers(1, 40, 30).tolist()
    groups = Groups(runs(lengths, generator.choice([0.0, 0.5, 1.0], 30).tolist()), size, stride)
    row, parts = 0, {}
    while row < groups.num_rows:
        first, part = groups.part_at(row)
        assert first == row
        assert [groups.row_of(frame) for frame in part.frames] == list(range(row, row + len(part.frames)))
        parts[part.frames] = part
        row += len(part.frames)
    assert row == groups.num_rows
    for number in range(groups.draws):
        for drawn_part in groups.draw(number, 77):
            assert parts[drawn_part.frames].positions == drawn_part.positions


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [0, 1, 2, 5])
def test_every_frame_once_and_strides_kept(size: int, stride: int) -> None:
    lengths = np.random.default_rng(10 * size + stride).integers(1, 40, 30).tolist()
    everything = {(clip, position) for clip, length in enumerate(lengths) for position in range(length)}
    for offset in (0, 500, 1023):
        groups = Groups(runs(lengths), size, stride)
        frames = [frame for group in drawn(groups, offset) for frame in group]
        assert set(frames) == everything
        assert len(frames) < len(everything) + size
        for number in range(groups.draws):
            for part in groups.draw(number, offset):
                assert stride == 0 or set(np.diff(part.positions).tolist()) <= {stride}


def test_frame_numbers_count_through_all_runs() -> None:
    groups = Groups(runs([5, 1, 2, 4]), 2, 0)
    numbers = {
        (part.clip, position): frame
        for number in range(groups.draws)
        for part in groups.draw(number, 0)
        for position, frame in zip(part.positions, part.frames, strict=True)
    }
    assert [numbers[key] for key in sorted(numbers)] == list(range(12))


def test_weights_are_how_often_a_clip_is_drawn() -> None:
    weights = [1.0, 2.0, 0.25, 0.0, 1.5]
    groups = Groups(runs([16, 16, 16, 16, 7], weights), 2, 0)
    counts = np.zeros((300, 5))
    for epoch in range(300):
        for group in drawn(groups, epoch_offset(0, epoch)):
            for clip, _ in group:
                counts[epoch, clip] += 1
    np.testing.assert_allclose(counts.mean(axis=0) / [16, 16, 16, 16, 7], weights, atol=0.08)
    # Systematic: no epoch is off by more than one group of two frames.
    assert np.abs(counts[:, 1] - 32).max() <= 2
    assert set(counts[:, 3]) == {0}


def test_a_low_weight_shows_other_frames_in_other_epochs() -> None:
    groups = Groups(runs([16, 16], [1.0, 0.25]), 1, 0)
    epochs = [{p for group in drawn(groups, epoch_offset(0, e)) for c, p in group if c == 1} for e in range(40)]
    assert {len(seen) for seen in epochs} == {4}
    assert set.union(*epochs) == set(range(16))


def test_nothing_to_draw() -> None:
    assert Groups(runs([3], [0.0]), 2, 0).draws == 0
    assert Groups(runs([]), 2, 0).draws == 0


def test_memory_does_not_grow_with_the_frames() -> None:
    few, many = Groups(runs([2, 2]), 2, 0), Groups(runs([2_000_000, 2_000_000]), 2, 0)
    sizes = [sum(v.nbytes for v in vars(g).values() if isinstance(v, np.ndarray)) for g in (few, many)]
    assert sizes[0] == sizes[1]
    assert many.draw(1_999_999, 0)[0].positions == (999_999, 1_999_999)


@pytest.mark.parametrize("count", [1, 7, 64, 257])
@pytest.mark.parametrize(("block", "window"), [(4, 3), (1, 1), (64, 32)])
def test_an_order_is_a_repeatable_permutation(count: int, block: int, window: int) -> None:
    for epoch in range(3):
        order = [BlockShuffle(count, 3, epoch, block, window)[place] for place in range(count)]
        assert sorted(order) == list(range(count))
        backwards = BlockShuffle(count, 3, epoch, block, window)
        assert [backwards[place] for place in reversed(range(count))] == order[::-1]


def test_epochs_and_seeds_differ() -> None:
    first, *others = (list(BlockShuffle(100, seed, epoch, 8, 4)) for seed, epoch in ((0, 0), (0, 1), (1, 0)))
    assert first not in others


def test_a_window_stays_among_its_blocks() -> None:
    order = list(BlockShuffle(160, 0, 0, block=10, window=2))
    for start in range(0, 160, 20):
        assert len({item // 10 for item in order[start : start + 20]}) == 2


def test_a_place_outside_is_refused() -> None:
    with pytest.raises(IndexError, match="place 5 of 5"):
        BlockShuffle(5, 0, 0, 2, 2)[5]
