"""Which frame is kept, by hand: frames are numbers on a line, neighbors lie at most 1 apart."""

import numpy as np
import pytest

from training.corpus.duplicates.clusters import Choice, choose


class OnALine:
    """Neighbors by position; frame n is of video n unless videos are given."""

    def __init__(self, places, videos=None, method="hash") -> None:
        self.method = method
        self.places = np.array(places, float)
        self.videos = np.arange(len(places)) if videos is None else np.array(videos)
        self.candidates = np.arange(len(places))

    def near(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        distances = np.abs(self.places - self.places[frame])
        found = np.flatnonzero((distances <= 1) & (self.videos != self.videos[frame]))
        return found, distances[found].astype(np.float32)


def chosen(places, held_out=(), videos=None) -> Choice:
    choice = Choice.nothing(len(places))
    choose(choice, OnALine(places, videos), np.isin(np.arange(len(places)), held_out))
    return choice


def test_the_first_is_kept_and_nothing_is_chained():
    assert chosen([0, 1, 2, 3, 9]).favored.tolist() == [-1, 0, -1, 2, -1]


def test_frames_of_the_same_video_do_not_take_each_other():
    choice = chosen([0, 0.5, 0.7], videos=[0, 0, 1])
    assert choice.favored.tolist() == [-1, -1, 0]
    assert choice.distance[2] == pytest.approx(0.7)


def test_a_train_frame_like_any_held_out_frame_is_left_out():
    # 1.8 is like the held-out 1, which is itself left out for the held-out 0: both splits would show it otherwise.
    choice = chosen([1.8, 0, 1, 2.5], held_out=[1, 2])
    assert choice.favored.tolist() == [2, -1, 1, -1]
    assert choice.representatives().tolist() == [1, 1, 1, 3]
    assert choice.distance[0] == pytest.approx(0.8)


def test_the_nearest_held_out_frame_counts():
    assert chosen([0.6, 0, 1.1], held_out=[1, 2], videos=[0, 1, 1]).favored.tolist() == [2, -1, -1]


def test_a_second_comparison_adds_to_the_first():
    held_out = np.array([False, False, False, True])
    choice = Choice.nothing(4)
    choose(choice, OnALine([0, 0.5, 7, 8.5]), held_out)
    assert choice.favored.tolist() == [-1, 0, -1, -1]
    choose(choice, OnALine([0, 5, 9, 0.9], method="embedding"), held_out)
    assert choice.favored.tolist() == [3, 0, -1, -1]
    assert choice.representatives().tolist() == [3, 3, 2, 3]
    assert [choice.methods[number] for number in choice.method[:2]] == ["embedding", "hash"]
