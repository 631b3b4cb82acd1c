"""The loss of labels per frame: cross-entropy, and a price on predictions that flicker."""

import torch
from torch import nn

from .labels_zen import IGNORED_LABEL, check_classes, check_labels, check_presence

# MS-TCN, arXiv:1903.01945, 3.3.
SMOOTHING_WEIGHT = 0.15
SMOOTHING_LIMIT = 4.0


def frame_loss(stage_logits: torch.Tensor, labels: torch.Tensor, *, multi_label: bool) -> torch.Tensor:
    """The loss of MS-TCN (arXiv:1903.01945, 3.3): right for every frame, and not flickering.

    Per stage, the cross-entropy plus 0.15 times the truncated squared change of log-probabilities,

        mean over t, c of min(|log y[t, c] - log y[t - 1, c]|, 4) ** 2,

    with no gradient to y[t - 1] (eq. 7-9). The mean over stages is returned, where the paper has the sum. Transformers
    are trained with it as well (ASFormer, arXiv:2110.08568), and ours has no further stage that could mend flicker.
    Several labels per frame are so many binary cross-entropies, and y the probabilities of presence.

    Frames whose label is -100 count nowhere: the change is taken between neighbors that both have labels. Where none
    counts, that term is 0. Computed in float32.

    Args:
        stage_logits: (batch, stages, frames, classes).
        labels: (batch, frames), integers; with `multi_label`, (batch, frames, classes) in [0, 1], or -100.
        multi_label: Whether classes exclude each other (False).

    Returns:
        A scalar. Of two frames with two classes, labels 0 and 1 and logits (0, 0) and (0, ln 3):
        (ln 2 - ln 0.75) / 2 + 0.15 * (ln 2 ** 2 + ln 1.5 ** 2) / 2 = 0.5388.

    Raises:
        ValueError: Labels of another shape or dtype, or, looked at on the CPU only, out of range.
    """
    batch, _, frames, classes = stage_logits.shape
    if multi_label:
        check_labels("labels", labels, (batch, frames, classes), floating=True)
        if labels.device.type == "cpu" and not torch.compiler.is_compiling():
            check_presence("labels", labels[labels != IGNORED_LABEL], (int((labels != IGNORED_LABEL).sum()),))
    else:
        check_classes("labels", labels, (batch, frames), classes, ignored=IGNORED_LABEL)
    logits = stage_logits.float()
    known = (labels != IGNORED_LABEL).unsqueeze(1)  # (batch, 1, frames[, classes])
    target = torch.where(known, labels.unsqueeze(1), 0)
    if multi_label:
        log_probabilities = nn.functional.logsigmoid(logits)
        target = target.to(logits.dtype).expand_as(logits)
        errors = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        pairs = known[:, :, 1:] & known[:, :, :-1]
    else:
        log_probabilities = logits.log_softmax(dim=-1)
        index = target.long().unsqueeze(-1).expand(*logits.shape[:-1], 1)
        errors = -log_probabilities.gather(-1, index).squeeze(-1)
        pairs = (known[:, :, 1:] & known[:, :, :-1]).unsqueeze(-1)
    change = log_probabilities[:, :, 1:] - log_probabilities[:, :, :-1].detach()
    change = change.abs().clamp(max=SMOOTHING_LIMIT).square()
    return _mean(errors, known) + SMOOTHING_WEIGHT * _mean(change, pairs)


def _mean(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean of `values` where `counts` (which is broadcast) is true; 0 where it is nowhere."""
    counts = counts.expand_as(values)
    return torch.where(counts, values, 0.0).sum() / counts.sum().clamp(min=1)


__all__ = ["frame_loss"]
