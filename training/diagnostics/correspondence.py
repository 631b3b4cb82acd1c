"""Dense correspondence: whether a token finds its own place again in a warped copy of the frame."""

from typing import NamedTuple

import numpy as np

from training.diagnostics.directions import unit_rows


class Matches(NamedTuple):
    """What one frame's tokens found in its warped copy.

    Attributes:
        hits: queries whose match lies within α · max(H, W) cells of the true place.
        returned: queries whose match, matched back, lies within the same distance of where they started.
        stayed: queries whose true place is that near to where they started: what a model scores that knows nothing but
            positions.
        chance: expected hits of a random match.
        queries: tokens that count and whose true place is inside the warped frame.
    """

    hits: float
    returned: float
    stayed: float
    chance: float
    queries: int


def match_tokens(
    original: np.ndarray, warped: np.ndarray, places: np.ndarray, asked: np.ndarray, alpha: float = 0.1
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
    height, width = original.shape[1:]
    limit = alpha * max(height, width)
    # (D, H, W) -> (H*W, D)
    first, second = (unit_rows(part.reshape(len(part), -1).T) for part in (original, warped))
    similar = first @ second.T
    true = places.reshape(-1, 2)
    inside = ((true >= -0.5) & (true <= np.array([height, width]) - 0.5)).all(axis=1)
    rows = np.flatnonzero(inside & asked.ravel())
    if not len(rows):
        return Matches(0, 0, 0, 0, 0)
    cells = np.moveaxis(np.mgrid[:height, :width], 0, -1).reshape(-1, 2)
    found = similar[rows].argmax(axis=1)
    back = similar.T[found].argmax(axis=1)
    near = np.linalg.norm(true[rows][:, None] - cells, axis=2) <= limit  # (Q, H*W)
    return Matches(
        hits=float(near[np.arange(len(rows)), found].sum()),
        returned=float((np.linalg.norm(cells[back] - cells[rows], axis=1) <= limit).sum()),
        stayed=float((np.linalg.norm(true[rows] - cells[rows], axis=1) <= limit).sum()),
        chance=float(near.mean(axis=1).sum()),
        queries=len(rows),
    )
