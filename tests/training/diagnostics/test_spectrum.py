import numpy as np
import pytest

from training.diagnostics.spectrum import covariance_eigenvalues, singular_values


def test_by_hand() -> None:
    assert singular_values(np.array([[3.0, 0], [0, 4]])) == pytest.approx([4, 3])
    assert singular_values(np.array([[3.0, 0], [0, 4]]), np.array([1, 0])) == pytest.approx([3, 0])
    cross = np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]])
    assert covariance_eigenvalues(cross) == pytest.approx([2, 0.5])
    assert covariance_eigenvalues(cross + 100) == pytest.approx([2, 0.5])


@pytest.mark.parametrize("shape", [(9, 4), (5, 12)])
def test_equals_numpy_and_weights_are_repetitions(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).standard_normal(shape)
    weights = np.arange(shape[0]) % 3
    repeated = np.repeat(rows, weights, axis=0)
    size = min(shape)
    assert singular_values(rows) == pytest.approx(np.linalg.svd(rows, compute_uv=False))
    expected = np.linalg.svd(repeated, compute_uv=False)
    assert singular_values(rows, weights)[: len(expected)] == pytest.approx(expected, abs=1e-6)
    covariance = np.cov(repeated.T, bias=True)
    expected = np.linalg.eigvalsh(covariance)[::-1][:size]
    assert covariance_eigenvalues(rows, weights) == pytest.approx(expected, abs=1e-12)
