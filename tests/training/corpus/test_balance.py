"""Sampling weights against hand computations."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from training.corpus.balance import BalanceSettings, clip_weights, with_weights
from training.corpus.manifest import Clip, read_clips
from training.errors import UserError

AS_IS = BalanceSettings(procedure_temperature=1.0)


@pytest.fixture(scope="module")
def make(mixed_corpus):
    """A clip of `frames` frames with the labels asked for."""
    pattern = read_clips(mixed_corpus / "manifest.parquet")[0]

    def clip(frames: int, procedure: str = "", source: str = "s", case: str = "c", split: str = "train") -> Clip:
        names = tuple(procedure.split("+")) if procedure else ()
        return replace(pattern, num_frames=frames, procedures=names, source=source, case_id=case, split=split)

    return clip


def weights(clips: list[Clip], settings: BalanceSettings) -> np.ndarray:
    return clip_weights(clips, np.array([clip.num_frames for clip in clips], float), settings)


def test_example_of_the_docstring(make):
    clips = [make(200, "a"), make(100, "a"), make(100, "b")]
    found = weights(clips, BalanceSettings())
    share = sqrt(300) / (sqrt(300) + 10)
    assert found == pytest.approx([share * 400 / 300, share * 400 / 300, (1 - share) * 400 / 100])
    assert found.round(3).tolist() == [0.845, 0.845, 1.464]
    assert (found * [200, 100, 100]).sum() == pytest.approx(400)


def test_ends_of_the_temperature(make):
    # 0: each of three groups gets 480 / 3 = 160 frames; the clip without a procedure is a group
    clips = [make(320, "a"), make(120, ""), make(40, "b")]
    assert weights(clips, BalanceSettings(procedure_temperature=0.0)) == pytest.approx([0.5, 4 / 3, 4])
    assert weights(clips, AS_IS).tolist() == [1, 1, 1]


def test_one_group_keeps_weight_one_exactly(make):
    assert weights([make(7), make(3), make(23)], BalanceSettings()).tolist() == [1, 1, 1]


def test_a_clip_of_several_procedures_counts_in_parts(make):
    # a has 60 + 40 / 2 = 80 frames, b 40 / 2 = 20; t = 0: factors 50 / 80 and 50 / 20, their mean 1.5625
    clips = [make(60, "a"), make(40, "b+a")]
    found = weights(clips, BalanceSettings(procedure_temperature=0.0))
    assert found == pytest.approx([0.625, 1.5625])
    assert (found * [60, 40]).sum() == pytest.approx(100)


def test_a_procedure_named_twice_counts_once(make):
    settings = BalanceSettings(procedure_temperature=0.0)
    assert weights([make(60, "a+a"), make(20, "b")], settings) == pytest.approx([40 / 60, 2])


def test_procedure_and_source_multiply_and_the_mean_is_one(make):
    # a 75 frames, b 25: factors 2/3 and 2. s 75, r 25: 2/3 and 2. Their products over 50, 25 and 25 frames sum up to
    # 88.9 of 100.
    clips = [make(50, "a", "s"), make(25, "b", "s"), make(25, "a", "r")]
    flat = BalanceSettings(procedure_temperature=0.0, source_temperature=0.0)
    products = np.array([4 / 9, 4 / 3, 4 / 3])
    assert (products * [50, 25, 25]).sum() == pytest.approx(800 / 9)
    assert weights(clips, flat) == pytest.approx(products * 9 / 8)


def test_a_cap_bounds_the_expected_frames_of_a_group_and_raises_nothing(make):
    clips = [make(80, "a", "s", "1"), make(20, "a", "s", "2"), make(30, "b", "r", "3")]
    assert weights(clips, replace(AS_IS, max_frames_per_case=40)) == pytest.approx([0.5, 1, 1])
    assert weights(clips, replace(AS_IS, max_frames_per_procedure=50)) == pytest.approx([0.5, 0.5, 1])
    assert weights(clips, replace(AS_IS, max_frames_per_source=15)) == pytest.approx([0.15, 0.15, 0.5])
    assert weights(clips, replace(AS_IS, max_frames_per_case=80)) == pytest.approx([1, 1, 1])
    # Cases first: 40 + 20 frames of a are left, and they are cut to 30.
    both = replace(AS_IS, max_frames_per_case=40, max_frames_per_procedure=30)
    assert weights(clips, both) == pytest.approx([0.25, 0.5, 1])


def test_the_cap_of_a_procedure_cuts_its_part_of_a_clip(make):
    # a: 40 + 20 = 60 frames, cut to 30. The clip of both keeps its part in b: (0.5 + 1) / 2.
    clips = [make(40, "a"), make(40, "a+b")]
    assert weights(clips, replace(AS_IS, max_frames_per_procedure=30)) == pytest.approx([0.5, 0.75])


def test_repeats_are_bounded(make):
    clips = [make(1000, "a"), make(1, "b")]
    found = weights(clips, BalanceSettings(procedure_temperature=0.0, max_repeats=4.0))
    assert found == pytest.approx([1001 / 2 / 1000, 4])


def test_what_is_left_out_counts_as_absent_and_held_out_clips_are_not_weighed(make):
    clips = [make(100, "a"), make(40, "b"), make(30, "b", split="held_out"), make(5, "d")]
    found = with_weights(clips, [50, 0, 0, 5], BalanceSettings(procedure_temperature=0.0))
    # 50 frames of a, 40 of b; of d nothing is left to draw
    assert [clip.weight for clip in found] == pytest.approx([45 / 50, 45 / 40, 1, 1])
    assert [replace(clip, weight=1.0) for clip in found] == clips


def test_no_train_clip(make):
    assert [clip.weight for clip in with_weights([make(3, split="held_out")], [0], BalanceSettings())] == [1]
    assert with_weights([], [], BalanceSettings()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"procedure_temperature": 1.5}, r"balance.procedure_temperature=1.5 must be from 0 .* to 1"),
        ({"source_temperature": -0.1}, r"balance.source_temperature=-0.1 must be from 0"),
        ({"max_frames_per_case": -1}, r"balance.max_frames_per_case=-1 must be 0 \(no cap\) or more"),
        ({"max_repeats": 0.5}, r"balance.max_repeats=0.5 is too small: it must be at least 1"),
        ({"max_repeats": float("nan")}, r"balance.max_repeats=nan is too small"),
        ({"procedure_temperature": float("nan")}, r"procedure_temperature=nan must be"),
    ],
)
def test_wrong_settings(values, message):
    with pytest.raises(UserError, match=message):
        BalanceSettings(**values)
