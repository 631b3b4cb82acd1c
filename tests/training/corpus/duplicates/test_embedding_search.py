"""The search for similar embeddings, exact and by cells."""

import sys

import numpy as np
import pytest

from training.corpus.duplicates import embedding_search
from training.corpus.duplicates.embedding_search import similar_pairs
from training.errors import UserError


def planted(count: int, copies: int, width: int = 32) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Unit vectors, of which the last `copies` have a cosine of 0.975 to 0.999 with one of the first."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((count, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = generator.uniform(0.975, 0.999, (copies, 1)).astype(np.float32)
    aside = vectors[-copies:] - (vectors[-copies:] * vectors[:copies]).sum(1, keepdims=True) * vectors[:copies]
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    vectors[-copies:] = cosines * vectors[:copies] + np.sqrt(1 - cosines**2) * aside
    return vectors, {(number, count - copies + number) for number in range(copies)}


def test_pairs_by_hand_and_only_between_groups():
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [1, 0]], np.float32)
    first, second, cosine = similar_pairs(vectors, np.array([0, 1, 2, 3]), 0.6)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 3), (1, 2), (1, 3)]
    np.testing.assert_allclose(cosine, [0.6, 1.0, 0.8, 0.6], rtol=1e-6)
    assert similar_pairs(vectors, np.array([0, 1, 2, 0]), 0.99)[0].tolist() == []
    assert [len(column) for column in similar_pairs(vectors[:0], np.zeros(0, int), 0.9)] == [0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_cells_find_what_the_exact_search_finds(dtype, monkeypatch):
    vectors, want = planted(3000, 300)
    vectors, groups = vectors.astype(dtype), np.arange(3000)
    exact = similar_pairs(vectors, groups, 0.97)
    assert set(zip(exact[0].tolist(), exact[1].tolist(), strict=True)) == want
    monkeypatch.setattr(embedding_search, "EXACT", 100)
    monkeypatch.setattr(embedding_search, "BLOCK", 16)
    by_cells = similar_pairs(vectors, groups, 0.97)
    pairs = set(zip(by_cells[0].tolist(), by_cells[1].tolist(), strict=True))
    assert pairs <= want
    assert len(pairs) >= 0.98 * len(want)
    again = similar_pairs(vectors, groups, 0.97)
    assert all(np.array_equal(one, two) for one, two in zip(by_cells, again, strict=True))


def test_lengths_are_checked():
    with pytest.raises(ValueError, match="embeddings must be of length 1"):
        similar_pairs(np.full((2, 3), 1.0, np.float32), np.arange(2), 0.9)


def test_only_large_sets_need_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    vectors, _ = planted(200, 20)
    assert len(similar_pairs(vectors, np.arange(200), 0.97)[0]) == 20
    monkeypatch.setattr(embedding_search, "EXACT", 100)
    with pytest.raises(UserError, match=r"200 embeddings need faiss, which is not installed: pip install faiss-cpu"):
        similar_pairs(vectors, np.arange(200), 0.97)
