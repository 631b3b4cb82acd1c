import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from training.corpus import Corpus
from training.corpus.masks import Mask, make_mask
from training.corpus.segments import LeftOut, Segments, cut_segments
from training.errors import UserError
from training.loader import DataConfig, TrainingViews, ViewBatch, held_out_views, training_batches
from training.views import Crops, ViewConfig


@dataclass(frozen=True)
class FakeClip:
    number: int
    num_frames: int
    source: str = "a"
    procedures: tuple[str, ...] = ()


class FakeCorpus:
    """Clips whose frames are one flat color that tells clip and position."""

    def __init__(self, train: list[int], held_out: list[int], weights: list[float] | None = None) -> None:
        self.lengths = {"train": train, "held_out": held_out}
        self.weights = {"train": weights or [1.0] * len(train), "held_out": [1.0] * len(held_out)}

    def clips(self, split: str) -> list[FakeClip]:
        return [FakeClip(number, length) for number, length in enumerate(self.lengths[split])]

    def segments(self, split: str) -> Segments:
        nothing = LeftOut(np.zeros(0, np.int64), np.zeros(0, np.int64))
        return cut_segments(np.array(self.lengths[split], int), np.array(self.weights[split]), nothing)

    def sources(self) -> list[str]:
        return ["a"]

    def procedures(self) -> list[str]:
        return []

    def mask(self, clip: FakeClip) -> None:
        return None

    def read(self, clip: FakeClip, positions: list[int]) -> list[np.ndarray]:
        return [np.full((24, 32, 3), 10 * clip.number + position, np.uint8) for position in positions]


def plain_config(**settings) -> DataConfig:
    views = ViewConfig(brightness=0, contrast=0, saturation=0)
    return DataConfig(**{"corpus": "x", "views": views, "shuffle_block": 2, "shuffle_window": 2, **settings})


def identities(batch: torch.Tensor) -> list[int]:
    return [round(float(view.mean()) * 255) for view in batch]


