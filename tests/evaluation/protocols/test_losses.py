import math

import pytest
import torch

from evaluation.protocols.losses import MOST_WEIGHT, loss_of, truncated_smoothing


def test_classes_are_weighed_by_median_frequency() -> None:
    """Four of class 0, two of 1, one of 2, none of 3: the median is 2, so weights are 1/2, 1, 2 and 0."""
    loss = loss_of("single", torch.eye(4)[[0, 0, 0, 0, 1, 1, 2]])
    scores = torch.tensor([[math.log(2), 0, 0, 0], [0, 0, math.log(3), 0]])
    own = [math.log(5 / 2), math.log(6 / 3)]  # -log softmax of class 0 of the first row, of class 2 of the second
    expected = (0.5 * own[0] + 2 * own[1]) / 2.5
    assert float(loss(scores, torch.eye(4)[[0, 2]])) == pytest.approx(expected)


def test_weights_are_capped() -> None:
    loss = loss_of("single", torch.eye(2)[[0] * 99 + [1]])
    scores = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    common, rare = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    weight = 0.01 / 0.99  # the median of two is the lower one: the rare class weighs 1
    assert float(loss(scores, torch.eye(2))) == pytest.approx((weight * common + rare) / (1 + weight))
    positive = loss_of("multi", torch.tensor([[1.0]] + [[0.0]] * 99))
    assert float(positive(torch.zeros(1, 1), torch.ones(1, 1))) == pytest.approx(MOST_WEIGHT * math.log(2))


def test_positives_weigh_as_much_as_negatives() -> None:
    loss = loss_of("multi", torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
    assert float(loss(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]))) == pytest.approx((3 + 1) / 2 * math.log(2))


def test_values_are_penalised_smoothly() -> None:
    loss = loss_of("value", torch.zeros(2, 1))
    assert float(loss(torch.tensor([[0.5], [3.0]]), torch.zeros(2, 1))) == pytest.approx((0.5 * 0.25 + 2.5) / 2)


def test_smoothing_hand_computed() -> None:
    scores = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    assert float(truncated_smoothing("single", scores)) == pytest.approx((math.log(1.5) ** 2 + math.log(2) ** 2) / 2)
    change = math.log(0.75) - math.log(0.5)  # log sigmoid of ln 3 and of 0; the other column does not move
    assert float(truncated_smoothing("multi", scores)) == pytest.approx(change**2 / 2)


def test_smoothing_is_truncated_and_flows_into_the_later_step_only() -> None:
    scores = torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    assert float(truncated_smoothing("single", scores)) == 16.0
    soft = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    truncated_smoothing("single", soft).backward()
    assert soft.grad is not None
    assert bool((soft.grad[0] == 0).all())
    assert bool((soft.grad[1] != 0).all())


def test_a_video_of_one_sample_is_smooth() -> None:
    assert float(truncated_smoothing("single", torch.ones(1, 2))) == 0.0
