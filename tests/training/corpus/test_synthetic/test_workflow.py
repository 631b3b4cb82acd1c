"""The course of a case: phases, the instruments they bring, and the vocabulary behind them."""

from itertools import pairwise

import numpy as np
import pytest

from training.corpus.synthetic import SyntheticSettings
from training.corpus.synthetic.canvas import build_canvas
from training.corpus.synthetic.instruments import build_instrument
from training.corpus.synthetic.renderer import TIP_SCALE
from training.corpus.synthetic.vocabulary import INSTRUMENTS, PHASES, PROCEDURES, TARGETS, TRIPLETS, VERBS
from training.corpus.synthetic.workflow import Plan, plan_case, smoothstep


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    settings = SyntheticSettings(width=128, height=96, out_of_body_cases=0.5, black_cases=0.25, frozen_cases=0.75)
    canvases = {name: build_canvas(name, np.random.default_rng(0), 96, 128) for name in PROCEDURES}
    return [
        plan_case(settings, PROCEDURES[name], canvases[name], index, [index, 7])
        for index in range(12)
        for name in PROCEDURES
    ]


def test_phases_follow_each_other_without_gaps(plans):
    for plan in plans:
        assert plan.stretches[0].start == 0
        assert plan.stretches[-1].stop == pytest.approx(16)
        for before, after in pairwise(plan.stretches):
            assert before.stop == pytest.approx(after.start)
        phases = list(dict.fromkeys(stretch.phase for stretch in plan.stretches))
        assert {"dissection", "cutting"} <= set(phases) <= set(PHASES)
        assert len(phases) >= 3
    assert len({tuple(stretch.phase for stretch in plan.stretches) for plan in plans}) > 8


@pytest.mark.parametrize(
    ("instrument", "phase"), [("clipper", "clipping"), ("scissors", "cutting"), ("irrigator", "cleaning")]
)
def test_a_phase_brings_its_instrument_more_often_than_other_phases(plans, instrument, phase):
    shares: dict[bool, list[bool]] = {True: [], False: []}
    for plan in plans:
        for number, stretch in enumerate(plan.stretches):
            held = {hand[number].instrument for hand in plan.hands}
            shares[stretch.phase == phase].append(instrument in held)
    assert 0.4 < np.mean(shares[True]) < 1
    assert np.mean(shares[True]) > 2 * np.mean(shares[False])


def test_tasks_are_in_the_vocabulary_and_touch_within_their_time(plans):
    for plan in plans:
        for hand in plan.hands:
            for task in hand:
                start, stop = task.contact()
                assert task.start <= start <= stop <= task.stop
                if start < stop:
                    assert (task.instrument, task.verb, task.target) in TRIPLETS


def test_spoiled_spans_meet_their_shares(plans):
    cases = plans[:: len(PROCEDURES)]
    assert np.mean([(plan.visibility == "out_of_body").any() for plan in cases]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([(plan.visibility == "black").any() for plan in cases]) == pytest.approx(0.25, abs=0.1)
    assert np.mean([(plan.displayed != np.arange(96)).any() for plan in cases]) == pytest.approx(0.75, abs=0.1)


def test_smoke_and_blood_stay_in_range_and_move_smoothly(plans):
    for plan in plans:
        for values in (plan.smoke, plan.blood):
            assert values.min() >= 0
            assert values.max() <= 1
            assert np.abs(np.diff(values)).max() < 0.35
    assert max(plan.smoke.max() for plan in plans) > 0.5


def test_smoothstep_has_its_hand_computed_values():
    np.testing.assert_allclose(smoothstep(np.array([-1, 0, 0.25, 0.5, 1, 2])), [0, 0, 0.103515625, 0.5, 1, 1])


def test_triplets_are_unique_and_made_of_known_words():
    assert len(set(TRIPLETS)) == len(TRIPLETS)
    for instrument, verb, target in TRIPLETS:
        assert (instrument in INSTRUMENTS, verb in VERBS, target in TARGETS) == (True, True, True)
    assert {instrument for instrument, _, _ in TRIPLETS} == set(INSTRUMENTS)


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_tip_is_large_enough_to_be_seen_at_160_pixels(name):
    model = build_instrument(name, np.random.default_rng(0))
    smallest_unit = 0.062 * 160  # pixels of one shaft diameter
    assert model.tip_area * (TIP_SCALE * smallest_unit) ** 2 > 100
    assert all(part.sprite.dtype == np.uint8 and part.sprite.shape[2] == 4 for part in model.parts)