def test_an_epoch_shows_every_frame_once() -> None:
    views = TrainingViews(FakeCorpus([4, 6, 2], []), plain_config(), size=16, seed=1)
    seen = [i for batch in training_batches(views, 0, 3, 2, 0, 1) for i in identities(batch.images)]
    assert sorted(seen) == sorted(10 * c + p for c, n in enumerate([4, 6, 2]) for p in range(n))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_any_split_by_rank_and_worker_gives_one_sequence(
    write_corpus: Callable[..., Path], tmp_path: Path, workers: int, ranks: int
) -> None:
    lengths = [5, 9, 2, 3, 8, 1]
    clips = [
        {"num_frames": length, "weight": weight} for length, weight in zip(lengths, [1, 2, 1, 0.5, 1, 1], strict=True)
    ]
    folder = write_corpus(tmp_path / "corpus", clips)
    plain = TrainingViews(Corpus.open(folder), plain_config(), 16, 1)
    wanted = list(training_batches(plain, 0, 12, 4, 0, 1))  # more than two epochs
    views = TrainingViews(Corpus.open(folder), plain_config(workers=workers), 16, 1)
    first = [list(itertools.islice(training_batches(views, 0, 12, 4 // ranks, r, ranks), 5)) for r in range(ranks)]
    # Killed after step 5: a new process opens everything anew and knows one number.
    views = TrainingViews(Corpus.open(folder), plain_config(workers=workers), 16, 1)
    later = [list(training_batches(views, 5, 12, 4 // ranks, r, ranks)) for r in range(ranks)]
    for step, batch in enumerate(wanted):
        parts = [(first[r] + later[r])[step] for r in range(ranks)]
        assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
        assert torch.equal(torch.cat([part.numbers for part in parts]), batch.numbers)


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


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_fixed_view_is_the_one_that_is_drawn(size: int) -> None:
    config = DataConfig(corpus="x", frames_per_clip=size, views_per_frame=2)
    views = TrainingViews(FakeCorpus([4, 5, 1], []), config, 16, 0)
    for sample in range(3 * views.groups.draws):
        batch, start = views[sample], 0
        for part in views.parts(sample):
            turn = sample // views.groups.draws % 2
            fixed, end = views.fixed_view(part, turn, 16), start + len(part.frames)
            for mine, theirs in zip(fixed, batch, strict=True):
                if isinstance(mine, torch.Tensor):
                    assert torch.equal(mine, theirs[start:end])
            start = end


def test_a_batch_tells_the_box_of_every_view() -> None:
    plain = ViewConfig(brightness=0, contrast=0, saturation=0)
    views = TrainingViews(FakeCorpus([4, 4], []), plain_config(frames_per_clip=2, views=plain), 16, 0)
    (batch,) = training_batches(views, 0, 1, 4, 0, 1)
    assert batch.boxes.shape == (8, 5)
    assert torch.equal(batch.boxes[0::2], batch.boxes[1::2])
    for top, left, height, width, flipped in batch.boxes.tolist():
        assert 0 <= top <= top + height <= 24
        assert 0 <= left <= left + width <= 32
        assert flipped in (0, 1)
    assert torch.equal(torch.cat([part.boxes for part in batch.to("cpu").split(3)]), batch.boxes)
    assert held_out_views(FakeCorpus([], [4]), 2, 16).boxes is None


def test_new_views_every_epoch_have_new_numbers() -> None:
    views = TrainingViews(FakeCorpus([2], []), plain_config(), 16, 0)
    assert [views[sample].numbers.tolist() for sample in range(3)] == [[0, 1], [2, 3], [4, 5]]


def test_held_out_views_spread_over_clips() -> None:
    corpus = FakeCorpus([1], [4, 4])
    chosen = held_out_views(corpus, 4, 16)
    assert identities(chosen.images) == [0, 2, 11, 13]
    assert chosen.mask is None
    assert chosen.numbers.tolist() == [-1, -2, -3, -4]  # never those of training views
    assert chosen.clips.tolist() == [0, 0, 1, 1]
    assert held_out_views(corpus, 100, 16).images.shape == (8, 3, 16, 16)


def test_a_step_may_want_more_groups_than_a_corpus_has() -> None:
    """Three groups, two processes with two groups each: steps go on into the next epochs, and no group is left out."""
    views = TrainingViews(FakeCorpus([6], [1]), plain_config(), 16, 0)
    assert views.groups.draws == 3
    ranks = [list(training_batches(views, 0, 3, 2, rank, 2)) for rank in (0, 1)]
    drawn = [number for step in range(3) for own in ranks for number in own[step].numbers.tolist()]
    assert len(drawn) == 3 * 2 * 2 * 2
    assert sorted(drawn) == list(range(4 * 6))  # four whole epochs; numbers of new views go on from epoch to epoch


def test_missing_splits_are_one_sentence() -> None:
    with pytest.raises(UserError, match="the corpus has no clip in its train split"):
        TrainingViews(FakeCorpus([], [1]), plain_config(), 16, 0)
    with pytest.raises(UserError, match="the corpus has no held-out case"):
        held_out_views(FakeCorpus([1], []), 4, 16)
    with pytest.raises(UserError, match="the weights of the train split are so small that an epoch has no frame"):
        TrainingViews(FakeCorpus([4], [1], [0.01]), plain_config(), 16, 0)
    with pytest.raises(UserError, match=r"data\.clip_stride must not be negative, got -1"):
        DataConfig(clip_stride=-1)
    with pytest.raises(UserError, match=r"data\.frames_per_clip must be at least 1, got 0"):
        DataConfig(frames_per_clip=0)


def test_weights_and_duplicates_reach_the_batches(
    write_corpus: Callable[..., Path], write_duplicates: Callable[..., None], tmp_path: Path
) -> None:
    clips = [{"num_frames": 4, "weight": 2.0}, {"num_frames": 4, "split": "held_out"}, {"num_frames": 4, "weight": 0.0}]
    folder = write_corpus(tmp_path / "corpus", [*clips, {"num_frames": 4}])
    write_duplicates(folder, [("clip3", 1, False), ("clip3", 2, True), ("clip1", 0, False)])
    views = TrainingViews(Corpus.open(folder), plain_config(frames_per_clip=1), 16, 0)
    parts = [part for sample in range(views.groups.draws) for part in views.parts(sample)]
    seen = sorted((views.clips[part.clip].clip_id, part.positions[0]) for part in parts)
    assert seen == [("clip0", p) for p in (0, 0, 1, 1, 2, 2, 3, 3)] + [("clip3", 0), ("clip3", 2), ("clip3", 3)]
    assert len(held_out_views(Corpus.open(folder), 10, 16).images) == 3


def test_neighbouring_frames_at_a_stride() -> None:
    views = TrainingViews(FakeCorpus([16, 16], []), plain_config(frames_per_clip=4, clip_stride=2), 16, 0)
    groups = [identities(views[sample].images) for sample in range(views.groups.draws)]
    assert all(set(np.diff(group).tolist()) == {2} for group in groups)
    assert len(groups) == 8


def halved() -> Mask:
    """The right half of a 32 x 24 frame counts."""
    valid = np.zeros((24, 32), bool)
    valid[:, 16:] = True
    return make_mask("v", valid)


def test_masks_follow_the_view(write_corpus: Callable[..., Path], tmp_path: Path) -> None:
    mask = halved()
    clips = [{"num_frames": 2, "mask": mask.mask_id}, {"num_frames": 2}]
    folder = write_corpus(
        tmp_path / "corpus", [*clips, {"num_frames": 1, "split": "held_out", "mask": mask.mask_id}], [mask]
    )
    whole = dataclasses.replace(plain_config().views, crop_scale=(1.0, 1.0), crop_ratio=(4 / 3, 4 / 3))
    views = TrainingViews(Corpus.open(folder), plain_config(views=whole), 16, 0)
    sides = set()
    for sample in range(20):
        batch = views[sample]
        assert batch.valid.shape == (2, 16, 16)
        if batch.mask is not None:
            left, right = bool(batch.valid[:, :, :8].any()), bool(batch.valid[:, :, 8:].any())
            assert left != right
            assert int(batch.valid.sum()) == 2 * 16 * 8
            sides.add(left)
    assert sides == {False, True}  # flipped with the view
    held_out = held_out_views(Corpus.open(folder), 4, 16)
    assert held_out.valid[0, :, 8:].all()
    assert not held_out.valid[0, :, :8].any()


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_without_masks_carry_one_byte(workers: int) -> None:
    views = TrainingViews(FakeCorpus([8], []), plain_config(workers=workers), 16, 0)
    [batch] = training_batches(views, 0, 1, 2, 0, 1)
    assert batch.valid.shape == (4, 16, 16)
    assert batch.valid.untyped_storage().nbytes() == 1
    assert batch.mask is None


def test_one_masked_view_makes_a_mask_of_the_batch() -> None:
    valid = torch.ones(2, 4, 4, dtype=torch.bool)
    valid[1, 0, 0] = False
    numbers = torch.arange(2)
    batch = ViewBatch(torch.zeros(2, 3, 4, 4), numbers, valid, numbers, numbers, numbers, numbers)
    assert torch.equal(batch.mask, valid)


def test_a_batch_says_where_its_frames_come_from(tmp_path: Path, write_corpus: Callable[..., Path]) -> None:
    clips = [
        {"num_frames": 2, "source": "b", "procedures": ("appendectomy",)},
        {"num_frames": 2, "source": "a", "procedures": ("hysterectomy",)},
        {"num_frames": 2, "source": "b", "procedures": ("appendectomy", "hysterectomy")},
    ]
    corpus = Corpus.open(write_corpus(tmp_path, clips))
    assert (corpus.sources(), corpus.procedures()) == (["a", "b"], ["appendectomy", "hysterectomy"])
    [batch] = training_batches(TrainingViews(corpus, plain_config(), 16, 0), 0, 1, 3, 0, 1)
    found = set(zip(*(part.tolist() for part in (batch.clips, batch.sources, batch.procedures)), strict=True))
    assert found == {(0, 1, 0), (1, 0, 1), (2, 1, -1)}
    assert batch.shared.reshape(3, 2).diff(dim=1).eq(0).all()  # groups of two share a view
    assert len(batch.shared.unique()) == 3
    first, rest = batch.split(4)
    assert torch.equal(torch.cat([first.clips, rest.clips]), batch.clips)


def test_further_crops_are_drawn_beside_an_unchanged_main_view() -> None:
    plain = TrainingViews(FakeCorpus([8], []), plain_config(), 16, 0)
    more = TrainingViews(FakeCorpus([8], []), plain_config(), 16, 0, [Crops(1, 16), Crops(3, 8, (0.05, 0.4))])
    assert torch.equal(plain[0].images, more[0].images)
    assert [crop.shape for crop in more[0].crops] == [(2, 1, 3, 16, 16), (2, 3, 3, 8, 8)]
    held_out = held_out_views(FakeCorpus([1], [4]), 4, 16, more.crops)
    assert [crop.shape[:2] for crop in held_out.split(3)[0].crops] == [(3, 1), (3, 3)]


def test_a_step_may_have_a_size_of_its_own() -> None:
    views = TrainingViews(FakeCorpus([8], []), plain_config(), 16, 0)
    batches = training_batches(views, 0, 3, 1, 0, 1, lambda step: 16 + 8 * step)
    assert [batch.images.shape[-1] for batch in batches] == [16, 24, 32]
