"""Losses of probes that are trained by gradient steps: one per kind of target, rare classes weighed up."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.datasets.samples import Kind

MOST_WEIGHT = 10.0  # cap of class and positive weights: a class seen once must not drown all others
TRUNCATION = 4.0  # tau of the smoothing loss in nats (MS-TCN)

Loss = Callable[[Tensor, Tensor], Tensor]  # (scores (N, C), target columns (N, C)) -> mean loss, 0-d


def loss_of(kind: Kind, columns: Tensor) -> Loss:
    """The loss for a training side.

    "single": cross-entropy, mean of w_c · -log softmax(z)_c divided by the mean of w_c, with median frequency weights
    w_c = median(f) / f_c over classes that occur (Eigen and Fergus, ICCV 2015); 0 for absent classes.
    "multi": binary cross-entropy with positives weighed by negatives / positives of the column.
    "value": smooth L1 (quadratic up to 1), so give values in units of their deviation.
    Weights are at most `MOST_WEIGHT`.

    Args:
        kind: of the target.
        columns: float (N, C) of the training side, see `criterion.columns`.
    """
    if kind == "value":
        return F.smooth_l1_loss
    frequency = columns.mean(dim=0)
    if kind == "multi":
        positive = ((1 - frequency) / frequency.clamp(min=1 / len(columns))).clamp(max=MOST_WEIGHT)
        return lambda scores, wanted: F.binary_cross_entropy_with_logits(scores, wanted, pos_weight=positive)
    occurs = frequency > 0
    balanced = frequency[occurs].median() / frequency.clamp(min=1 / len(columns))
    weight = torch.where(occurs, balanced.clamp(max=MOST_WEIGHT), 0.0)

    def cross_entropy(scores: Tensor, wanted: Tensor) -> Tensor:
        rows = wanted @ weight
        return (rows * F.cross_entropy(scores, wanted, reduction="none")).sum() / rows.sum()

    return cross_entropy


def truncated_smoothing(kind: Kind, scores: Tensor) -> Tensor:
    """Mean over steps and classes of min(|log p_t - log p_{t-1}|, tau)², the smoothing loss along a video.

    log p is the log softmax of "single" scores and the log sigmoid of "multi" ones; no gradient flows into t - 1. For
    logits (0, 0) then (ln 3, 0) the log probabilities change by ln 1.5 and -ln 2: (0.1644 + 0.4805) / 2 = 0.3224.
    Farha and Gall, MS-TCN (CVPR 2019), section 3.3.

    Args:
        kind: "single" or "multi".
        scores: logits (N, C) of one video in order of time.

    Returns:
        0-d; 0 for a video of one sample.
    """
    logs = F.log_softmax(scores, dim=1) if kind == "single" else F.logsigmoid(scores)
    change = (logs[1:] - logs[:-1].detach()).abs().clamp(max=TRUNCATION)
    return (change**2).sum() / max(change.numel(), 1)
