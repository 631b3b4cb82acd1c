"""Pairs of embeddings with a high cosine, of different videos: exact for small sets, by cells of neighbors for large.

Cells are those of faiss' k-means. Every embedding lives in the cell of its nearest center and also looks into the cells
of the next ones; a pair is compared when either looks into the other's cell. Cells are joined by matrix products, which
two cores do an order of magnitude faster than one range search per embedding. `benchmarks/duplicates.py` measures how
many pairs are missed.
"""

import numpy as np

from training.errors import UserError

EXACT = 20_000  # embeddings that are all compared with each other: a few seconds on one core
CELLS_PER_ROOT = 2  # cells = this * sqrt(N): finding cells and joining them then cost about the same
PROBED = 4  # cells looked into: of pairs evenly from 0.97 to 1, 98.8 % are found among a million random embeddings
TRAINED_ON = 40  # embeddings per cell for k-means; faiss asks for 39
ITERATIONS = 5  # of k-means; the cells need not be good, only small
BLOCK = 4096  # embeddings of one cell multiplied at once; 64 MB of products


def similar_pairs(
    embeddings: np.ndarray, groups: np.ndarray, min_cosine: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of embeddings of different groups whose cosine is at least `min_cosine`, each once, sorted.

    Args:
        embeddings: float16 or float32 (N, D), each of length 1.
        groups: int (N,), the video of each.
        min_cosine: -1 to 1.

    Returns:
        First and second positions int64 (P,), first < second, and cosines float32 (P,).

    Raises:
        ValueError: embeddings that are not of length 1.
        UserError: more than `EXACT` embeddings, and faiss is not installed.
    """
    if not len(embeddings):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    lengths = np.concatenate([np.linalg.norm(block.astype(np.float32), axis=1) for block in _blocks(embeddings)])
    if not np.abs(lengths - 1).max() < 1e-2:
        raise ValueError("embeddings must be of length 1")
    probed = _probed_cells(embeddings)
    home = probed[:, 0]
    members = np.argsort(home, kind="stable")
    lookers = np.argsort(probed.ravel(), kind="stable") // probed.shape[1]
    cells = np.arange(probed.max() + 2)
    member_starts = np.searchsorted(home[members], cells)
    looker_starts = np.searchsorted(np.sort(probed, axis=None), cells)
    found = []
    for cell in cells[:-1].tolist():
        mine = members[member_starts[cell] : member_starts[cell + 1]]
        looking = lookers[looker_starts[cell] : looker_starts[cell + 1]]
        for start in range(0, len(looking), BLOCK):
            for other in range(0, len(mine), BLOCK):
                block, against = looking[start : start + BLOCK], mine[other : other + BLOCK]
                found.append(_pairs(embeddings, groups, block, against, min_cosine))
    first, second, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    _, once = np.unique(first * np.int64(len(embeddings)) + second, return_index=True)
    return first[once], second[once], cosine[once]


def _probed_cells(embeddings: np.ndarray) -> np.ndarray:
    """The cells that each embedding looks into, its own first: int32 (N, `PROBED`); all in one if they are few."""
    count, width = embeddings.shape
    if count <= EXACT:
        return np.zeros((count, 1), np.int32)
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            f"{count} embeddings need faiss, which is not installed: pip install faiss-cpu, or the extra [corpus]"
        ) from error
    cells = int(CELLS_PER_ROOT * count**0.5)
    chosen = np.random.default_rng(0).choice(count, min(count, TRAINED_ON * cells), replace=False)
    kmeans = faiss.Kmeans(width, cells, niter=ITERATIONS, seed=0, spherical=True)
    kmeans.train(embeddings[np.sort(chosen)].astype(np.float32))
    parts = [kmeans.index.search(block.astype(np.float32), PROBED)[1].astype(np.int32) for block in _blocks(embeddings)]
    return np.concatenate(parts)


def _pairs(
    embeddings: np.ndarray, groups: np.ndarray, looking: np.ndarray, members: np.ndarray, min_cosine: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of one block of a cell."""
    cosines = embeddings[looking].astype(np.float32) @ embeddings[members].astype(np.float32).T
    rows, columns = np.nonzero(cosines >= min_cosine)
    one, two = looking[rows], members[columns]
    other = groups[one] != groups[two]
    one, two = one[other], two[other]
    return np.minimum(one, two), np.maximum(one, two), cosines[rows[other], columns[other]]


def _blocks(embeddings: np.ndarray) -> list[np.ndarray]:
    return [embeddings[start : start + 2**16] for start in range(0, len(embeddings), 2**16)]
