"""Five folds by case for datasets without an official split: a case's fold follows from its name alone."""

import hashlib
from collections.abc import Iterable

from evaluation.datasets.workflow import Split
from training.errors import UserError

FOLDS = 5  # the field's number where nothing is official; a fifth of the cases is tested at a time


def fold_of(dataset: str, case: str) -> int:
    """The fold of a case, 1 to `FOLDS`: SHA-256 of "dataset/case" as a whole number, modulo `FOLDS`, plus 1.

    Cases that are missing on disk or added later move no other case, unlike with a shuffled list.
    """
    return int(hashlib.sha256(f"{dataset}/{case}".encode()).hexdigest(), 16) % FOLDS + 1


def hash_split(dataset: str, cases: Iterable[str], fold: int) -> Split:
    """The split `fold_1` to `fold_5`: fold k tests on group k, validates on the next and trains on the other three.

    Args:
        dataset: its name, part of what is hashed.
        cases: that are there; sides hold them sorted.
        fold: 1 to `FOLDS`.

    Raises:
        UserError: another fold.
    """
    if fold not in range(1, FOLDS + 1):
        raise UserError(f"{dataset} has the folds 1 to {FOLDS}, not {fold}")
    groups: dict[int, list[str]] = {number: [] for number in range(1, FOLDS + 1)}
    for case in sorted(set(cases)):
        groups[fold_of(dataset, case)].append(case)
    following = fold % FOLDS + 1
    train = sorted(case for number, group in groups.items() if number not in (fold, following) for case in group)
    source = (
        f"ours, as there is no official split: SHA-256 of '{dataset}/CASE' modulo {FOLDS}, plus 1, is the group of a "
        f"case; group {fold} for testing, group {following} for validation"
    )
    return Split(f"fold_{fold}", source, tuple(train), tuple(groups[following]), tuple(groups[fold]))
