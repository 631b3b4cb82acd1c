"""What a probe's hyper-parameters are and where they were chosen. A choice made on test cases has no way to be said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

ChosenOn = Literal["validation cases", "train folds by case", "fixed before the run"]


@dataclass(frozen=True)
class Chosen:
    """Hyper-parameters of one fitted probe.

    chosen_on: "validation cases" where the dataset has them, "train folds by case" elsewhere, "fixed before the run"
        where one training case leaves nothing to choose on.
    criterion: what was maximised on the inner folds, or why nothing was.
    """

    values: Mapping[str, float | int | str]
    chosen_on: ChosenOn
    criterion: str

    def __post_init__(self) -> None:
        if self.chosen_on not in get_args(ChosenOn):
            raise ValueError(f"chosen_on is {self.chosen_on!r}; possible are {', '.join(get_args(ChosenOn))}")


def choose(
    candidates: Sequence[Mapping[str, float | int | str]],
    scores: np.ndarray | None,
    criterion: str,
    chosen_on: ChosenOn = "train folds by case",
) -> Chosen:
    """The candidate with the best inner score; the first among equals, so list the more cautious ones first.

    Args:
        candidates: settings to choose from.
        scores: (candidates,) from inner folds, NaN where undefined; None if there was nothing to choose on.
        criterion: what the scores are.
        chosen_on: whose samples gave the scores.

    Returns:
        The best candidate, or the middle one where no score is defined.
    """
    if scores is None or np.isnan(scores).all():
        reason = "a single training case" if scores is None else f"{criterion} undefined on {chosen_on}"
        return Chosen(candidates[len(candidates) // 2], "fixed before the run", reason)
    return Chosen(candidates[int(np.nanargmax(scores))], chosen_on, criterion)
