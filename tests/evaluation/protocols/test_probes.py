"""Every probe of the registry, on every kind of target it serves."""

import dataclasses

import numpy as np
import pytest
import torch

from evaluation.datasets.samples import Kind
from evaluation.metrics.mean_average_precision import average_precision
from evaluation.protocols import attentive, temporal
from evaluation.protocols.probe import PROBES
from evaluation.protocols.problem import Problem
from tests.evaluation.protocols.probe_problem import balanced_accuracy, make_problem, make_targets

SERVED = [(name, kind) for name in PROBES.names() for kind in PROBES.get(name).kinds]
every_probe = pytest.mark.parametrize(("name", "kind"), SERVED)
of_classes = pytest.mark.parametrize("name", [name for name, kind in SERVED if kind == "single"])
ROWS = 48  # eight a case


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what holds however long a network is trained."""
    for module in (attentive, temporal):
        monkeypatch.setattr(module, "SETTINGS", dataclasses.replace(module.SETTINGS, steps=(6, 6)))


def quality(problem: Problem, scores: np.ndarray) -> float:
    """1 where everything is right: balanced accuracy, mean average precision, or R²."""
    truth = problem.test.targets
    if problem.target.kind == "single":
        return balanced_accuracy(problem, scores)
    if problem.target.kind == "multi":
        return float(average_precision(truth, scores).mean())
    return float(1 - ((truth - scores) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum())


def test_names_and_kinds() -> None:
    assert PROBES.names() == ["attentive", "knn", "linear", "tcn_causal", "tcn_offline"]
    assert [PROBES.get(name).causal for name in PROBES.names()] == [None, None, None, True, False]
    assert all(PROBES.get(name).name == name for name in PROBES.names())


@every_probe
def test_what_features_tell_is_learned(name: str, kind: Kind) -> None:
    inputs, problem = make_problem(make_targets(kind, ROWS), kind)
    scores, chosen = PROBES.get(name).fit(inputs, problem, 0)
    assert scores.shape == (len(problem.test), 3)
    assert scores.dtype == np.float32
    assert quality(problem, scores) > (0.5 if kind == "value" else 0.9)
    assert chosen.chosen_on == "train folds by case"


@every_probe
@pytest.mark.usefixtures("few_steps")
def test_targets_of_the_test_side_change_nothing(name: str, kind: Kind) -> None:
    inputs, problem = make_problem(make_targets(kind, ROWS), kind, sides=(3, 1, 2))
    poisoned = dataclasses.replace(problem.test, targets=make_targets(kind, len(problem.test), seed=9))
    assert (poisoned.targets != problem.test.targets).any()
    fits = [PROBES.get(name).fit(inputs, dataclasses.replace(problem, test=t), 0) for t in (problem.test, poisoned)]
    assert np.array_equal(fits[0][0], fits[1][0])
    assert fits[0][1] == fits[1][1]
    assert fits[0][1].chosen_on == "validation cases"


@every_probe
@pytest.mark.usefixtures("few_steps")
def test_the_choice_sees_no_feature_of_the_test_side(name: str, kind: Kind) -> None:
    inputs, problem = make_problem(make_targets(kind, ROWS), kind)
    half = dataclasses.replace(problem, test=problem.test.take(range(len(problem.test) // 2)))
    assert PROBES.get(name).fit(inputs, problem, 0)[1] == PROBES.get(name).fit(inputs, half, 0)[1]


@every_probe
@pytest.mark.usefixtures("few_steps")
def test_the_same_seed_gives_the_same_and_global_state_is_left_alone(name: str, kind: Kind) -> None:
    inputs, problem = make_problem(make_targets(kind, ROWS), kind, sides=(3, 1, 2))
    with torch.random.fork_rng():
        fits = []
        for elsewhere in (1, 2):
            torch.manual_seed(elsewhere)
            before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]
            fits.append(PROBES.get(name).fit(inputs, problem, 3))
            assert torch.equal(torch.get_rng_state(), before)
            assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert np.array_equal(fits[0][0], fits[1][0])
    assert fits[0][1] == fits[1][1]


@every_probe
@pytest.mark.usefixtures("few_steps")
def test_a_single_training_case_uses_settings_fixed_before_the_run(name: str, kind: Kind) -> None:
    inputs, problem = make_problem(make_targets(kind, 30), kind, sides=(1, 0, 1))
    scores, chosen = PROBES.get(name).fit(inputs, problem, 0)
    assert chosen.chosen_on == "fixed before the run"
    assert np.isfinite(scores).all()


@every_probe
@pytest.mark.usefixtures("few_steps")
def test_one_training_sample_alone_is_no_obstacle(name: str, kind: Kind) -> None:
    inputs, problem = make_problem(make_targets(kind, 30), kind, sides=(1, 0, 1))
    scores, _ = PROBES.get(name).fit(inputs, dataclasses.replace(problem, train=problem.train.take([0])), 0)
    assert np.isfinite(scores).all()


@every_probe
def test_an_absent_class_or_a_constant_column_is_no_obstacle(name: str, kind: Kind) -> None:
    targets = make_targets(kind, ROWS)
    train = slice(0, ROWS * 4 // 6)
    if kind == "single":
        targets[train][targets[train] == 2] = 1
    else:
        targets[train, 2] = 0
    inputs, problem = make_problem(targets, kind, sides=(3, 1, 2))
    scores, _ = PROBES.get(name).fit(inputs, problem, 0)
    assert np.isfinite(scores).all()
    if kind == "single":
        assert 2 not in scores.argmax(axis=1)
    elif kind == "multi":
        assert (scores[:, 2] < 0).all()
    else:
        assert np.abs(scores[:, 2]).max() < 1


@of_classes
def test_labels_that_features_do_not_tell_end_at_the_floor(name: str) -> None:
    """400 test samples: the recall of a guess among three classes has a standard error of 0.024; 0.12 is five."""
    targets = make_targets("single", 480)
    inputs, problem = make_problem(targets, "single", told=make_targets("single", 480, seed=5), sides=(3, 1, 20))
    scores, _ = PROBES.get(name).fit(inputs, problem, 0)
    assert balanced_accuracy(problem, scores) == pytest.approx(1 / 3, abs=0.12)


@of_classes
def test_classes_in_another_order_give_scores_in_that_order(name: str) -> None:
    targets, order = make_targets("single", ROWS), np.array([2, 0, 1])
    scores = [
        PROBES.get(name).fit(*make_problem(named, "single", sides=(3, 1, 2), told=targets), 0)[0]
        for named in (targets, order[targets])
    ]
    if PROBES.get(name).temporal:  # weights of the second stage are drawn by class, so that only answers agree
        assert (order[scores[0].argmax(axis=1)] == scores[1].argmax(axis=1)).mean() > 0.8
    else:
        assert scores[1][:, order] == pytest.approx(scores[0], abs=0.02)


@pytest.mark.parametrize("name", [name for name in PROBES.names() if not PROBES.get(name).temporal])
def test_samples_of_several_frames(name: str) -> None:
    inputs, problem = make_problem(make_targets("single", ROWS), "single", frames=3)
    scores, _ = PROBES.get(name).fit(inputs, problem, 0)
    assert balanced_accuracy(problem, scores) > 0.95
