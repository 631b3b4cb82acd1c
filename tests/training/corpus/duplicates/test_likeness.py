"""Correlation of thumbnails, by hand."""

import numpy as np

from training.corpus.duplicates.likeness import correlations


def test_by_hand():
    one = np.array([[1, 2], [3, 4]], np.uint8)
    others = np.stack([one, 5 - one, one * 10 + 7, np.full((2, 2), 3), np.array([[1, 2], [4, 3]])]).astype(np.uint8)
    np.testing.assert_allclose(correlations(one, others), [1, -1, 1, 0, 0.8], atol=1e-6)
    np.testing.assert_allclose(correlations(others, others), [1, 1, 1, 0, 1], atol=1e-6)
    assert correlations(one, others[:0]).shape == (0,)
