"""The search for near hashes against brute force and against faiss."""

import faiss
import numpy as np
import pytest

from training.corpus.duplicates import hash_search
from training.corpus.duplicates.hash_search import near_known, near_pairs


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def flipped(hashes: np.ndarray, bits: int, seed: int) -> np.ndarray:
    """Each hash with `bits` of its bits changed."""
    generator = np.random.default_rng(seed)
    chosen = generator.permuted(np.tile(np.arange(64, dtype=np.uint64), (len(hashes), 1)), axis=1)[:, :bits]
    return hashes ^ np.bitwise_or.reduce(np.uint64(1) << chosen, axis=1, initial=np.uint64(0))


def found(hashes: np.ndarray, max_distance: int) -> list[tuple[int, int, int]]:
    return sorted(
        (int(i), int(j), int(d)) for batch in near_pairs(hashes, max_distance) for i, j, d in zip(*batch, strict=True)
    )


def brute(hashes: np.ndarray, max_distance: int) -> list[tuple[int, int, int]]:
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    pairs = np.argwhere(np.triu(distances <= max_distance, 1)).tolist()
    return [(i, j, int(distances[i, j])) for i, j in pairs]


def test_a_pair_by_hand():
    assert found(np.array([0b1111, 0, 0b0111 | 1 << 63], np.uint64), 4) == [(0, 1, 4), (0, 2, 2), (1, 2, 4)]
    assert found(np.array([0b1111, 0, 0b0111 | 1 << 63], np.uint64), 3) == [(0, 2, 2)]
    assert found(np.array([7, 9, 7], np.uint64), 0) == [(0, 2, 0)]


@pytest.mark.parametrize("max_distance", [0, 1, 2, 4, 7, 12])
def test_every_pair_once_whatever_the_number_of_hashes(max_distance, monkeypatch):
    base = random_hashes(60)
    hashes = np.concatenate([base, *(flipped(base, bits, bits) for bits in range(1, 14)), base[:5]])
    want = brute(hashes, max_distance)
    assert len(want) >= 5
    for sparse in (2, -3, -20):  # the larger a set, the more chunks make a key
        monkeypatch.setattr(hash_search, "SPARSE", sparse)
        assert found(hashes, max_distance) == want


def test_it_is_what_an_exact_index_of_faiss_finds():
    base = random_hashes(3000)
    hashes = np.concatenate([base, flipped(base[:500], 3, 1), flipped(base[:500], 5, 2)])
    index = faiss.IndexBinaryFlat(64)
    index.add(hashes.view(np.uint8).reshape(-1, 8))
    limits, distances, others = index.range_search(hashes.view(np.uint8).reshape(-1, 8), 5)  # below 5
    queries = np.repeat(np.arange(len(hashes)), np.diff(limits.astype(np.int64)))
    want = sorted((int(i), int(j), int(d)) for i, j, d in zip(queries, others, distances, strict=True) if i < j)
    assert found(hashes, 4) == want
    assert len(want) >= 500


def test_keys_are_long_enough_for_their_number_and_cover_all_bits():
    for count, shared in ((1000, 1), (250_000, 2), (4_000_000, 2), (20_000_000, 3)):
        masks, chosen = hash_search._chunks(count, 4)
        assert (chosen, len(masks)) == (shared, 4 + shared)
        assert int(np.bitwise_or.reduce(masks)) == 2**64 - 1
        assert int(np.bitwise_count(masks).sum()) == 64


def test_pairs_with_known_hashes_only():
    hashes, known = np.array([0, 255, 2**40], np.uint64), np.array([1, 3, 255], np.uint64)
    first, second, distance = near_known(hashes, known, 2)
    assert list(zip(first.tolist(), second.tolist(), distance.tolist(), strict=True)) == [
        (0, 0, 1), (0, 1, 2), (1, 2, 0), (2, 0, 2),
    ]  # fmt: skip
    assert [len(column) for column in near_known(hashes[:1], known[:0], 4)] == [0, 0, 0]


def test_distances_out_of_range():
    with pytest.raises(ValueError, match="max_distance must be from 0 to 12 bits, got 13"):
        next(near_pairs(np.zeros(2, np.uint64), 13))
