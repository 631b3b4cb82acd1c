import numpy as np

from training.diagnostics.correspondence import guess_tokens, match_tokens

ALL = np.ones((1, 4), bool)
SHIFTED = np.array([[[0.0, 1], [0, 2], [0, 3], [0, 4]]])  # each cell one column to the right; the last leaves


def row(*tokens: int) -> np.ndarray:
    """Tokens (4, 1, W): unit vectors of the given numbers; -1 is zero."""
    return np.stack([np.eye(4)[token] if token >= 0 else np.zeros(4) for token in tokens], axis=1)[:, None]


def test_a_shift_is_found_exactly() -> None:
    found = match_tokens(row(0, 1, 2, 3), row(-1, 0, 1, 2), SHIFTED, ALL)
    assert (found.hits, found.returned, found.queries) == (3, 3, 3)


def test_positions_alone_stay_where_they_are() -> None:
    found = match_tokens(row(0, 1, 2, 3), row(0, 1, 2, 3), SHIFTED, ALL)
    assert (found.hits, found.returned) == (0, 3)
    assert match_tokens(row(0, 1, 2, 3), row(0, 1, 2, 3), SHIFTED, ALL, alpha=0.25).hits == 3


def test_what_is_scored_without_looking() -> None:
    exact, near = guess_tokens(SHIFTED, ALL), guess_tokens(SHIFTED, ALL, alpha=0.25)
    assert (exact.random, exact.stayed, exact.queries) == (3 / 4, 0, 3)  # each of 3 queries is right in 1 of 4 cells
    assert near.stayed == 3
    # Within one cell of columns 1, 2 and 3 lie 3, 3 and 2 of 4 cells.
    assert near.random == 8 / 4


def test_a_match_that_does_not_come_back() -> None:
    # Token 1 is gone; its query meets only zeros and others, takes the first column, whose own match is elsewhere.
    found = match_tokens(row(0, 1, 2, 3), row(3, 0, 2, 2), SHIFTED, ALL)
    assert found.hits == 1  # 0 is found in column 1; 2 is found in column 2 first, not in 3
    assert found.returned == 2


def test_only_cells_that_count_and_remain_in_view_ask() -> None:
    asked = np.array([[True, False, True, True]])
    assert match_tokens(row(0, 1, 2, 3), row(-1, 0, 1, 2), SHIFTED, asked).queries == 2
    assert match_tokens(row(0, 1, 2, 3), row(-1, 0, 1, 2), SHIFTED, ~ALL).queries == 0
