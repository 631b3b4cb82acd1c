"""Dense correspondence: whether a token finds its own place again in a warped copy of the frame."""

from typing import NamedTuple

import numpy as np

from training.diagnostics.directions import unit_rows

ALPHA = 0.1  # of the longer side: 2 of 20 cells; the usual threshold of correspondence


class Matches(NamedTuple):
    """What one frame's tokens found in its warped copy.

    Attributes:
        hits: queries whose match lies within α · max(H, W) cells of the true place.
        returned: queries whose match, matched back, lies within the same distance of where they started.
        queries: tokens that count and whose true place is inside the warped frame.
    """

    hits: float
    returned: float
    queries: int


class Guesses(NamedTuple):
    """What the same queries score without looking at a token.

    Attributes:
        random: expected hits of a random match.
        stayed: hits of a model that knows nothing but positions and matches every token with its own place.
        queries: as in `Matches`.
    """

    random: float
    stayed: float
    queries: int


def match_tokens(
    original: np.ndarray, warped: np.ndarray, places: np.ndarray, asked: np.ndarray, alpha: float = ALPHA
) -> Matches:
    """Match every token to the one of highest cosine in the warped frame (PCK@α), and that one back (cycle).

    Args:
        original: tokens of the frame, (D, H, W).
        warped: tokens of the warped frame, (D, H, W).
        places: true place of each cell of the frame in the warped one, float (H, W, 2), row and column in cells: the
            center of cell (r, c) is at (r, c).
        asked: bool (H, W), the cells that count.
        alpha: α, share of the longer side of the grid.

    Source: PCK of Yang and Ramanan, "Articulated human detection with flexible mixtures of parts" (TPAMI 2013), with
    the truth of a known warp, as in Rocco et al., arXiv 1703.05593.

    Example:
        A frame of 1 x 4 different tokens, shifted by one cell: places are columns 1, 2, 3, 4, of which the last is
        outside. With α = 0.1 a hit is an exact one: 3 of 3.
    """
    rows, near, cells, limit = _queries(places, asked, alpha)
    if not len(rows):
        return Matches(0, 0, 0)
    # (D, H, W) -> (H*W, D)
    first, second = (unit_rows(part.reshape(len(part), -1).T) for part in (original, warped))
    similar = first @ second.T
    found = similar[rows].argmax(axis=1)
    back = similar.T[found].argmax(axis=1)
    returned = np.linalg.norm(cells[back] - cells[rows], axis=1) <= limit
    return Matches(float(near[np.arange(len(rows)), found].sum()), float(returned.sum()), len(rows))


def guess_tokens(places: np.ndarray, asked: np.ndarray, alpha: float = ALPHA) -> Guesses:
    """What the queries of `match_tokens` score without tokens; arguments as there."""
    rows, near, _, _ = _queries(places, asked, alpha)
    return Guesses(float(near.mean(axis=1).sum()), float(near[np.arange(len(rows)), rows].sum()), len(rows))


def _queries(places: np.ndarray, asked: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Cells that ask (Q,), which cells are near their true place (Q, H*W), all cells (H*W, 2), and what near is."""
    height, width = asked.shape
    limit = alpha * max(height, width)
    true, cells = places.reshape(-1, 2), np.moveaxis(np.mgrid[:height, :width], 0, -1).reshape(-1, 2)
    inside = ((true >= -0.5) & (true <= np.array([height, width]) - 0.5)).all(axis=1)
    rows = np.flatnonzero(inside & asked.ravel())
    near = np.linalg.norm(true[rows][:, None] - cells, axis=2) <= limit
    return rows, near, cells, limit
