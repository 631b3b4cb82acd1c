"""The frozen protocol where targets are dense: a small probe on stored tokens. All other targets: `probe.PROBES`."""

from collections.abc import Sequence

import numpy as np

from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame
from evaluation.protocols.cells import CellProbe, fit_cell_probe
from evaluation.protocols.ridge import fit_ridge
from evaluation.protocols.selection import Chosen
from training.diagnostics.ridge import RidgeProbe


def cell_probe(
    store: FeatureStore, backbone: str, train: Sequence[AnyFrame], counts: np.ndarray, cases: Sequence[str], seed: int
) -> tuple[CellProbe, Chosen]:
    """Softmax probe on dense tokens; `counts` (N, h, w, K): labeled pixels per cell of the backbone's own grid."""
    return fit_cell_probe(store.dense(backbone, train), counts, cases, seed)


def token_probe(inputs: np.ndarray, targets: np.ndarray, cases: Sequence[str]) -> tuple[RidgeProbe, Chosen]:
    """Ridge probe from frozen tokens (N, D) to another network's tokens (N, T)."""
    return fit_ridge(inputs, targets, cases)
