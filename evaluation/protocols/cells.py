"""The cell probe: softmax regression on dense tokens, for segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics.mean_iou import mean_iou
from evaluation.protocols.folds import case_folds, draw_rows
from evaluation.protocols.logistic import fit_logistic, log_grid
from evaluation.protocols.selection import Chosen, choose
from training.diagnostics.standardizer import Standardizer

CELL_PENALTIES = log_grid(0.1, 0.0001, 4)  # of ||W||² / 2 beside the mean loss per pixel, standardised tokens
PRIOR_SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of each class's log frequency taken off its logit; 0 = plain argmax
CELL_FOLDS = 3
CELLS_TO_FIT = 40_000  # a seeded draw above this: more cells of the same frames change the probe little and cost time
CELLS_TO_CHOOSE = 4_000  # the same for each inner fold
CELL_STEPS = 60  # steps of the final fit; the score is flat long before
CELL_STEPS_TO_CHOOSE = 30


@dataclass(frozen=True)
class CellProbe:
    """A linear map from dense tokens to class logits."""

    weight: Tensor  # (D, K)
    bias: Tensor  # (K,)

    def logits(self, dense: np.ndarray) -> Tensor:
        """Dense tokens float32 (N, D, h, w) -> logits float32 (N, K, h, w)."""
        scores = torch.einsum("ndhw,dk->nkhw", torch.from_numpy(dense), self.weight)
        return scores + self.bias[:, None, None]


def fit_cell_probe(dense: np.ndarray, counts: np.ndarray, cases: Sequence[str], seed: int) -> tuple[CellProbe, Chosen]:
    """Softmax regression of each cell's class shares on its token; settings come from folds over training cases.

    The most probable class is the best answer for accuracy, not for mean IoU, which counts a rare class as much as the
    background: plain argmax would never name it. So a share of each class's log frequency is taken off its logit (logit
    adjustment, Menon et al., arXiv 2007.07314); how much is chosen like the penalty.

    Args:
        dense: float32 (N, D, h, w) of the training frames.
        counts: (N, h, w, K) labeled pixels of each class in each cell; a cell without labeled pixels is left out.
        cases: case of each training frame.
        seed: of the draw of cells where there are more than `CELLS_TO_FIT`.

    Returns:
        The probe in the units of `dense`, and what was chosen.
    """
    classes = counts.shape[3]
    tokens = dense.transpose(0, 2, 3, 1).reshape(-1, dense.shape[1])  # (N * h * w, D)
    pixels = counts.reshape(-1, classes).astype(np.float32)
    owners = np.repeat(np.asarray(cases), counts.shape[1] * counts.shape[2])
    labeled = np.flatnonzero(pixels.sum(axis=1) > 0)
    standardize = Standardizer.of(tokens[labeled])
    rng = np.random.default_rng(seed)

    confusions = np.zeros((len(CELL_PENALTIES), len(PRIOR_SHIFTS), classes, classes))
    folds = list(case_folds(owners[labeled].tolist(), CELL_FOLDS))
    for sides in folds:
        fit, score = (labeled[draw_rows(rng, side, CELLS_TO_CHOOSE)] for side in sides)
        weight, bias = _fit_cells(standardize(tokens[fit]), pixels[fit], CELL_PENALTIES, CELL_STEPS_TO_CHOOSE)
        scores = (torch.from_numpy(standardize(tokens[score])) @ weight + bias[:, None]).numpy()  # (P, cells, K)
        frequency = _log_frequency(pixels[fit])
        for strength, shift in np.ndindex(len(CELL_PENALTIES), len(PRIOR_SHIFTS)):
            predicted = (scores[strength] - PRIOR_SHIFTS[shift] * frequency).argmax(axis=1)
            confusions[strength, shift] += pixels[score].T @ np.eye(classes)[predicted]
    chosen = choose(
        [{"penalty": penalty, "prior_shift": shift} for penalty in CELL_PENALTIES for shift in PRIOR_SHIFTS],
        mean_iou(confusions).ravel() if folds else None,
        "mean IoU over the cells of held-out folds",
    )
    final = labeled[draw_rows(rng, np.arange(len(labeled)), CELLS_TO_FIT)]
    weight, bias = _fit_cells(standardize(tokens[final]), pixels[final], [float(chosen.values["penalty"])], CELL_STEPS)
    scaled = torch.from_numpy(standardize.scale)[:, None] * weight[0]  # undo the standardization inside the map
    offset = bias[0] - torch.from_numpy(standardize.mean) @ scaled
    shifted = offset - float(chosen.values["prior_shift"]) * torch.from_numpy(_log_frequency(pixels[final]))
    return CellProbe(scaled, shifted), chosen


def _log_frequency(pixels: np.ndarray) -> np.ndarray:
    """Log share of each class among pixels (N, K): float32 (K,); 0 for a class that does not occur, which stays put."""
    share = pixels.sum(axis=0, dtype=np.float64) / pixels.sum(dtype=np.float64)
    return np.log(np.where(share > 0, share, 1.0)).astype(np.float32)


def _fit_cells(rows: np.ndarray, pixels: np.ndarray, penalties: list[float], steps: int) -> tuple[Tensor, Tensor]:
    total = torch.from_numpy(pixels.sum(axis=1))
    targets = torch.from_numpy(pixels) / total[:, None]
    return fit_logistic(torch.from_numpy(rows), targets, penalties, loss="softmax", row_weights=total, iterations=steps)
