import numpy as np
import pytest

from training.diagnostics.temporal_retrieval import chance_of_recall, near_in_time, recall_at_k, same_video_later

# Video 0 at 0, 1, 2 and 50 s, video 1 at 0 s, and a still without a time line.
VIDEOS = np.array([0, 0, 0, 0, 1, 2])
TIMES = np.array([0.0, 1, 2, 50, 0, np.nan])
NONE = np.zeros((6, 6), bool)


def circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_who_asks_for_whom() -> None:
    queries = near_in_time(VIDEOS, TIMES, 2.0, NONE)
    assert queries.asked.tolist() == [True, True, True, False, False, False]
    assert queries.relevant[0].tolist() == [False, True, True, False, False, False]
    assert queries.candidates[0].tolist() == [False, True, True, True, True, True]
    later = same_video_later(VIDEOS, TIMES, 2.0)
    assert later.asked.tolist() == [True, True, True, True, False, False]
    assert later.candidates[0].tolist() == [False, False, False, True, True, True]


def test_near_duplicates_are_no_candidates() -> None:
    alike = NONE.copy()
    alike[0, 1] = alike[1, 0] = True
    queries = near_in_time(VIDEOS, TIMES, 1.0, alike)
    assert queries.asked.tolist() == [False, True, True, False, False, False]
    features = circle(0, 1, 40, 200, 60, 50)  # 1 would find 0, its duplicate, but must look further and finds 2
    assert recall_at_k(features, queries, 1)[1] == 1
    assert recall_at_k(features, queries, 1)[2] == 0  # 50° is nearer than 1°


def test_recall_by_hand() -> None:
    queries = near_in_time(VIDEOS, TIMES, 2.0, NONE)
    # 0 finds 1 (10°); 1 finds 0; 2 (90°) finds the still (80°) first and 1 third.
    features = circle(0, 10, 90, 200, 70, 80)
    assert recall_at_k(features, queries, 1)[:3].tolist() == [1, 1, 0]
    assert recall_at_k(features, queries, 3)[:3].tolist() == [1, 1, 1]
    assert np.isnan(recall_at_k(features, queries, 1)[3:]).all()


def test_chance_by_hand() -> None:
    queries = near_in_time(VIDEOS, TIMES, 2.0, NONE)
    # Frame 0 has 5 candidates of which 2 are right: 2/5 with one draw, 1 - 3/5 · 2/4 with two, certain with four.
    assert chance_of_recall(queries, 1)[0] == pytest.approx(0.4)
    assert chance_of_recall(queries, 2)[0] == pytest.approx(0.7)
    assert chance_of_recall(queries, 4)[0] == 1
    assert np.isnan(chance_of_recall(queries, 1)[3:]).all()
