import numpy as np

from training.diagnostics.outlier_tokens import outlier_share


def test_by_hand() -> None:
    norms = np.array([[1.0, 1.1, 0.9, 1, 9]])
    tokens = norms[..., None] * np.array([0.6, -0.8])
    assert outlier_share(tokens).tolist() == [0.2]  # 0.1 is the median deviation, so the bound is 1 + 6 · 0.148


def test_tokens_of_a_normal_distribution_have_none() -> None:
    tokens = np.random.default_rng(0).standard_normal((10, 100, 64))
    assert outlier_share(tokens).sum() == 0
