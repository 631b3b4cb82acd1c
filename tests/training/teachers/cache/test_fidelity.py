import pytest
import torch

from training.teachers.cache.codecs import HalfCodec
from training.teachers.cache.fidelity import Fidelity, measure


def test_measures_by_hand() -> None:
    codec = HalfCodec(2, 0)
    codec.mean.copy_(torch.tensor([1.0, 0.0]))
    # Around the mean: (2, 0) comes back as (1, 1): cosine 1/√2, error 2, total 4. (0, 3) comes back as it is: 1, 0, 9.
    features, stored = torch.tensor([[3.0, 0.0], [1.0, 3.0]]), torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    found = measure(codec, features, stored)
    assert found == Fidelity(2, pytest.approx(1 + 0.5**0.5), pytest.approx(2), pytest.approx(13))
    measures = (found + found).measures()
    assert measures["cosine"] == pytest.approx((1 + 0.5**0.5) / 2)
    assert measures["explained_variance"] == pytest.approx(1 - 2 / 13)
    assert Fidelity(**found.to_dict()) == found


def test_a_token_on_the_mean_counts_when_it_comes_back() -> None:
    codec = HalfCodec(2, 0)
    zeros, ones = torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)
    assert measure(codec, zeros, zeros).cosine_sum == 1
    assert measure(codec, zeros, ones).cosine_sum == 0
    assert measure(codec, zeros, zeros).measures() == {"cosine": 1, "explained_variance": 1}
