"""Nearest neighbors on pooled features: no training, so nothing but the features can explain the score."""

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from evaluation.protocols.criterion import choose_held_out, columns
from evaluation.protocols.folds import draw_rows, inner_folds
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.probe import PROBES, Probe
from evaluation.protocols.problem import Problem
from evaluation.protocols.selection import Chosen

NEIGHBORS = (50, 20, 10, 5)  # capped by the number of training samples; many = cautious
TEMPERATURES = (0.2, 0.1, 0.05, 0.02)  # of exp(cosine / temperature); small = only the nearest count
FOLDS = 5
BANK = 20_000  # a seeded draw of training samples above this: neighbors in time are near copies of each other
QUERIES_TO_CHOOSE = 4_000  # the same for the queries of each inner fold
_CHUNK = 1_024  # queries at once: 80 MB of cosines with a full bank


def fit_knn(inputs: Inputs, problem: Problem, seed: int) -> tuple[np.ndarray, Chosen]:
    """Weighted mean of the neighbors' targets: class votes, share of positives of a column as log odds, or mean value.

    Args:
        inputs: whose summary and mean dense token are compared, each at equal weight.
        problem: of any kind.
        seed: of the draw of a training side above `BANK`.

    Returns:
        float32 (N_test, C), and number of neighbors and temperature.
    """
    grid = [(count, temperature) for count in NEIGHBORS for temperature in TEMPERATURES]
    samples, folds, chosen_on = inner_folds(problem, FOLDS)
    rng = np.random.default_rng(seed)
    parts, targets = inputs.parts(samples), columns(problem.target, samples.targets)
    train = np.arange(len(problem.train))  # the first rows of `samples`, validation samples follow
    centers = [part[train].mean(axis=0) for part in parts]
    rows = unit_features(parts, centers)
    held_out = np.full((len(grid), *targets.shape), np.nan, dtype=np.float32)
    for fit, score in folds:
        bank, queries = draw_rows(rng, fit, BANK), draw_rows(rng, score, QUERIES_TO_CHOOSE)
        held_out[:, queries] = knn_scores(rows[queries], rows[bank], targets[bank], grid)
    candidates: list[dict[str, float | int | str]] = [{"neighbors": count, "temperature": t} for count, t in grid]
    chosen = choose_held_out(candidates, held_out, problem.target, samples.targets, chosen_on)
    setting = int(chosen.values["neighbors"]), float(chosen.values["temperature"])
    bank = draw_rows(rng, train, BANK)
    test = unit_features(inputs.parts(problem.test), centers)
    scores = knn_scores(test, rows[bank], targets[bank], [setting])[0]
    return log_odds(scores) if problem.target.kind == "multi" else scores, chosen


def unit_features(parts: Sequence[np.ndarray], centers: Sequence[np.ndarray]) -> np.ndarray:
    """Features whose dot product is a cosine: each part centered and scaled to length one, parts side by side.

    Centering matters: tokens of one network share a large mean, which makes every cosine close to 1.

    Args:
        parts: arrays (N, D_i); parts of width 0 are left out.
        centers: (D_i,), means of the training samples.

    Returns:
        float32 (N, D), every row of length one (a part that equals its center stays 0).
    """
    centered = [part - center for part, center in zip(parts, centers, strict=True) if part.shape[1]]
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in centered]
    units = [part / np.where(length > 0, length, 1) for part, length in zip(centered, lengths, strict=True)]
    return np.concatenate(units, axis=1) / np.sqrt(len(units), dtype=np.float32)


def knn_scores(
    queries: np.ndarray, bank: np.ndarray, targets: np.ndarray, settings: Sequence[tuple[int, float]]
) -> np.ndarray:
    """Scores of queries for several settings at the price of one search.

    Args:
        queries: float32 (Q, D), unit rows.
        bank: float32 (N, D), unit rows.
        targets: float32 (N, C) of the bank.
        settings: number of neighbors (all if there are fewer) and temperature of each.

    Returns:
        float32 (settings, Q, C).
    """
    device = PartialState().device
    known, wanted = torch.from_numpy(bank).to(device), torch.from_numpy(targets).to(device)
    most = min(max(count for count, _ in settings), len(bank))
    scores = np.empty((len(settings), len(queries), targets.shape[1]), dtype=np.float32)
    for start in range(0, len(queries), _CHUNK):
        chunk = torch.from_numpy(queries[start : start + _CHUNK]).to(device)
        near, nearest = torch.topk(chunk @ known.T, most, dim=1)  # (q, most), the nearest first
        theirs = wanted[nearest]  # (q, most, C)
        for index, (count, temperature) in enumerate(settings):
            mean = weighted_mean(near[:, :count], theirs[:, :count], temperature)
            scores[index, start : start + _CHUNK] = mean.cpu().numpy()
    return scores


def weighted_mean(cosines: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean over k neighbors, weighted by exp(cosine / temperature).

    Args:
        cosines: (Q, k), the largest first.
        targets: (Q, k, C).
        temperature: positive.

    Returns:
        (Q, C).
    """
    weights = torch.softmax(cosines / temperature, dim=1)
    return torch.einsum("qk,qkc->qc", weights, targets)


def log_odds(shares: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of shares in [0, 1], float32; finite, and as many different numbers as there were below 1."""
    smallest, epsilon = np.finfo(np.float32).tiny, np.finfo(np.float32).eps
    return np.log(np.maximum(shares, smallest)) - np.log(np.maximum(1 - shares, epsilon))


PROBES.register("knn")(Probe("knn", ("single", "multi", "value"), temporal=False, causal=None, fit=fit_knn))
