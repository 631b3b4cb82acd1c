"""Sampling weights: how often the frames of a clip are drawn, so that large procedures, sources and cases do not rule.

Tempering (Conneau and Lample 2019, arXiv 1901.07291, section 3.1, there for languages with exponent 0.5; mBART and mT5
do the same with 0.7 and 0.3): a group with n_g of all N frames gets the share p_g = n_g^t / sum over groups n_h^t of an
epoch. t = 1 leaves it as it is, t = 0 gives every group the same. Frames of the group then have the factor p_g N / n_g.

- The weight of a clip is the product of its factors by procedure and by source, scaled so that the mean weight over the
  frames of the train split is 1: tempering changes what an epoch shows, not how long it is.
- A clip with several procedures counts with equal parts in each, and its factor is the mean of theirs.
- Clips without a procedure are a group of their own.
- Caps come last and only lower weights: the expected frames of a group per epoch, the sum of its weights over its
  frames, do not exceed the cap, and no weight exceeds `max_repeats`. A capped epoch is shorter.
- Frames that the loader leaves out as duplicates count as absent. Clips of held-out cases have weight 1.

Worked example: 300 frames of procedure a, 100 of b, t = 0.5: p = sqrt(300) : sqrt(100) = 0.634 : 0.366, so weights are
0.845 and 1.464, and an epoch shows 253.6 and 146.4 frames.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.corpus.manifest import Clip
from training.errors import UserError


@dataclass(frozen=True)
class BalanceSettings:
    """How often frames are drawn. May change as a corpus grows: see `python -m training.corpus_balance`."""

    # 0 to 1, exponent of the group sizes; 0.5 is XLM's: a procedure with 100 times fewer frames is shown 10 times less.
    procedure_temperature: float = 0.5
    source_temperature: float = 1.0  # as they are: sources often differ by procedure, and would be tempered twice
    # Frames per epoch, 0 for no cap: what is too many depends on the length of the run.
    max_frames_per_case: int = 0
    max_frames_per_procedure: int = 0
    max_frames_per_source: int = 0
    # Times that a frame is drawn per epoch: the few frames of a rare procedure would be learnt by heart, for which
    # UniMax (arXiv 2304.09151) bounds repeats. That it is 10 is our choice, not measured.
    max_repeats: float = 10.0

    def __post_init__(self) -> None:
        for name in ("procedure_temperature", "source_temperature"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"setting balance.{name}={getattr(self, name)} must be from 0 (all alike) to 1 (as they are)"
                )
        for name in ("max_frames_per_case", "max_frames_per_procedure", "max_frames_per_source"):
            if getattr(self, name) < 0:
                raise UserError(f"setting balance.{name}={getattr(self, name)} must be 0 (no cap) or more")
        if not self.max_repeats >= 1:
            raise UserError(f"setting balance.max_repeats={self.max_repeats} is too small: it must be at least 1")


def with_weights(clips: Sequence[Clip], left_out: Sequence[int] | np.ndarray, settings: BalanceSettings) -> list[Clip]:
    """The clips with their sampling weights.

    Args:
        clips: of a corpus, with their splits resolved.
        left_out: frames of each clip that are not drawn, (N,).
        settings: how to balance.
    """
    weights = np.ones(len(clips))
    frames = np.array([clip.num_frames for clip in clips], np.float64) - np.asarray(left_out, np.float64)
    train = np.flatnonzero([clip.split == "train" for clip in clips])
    if len(train):
        weights[train] = clip_weights([clips[row] for row in train.tolist()], frames[train], settings)
    return [replace(clip, weight=weight) for clip, weight in zip(clips, weights.tolist(), strict=True)]


def clip_weights(clips: Sequence[Clip], frames: np.ndarray, settings: BalanceSettings) -> np.ndarray:
    """Sampling weights of the clips of one split, after the formula in this module's docstring.

    Args:
        clips: (N,).
        frames: float64 (N,), frames of each clip that may be drawn, 0 or more.
        settings: how to balance.

    Returns:
        float64 (N,), more than 0.
    """
    # One part per clip and procedure, so that each part belongs to one procedure, one source and one case.
    named: list[list[str | None]] = [[*sorted(set(clip.procedures))] or [None] for clip in clips]
    counts = np.array([len(names) for names in named])
    owners = np.repeat(np.arange(len(clips)), counts)  # (P,), clip of each part
    sizes = (frames / counts)[owners]  # (P,), frames of each part
    procedures = _codes(name for names in named for name in names)
    sources, cases = _codes(clip.source for clip in clips), _codes(clip.case_id for clip in clips)

    factors = _tempered(procedures, sizes, settings.procedure_temperature)  # (P,)
    clip_factors = np.bincount(owners, factors / counts[owners], len(clips))  # (N,), mean over the clip's parts
    by_source = _tempered(sources, frames, settings.source_temperature)
    if (total := float((clip_factors * by_source * frames).sum())) > 0:
        by_source = by_source * (frames.sum() / total)
    parts = factors * by_source[owners]
    parts = np.minimum(parts, settings.max_repeats)
    parts = _capped(parts, cases[owners], sizes, settings.max_frames_per_case)
    parts = _capped(parts, procedures, sizes, settings.max_frames_per_procedure)
    parts = _capped(parts, sources[owners], sizes, settings.max_frames_per_source)
    return np.bincount(owners, parts / counts[owners], len(clips))


def _codes(values: Iterable[Hashable]) -> np.ndarray:
    """Values as numbers from 0 in the order in which they appear, int64."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.int64)


def _tempered(groups: np.ndarray, sizes: np.ndarray, temperature: float) -> np.ndarray:
    """The factor p_g N / n_g of each row; 1 where its group has no frame.

    Args:
        groups: int64 (R,), group of each row.
        sizes: float64 (R,), frames of each row.
        temperature: exponent t.
    """
    if temperature == 1:
        return np.ones(len(groups))
    totals = np.bincount(groups, sizes)
    present = totals > 0
    factors = np.ones(len(totals))
    # p_g N / n_g = n_g^(t - 1) N / sum over groups n_h^t
    raised = totals[present] ** temperature
    factors[present] = raised / raised.sum() * totals.sum() / totals[present]
    return factors[groups]


def _capped(parts: np.ndarray, groups: np.ndarray, sizes: np.ndarray, cap: int) -> np.ndarray:
    """Weights lowered by one factor per group whose expected frames, the sum of weight times size, exceed the cap."""
    if not cap:
        return parts
    expected = np.bincount(groups, parts * sizes)
    return parts * np.minimum(1.0, cap / np.maximum(expected, cap))[groups]
