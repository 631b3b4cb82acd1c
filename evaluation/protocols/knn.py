"""Nearest neighbors on pooled features: no training, so nothing but the features can explain the score."""

from collections.abc import Sequence

import numpy as np

from evaluation.metrics.mean_average_precision import average_precision, mean_over_positive_classes
from evaluation.protocols.folds import case_folds
from evaluation.protocols.selection import Chosen, choose

NEIGHBORS = (50, 20, 10, 5)  # capped by the number of training frames; many = cautious
TEMPERATURES = (0.2, 0.1, 0.05, 0.02)  # of exp(cosine / temperature); small = only the nearest count
FOLDS = 5


def knn_label_scores(
    parts: Sequence[np.ndarray], labels: np.ndarray, cases: Sequence[str], queries: Sequence[np.ndarray]
) -> tuple[np.ndarray, Chosen]:
    """Scores of the query frames; number of neighbors and temperature come from folds over the training cases.

    Args:
        parts: training features (N, D_i): summaries and mean dense tokens; a part may have width 0.
        labels: (N, C) bool.
        cases: case of each training frame.
        queries: test features (Q, D_i), in the order of `parts`.

    Returns:
        float64 (Q, C) in [0, 1], and what was chosen.
    """
    grid = [(count, temperature) for count in NEIGHBORS for temperature in TEMPERATURES]
    held_out = np.full((len(grid), *labels.shape), np.nan)
    train, _ = unit_features(parts, parts)
    folds = list(case_folds(cases, FOLDS))
    for fit, score in folds:
        cosines = train[score] @ train[fit].T
        for index, (count, temperature) in enumerate(grid):
            held_out[index, score] = knn_scores(cosines, labels[fit], count, temperature)
    inner = (
        np.array([mean_over_positive_classes(average_precision(labels, scores)) for scores in held_out])
        if folds
        else None
    )
    candidates: list[dict[str, float | int | str]] = [{"neighbors": count, "temperature": t} for count, t in grid]
    chosen = choose(candidates, inner, "mean average precision of pooled held-out folds")
    train, test = unit_features(parts, queries)
    values = chosen.values
    return knn_scores(test @ train.T, labels, int(values["neighbors"]), float(values["temperature"])), chosen


def unit_features(parts: Sequence[np.ndarray], queries: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Features whose dot product is a cosine: each part centered and scaled to length one, parts side by side.

    Centering matters: tokens of one network share a large mean, which makes every cosine close to 1.

    Args:
        parts: training arrays (N, D_i); their means are the centers; parts of width 0 are left out.
        queries: (Q, D_i).

    Returns:
        float32 (N, D) and (Q, D), every row of length one (0 where a part equals its center).
    """
    kept = [index for index, part in enumerate(parts) if part.shape[1]]
    sides = []
    for arrays in (parts, queries):
        centered = [arrays[index] - parts[index].mean(axis=0) for index in kept]
        lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in centered]
        units = [part / np.where(length > 0, length, 1) for part, length in zip(centered, lengths, strict=True)]
        sides.append(np.concatenate(units, axis=1) / np.sqrt(len(kept), dtype=np.float32))
    return sides[0], sides[1]


def knn_scores(cosines: np.ndarray, labels: np.ndarray, neighbors: int, temperature: float) -> np.ndarray:
    """Share of positive neighbors per class, each weighted by exp(cosine / temperature).

    Args:
        cosines: (Q, N) of queries against training frames.
        labels: (N, C) bool of the training frames.
        neighbors: how many of the nearest count; all if there are fewer.
        temperature: positive.

    Returns:
        float64 (Q, C) in [0, 1].
    """
    count = min(neighbors, cosines.shape[1])
    nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]  # (Q, k)
    near = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64)
    weights = np.exp((near - near.max(axis=1, keepdims=True)) / temperature)
    votes = np.einsum("qk,qkc->qc", weights, labels[nearest].astype(np.float64))
    return votes / weights.sum(axis=1, keepdims=True)
