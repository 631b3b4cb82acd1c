"""The frozen protocol: the backbone never changes; only a small probe is fitted on its stored features."""

from collections.abc import Sequence

import numpy as np

from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame
from evaluation.protocols.knn import knn_label_scores
from evaluation.protocols.linear import CellProbe, fit_cell_probe, linear_label_scores
from evaluation.protocols.ridge import fit_ridge
from evaluation.protocols.selection import Chosen
from training.diagnostics.ridge import RidgeProbe

NAME = "frozen"


def label_scores(
    probe: str,
    store: FeatureStore,
    backbone: str,
    train: Sequence[AnyFrame],
    labels: np.ndarray,
    cases: Sequence[str],
    test: Sequence[AnyFrame],
) -> tuple[np.ndarray, Chosen]:
    """Multi-label scores of the test frames from the summary and the mean dense token.

    Args:
        probe: "knn" or "linear".
        store: features of all frames.
        backbone: whose features.
        train: training frames, with `labels` bool (N, C) and `cases` (N,).
        labels: see `train`.
        cases: see `train`.
        test: test frames (Q,).

    Returns:
        float (Q, C), and the chosen hyper-parameters.
    """
    if probe == "knn":
        parts, queries = ([store.summary(backbone, side), store.mean_dense(backbone, side)] for side in (train, test))
        return knn_label_scores(parts, labels, cases, queries)
    if probe == "linear":
        return linear_label_scores(store.pooled(backbone, train), labels, cases, store.pooled(backbone, test))
    raise ValueError(f"no probe {probe!r} for labels")


def cell_probe(
    store: FeatureStore, backbone: str, train: Sequence[AnyFrame], counts: np.ndarray, cases: Sequence[str], seed: int
) -> tuple[CellProbe, Chosen]:
    """Softmax probe on dense tokens; `counts` (N, h, w, K): labeled pixels per cell of the backbone's own grid."""
    return fit_cell_probe(store.dense(backbone, train), counts, cases, seed)


def token_probe(inputs: np.ndarray, targets: np.ndarray, cases: Sequence[str]) -> tuple[RidgeProbe, Chosen]:
    """Ridge probe from frozen tokens (N, D) to another network's tokens (N, T)."""
    return fit_ridge(inputs, targets, cases)
