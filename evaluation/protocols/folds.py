"""Inner folds for choosing hyper-parameters: whole training cases, never a test case."""

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.model_selection import GroupKFold


def case_folds(cases: Sequence[str], max_folds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of row indices (fit, score); no case is on both sides. Nothing is yielded for a single case.

    Args:
        cases: case of each training row.
        max_folds: folds to make when there are that many cases; otherwise one per case.
    """
    distinct = len(set(cases))
    if distinct >= 2:
        rows = np.zeros((len(cases), 1))
        yield from GroupKFold(n_splits=min(max_folds, distinct)).split(rows, groups=np.asarray(cases))
