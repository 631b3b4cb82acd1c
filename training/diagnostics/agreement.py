"""How well the student agrees with each teacher, always beside the constant predictor."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Agreement:
    """Per-image agreement of predictions with targets for one teacher and one kind of token, each float32 `(B,)`.

    loss, constant_loss: what training minimises, before its weight, of the prediction and of the constant one below.
    cosine: mean over tokens of the cosine between prediction and target, both centred on the calibration mean.
    error, constant_error: squared error (dense) or squared angle in rad² (summary) of the prediction and of the best
        constant predictor of the calibration set; their sums give explained variance 1 - Σ error / Σ constant_error.
    counted: bool `(B,)`, images with a valid token; the others are 0 in every column. `None`: all count.
    """

    loss: Tensor
    constant_loss: Tensor
    cosine: Tensor
    error: Tensor
    constant_error: Tensor
    counted: Tensor | None = None

    def mean_loss(self, kept: Tensor | None = None) -> Tensor:
        """Mean loss of the images that count; 0 when none does. Of those not `kept`, bool `(B,)`, the loss is 0."""
        loss = self.loss if kept is None else self.loss * kept
        if self.counted is None:
            return loss.mean()
        return loss.sum() / self.counted.sum().clamp(min=1)


class AgreementMeter:
    """Sums agreements over a window without waiting for the device; `rows` reads them and starts a new window."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Tensor] = {}

    @torch.no_grad()
    def add(self, teacher: str, tokens: str, agreement: Agreement) -> None:
        """Add one batch for `teacher` and `tokens` ("summary" or "dense")."""
        columns = (
            agreement.loss,
            agreement.constant_loss,
            agreement.cosine,
            agreement.error,
            agreement.constant_error,
        )
        # float64, because a window adds thousands of numbers and the sums are subtracted later.
        ones = torch.ones_like(agreement.loss) if agreement.counted is None else agreement.counted
        values = torch.stack([ones.to(agreement.loss.dtype), *columns]).detach().double().sum(dim=1)
        key = (teacher, tokens)
        self._sums[key] = self._sums[key] + values if key in self._sums else values

    def rows(self, total: Callable[[Tensor], Tensor] = lambda sums: sums) -> list[dict[str, float | str]]:
        """One row per teacher and kind of token: loss, constant_loss, cosine, explained_variance.

        `total` makes the sums of this process those of all of them.
        """
        rows: list[dict[str, float | str]] = []
        for (teacher, tokens), own in self._sums.items():
            sums = total(own)
            count, loss, constant_loss, cosine, error, constant_error = sums.tolist()
            if not count:
                continue  # its images do not count: of sources that it does not teach
            explained = 1 - error / constant_error if constant_error > 0 else float("nan")
            rows.append(
                {
                    "teacher": teacher,
                    "tokens": tokens,
                    "loss": loss / count,
                    "constant_loss": constant_loss / count,
                    "cosine": cosine / count,
                    "explained_variance": explained,
                }
            )
        self._sums = {}
        return rows


def format_rows(rows: list[dict[str, float | str]]) -> str:
    """Agreement rows as an aligned console table."""
    width = max([len(str(row["teacher"])) for row in rows] + [len("teacher")])
    lines = [f"  {'teacher':<{width}}  tokens     loss  constant  cosine  explained"]
    for row in rows:
        numbers = (row["loss"], row["constant_loss"], row["cosine"], row["explained_variance"])
        text = "{:>7.4f}  {:>8.4f}  {:>6.3f}  {:>9.3f}".format(*numbers)
        lines.append(f"  {row['teacher']:<{width}}  {row['tokens']:<7}  {text}")
    return "\n".join(lines)
