"""All pairs of 64-bit hashes within a small Hamming distance: none is missed, and time grows little faster than N.

The 64 bits are cut into chunks. Two hashes that differ in r bits agree in all but at most r chunks, so of r + s chunks
they agree in at least s (the pigeonhole principle; Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with
Multi-Index Hashing", 2014, is the case s = 1). For every choice of s chunks the hashes are sorted by the bits of these,
and those with equal bits are compared in full. `benchmarks/duplicates.py` has it beside the binary indexes of faiss.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np

BITS = 64
LARGEST = 12  # bits; beyond, pictures have little in common and the keys become too short
MOST_SHARED = 3  # chunks in a key; 4 would mean 70 sorts instead of 35 at a distance of 4
SPARSE = 2  # bits that a key may be shorter than log2 N: then four hashes share a key by chance

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # first and second position, int64; distance, uint8


def near_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[Pairs]:
    """Every pair of positions whose hashes differ in at most `max_distance` bits, once, in batches of any size.

    Equal hashes make a pair for each two of them, so give each value once (`numpy.unique`) where many may be equal.

    Args:
        hashes: uint64 (N,).
        max_distance: bits, 0 to `LARGEST`.

    Yields:
        First and second positions int64 (P,), first < second, and distances uint8 (P,).

    Raises:
        ValueError: a distance outside that range.
    """
    if not 0 <= max_distance <= LARGEST:
        raise ValueError(f"max_distance must be from 0 to {LARGEST} bits, got {max_distance}")
    masks, shared = _chunks(len(hashes), max_distance)
    for chosen in combinations(range(len(masks)), shared):
        key = np.bitwise_or.reduce(masks[list(chosen)])
        # A pair that agrees in more chunks is met under several keys; the first one has it.
        skipped = [masks[chunk] for chunk in range(chosen[-1]) if chunk not in chosen]
        for first, second, differing in _equal_keys(hashes, key):
            distance = np.bitwise_count(differing)
            new = distance <= max_distance
            for mask in skipped:
                new &= (differing & mask) != 0
            if new.any():
                first, second = first[new], second[new]
                yield np.minimum(first, second), np.maximum(first, second), distance[new]


def near_known(hashes: np.ndarray, known: np.ndarray, max_distance: int) -> Pairs:
    """All pairs of one of `hashes` and one of `known` within `max_distance` bits, sorted by position.

    Args:
        hashes: uint64 (N,), each value once.
        known: uint64 (M,), each value once.
        max_distance: bits, 0 to `LARGEST`.

    Returns:
        Positions in `hashes` and in `known`, int64 (P,), and distances uint8 (P,).
    """
    count, parts = len(hashes), []
    for first, second, distance in near_pairs(np.concatenate([hashes, known]), max_distance):
        between = (first < count) & (second >= count)
        parts.append((first[between], second[between] - count, distance[between]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    first, second, distance = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order], distance[order]


def _chunks(count: int, max_distance: int) -> tuple[np.ndarray, int]:
    """Masks of the chunks, uint64 (C,), and how many of them make a key."""
    shared = 1
    while shared < MOST_SHARED and shared * BITS // (max_distance + shared) < np.log2(max(count, 1)) - SPARSE:
        shared += 1
    edges = [BITS * chunk // (max_distance + shared) for chunk in range(max_distance + shared + 1)]
    masks = [((1 << high) - 1) ^ ((1 << low) - 1) for low, high in pairwise(edges)]
    return np.array(masks, np.uint64), shared


def _equal_keys(hashes: np.ndarray, key: np.uint64) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs whose bits under `key` are equal: their positions, int64, and the bits in which they differ."""
    masked = hashes & key
    order = np.argsort(masked)
    masked = masked[order]
    ordered = hashes[order]
    step, places = 1, np.flatnonzero(masked[1:] == masked[:-1])
    while len(places):
        yield order[places], order[places + step], ordered[places] ^ ordered[places + step]
        step += 1
        # Sorted, so only where the one before agrees can the next one do.
        places = places[places + step < len(masked)]
        places = places[masked[places + step] == masked[places]]
