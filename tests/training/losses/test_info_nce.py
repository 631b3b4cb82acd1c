import math

import pytest
import torch

from training.losses.info_nce import info_nce

E = math.e


def test_by_hand() -> None:
    query, key = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    negatives = torch.tensor([[0.0, 5.0]])
    # query 0: right 1, wrong 0; query 1: right 0, wrong 1
    value = info_nce(query, key, negatives, temperature=1.0)
    assert value.dtype == torch.float32
    assert value.tolist() == pytest.approx([math.log((E + 1) / E), math.log(1 + E)], rel=1e-6)
    # a temperature of 1/2 doubles the cosines
    half = info_nce(query, key, negatives, temperature=0.5)
    assert half.tolist() == pytest.approx([math.log((E**2 + 1) / E**2), math.log(1 + E**2)], rel=1e-6)


def test_only_allowed_negatives_count() -> None:
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    negatives = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    allowed = torch.tensor([[True, True], [False, True], [False, False]])
    value = info_nce(query, query.detach(), negatives, allowed, temperature=1.0)
    assert value.tolist() == pytest.approx([math.log((2 * E + 1) / E), math.log((E + 1) / E), 0], abs=1e-6)
    value[2].backward()
    assert query.grad is not None
    assert query.grad.tolist() == [[0.0, 0.0]] * 3


def test_equal_vectors_score_the_chance_level() -> None:
    ones = torch.ones(2, 3)
    assert info_nce(ones, ones, torch.ones(7, 3), temperature=0.2).tolist() == pytest.approx([math.log(8)] * 2)


def test_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    key, negatives = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (3, 5))
    assert torch.autograd.gradcheck(lambda x: info_nce(x, key, negatives, temperature=0.3), (query,))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, D\), \(B, D\) and \(M, D\), got"):
        info_nce(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(4, 5), temperature=1.0)
    mask = torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"allowed must be bool \(2, 4\), got \(2, 5\)"):
        info_nce(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(4, 3), mask, temperature=1.0)
