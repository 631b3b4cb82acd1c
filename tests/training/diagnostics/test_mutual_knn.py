import numpy as np
import pytest

from training.diagnostics.mutual_knn import mutual_knn


def circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_by_hand() -> None:
    assert mutual_knn(circle(0, 10, 90), 5 * circle(0, 80, 90), k=1).tolist() == [1, 0, 1]
    assert mutual_knn(circle(0, 10, 90), circle(0, 80, 90), k=2).tolist() == [1, 1, 1]


def test_unrelated_features_share_what_chance_gives() -> None:
    rng = np.random.default_rng(0)
    shares = mutual_knn(rng.standard_normal((200, 16)), rng.standard_normal((200, 16)), k=10)
    assert shares.mean() == pytest.approx(10 / 199, abs=0.01)


def test_more_neighbors_than_frames() -> None:
    with pytest.raises(ValueError, match="k=3 needs more than 3 frames, got 3"):
        mutual_knn(np.eye(3), np.eye(3), k=3)
