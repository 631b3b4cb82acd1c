import dataclasses

import numpy as np
import pytest
import torch

from evaluation.datasets.samples import Kind
from evaluation.protocols import temporal
from evaluation.protocols.probe import PROBES
from evaluation.protocols.temporal import SETTINGS, DilatedResidualLayer, TemporalConvolutions
from tests.evaluation.protocols.probe_problem import make_problem, make_targets

LENGTH, WIDTH = 40, 5


def network(causal: bool, kind: Kind = "single") -> TemporalConvolutions:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TemporalConvolutions(WIDTH, 3, layers=4, kind=kind, causal=causal, settings=SETTINGS).eval()


def video() -> torch.Tensor:
    return torch.randn(LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize("moment", [1, 17, 39])
@torch.inference_mode()
def test_causal_scores_never_see_the_future_and_offline_scores_do(kind: Kind, moment: int) -> None:
    other = video()
    other[moment:] += 100
    causal, offline = (network(one, kind) for one in (True, False))
    assert torch.equal(causal(video())[:, :moment], causal(other)[:, :moment])
    assert bool((causal(video())[:, moment:] != causal(other)[:, moment:]).any())
    assert bool((offline(video())[:, moment - 1] != offline(other)[:, moment - 1]).any())


@pytest.mark.parametrize("name", ["tcn_causal", "tcn_offline"])
def test_a_fitted_probe_keeps_its_promise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two test videos that part at their fifth sample, scored by the same fit."""
    monkeypatch.setattr(temporal, "SETTINGS", dataclasses.replace(SETTINGS, steps=(5, 5)))
    inputs, problem = make_problem(make_targets("single", 48), "single")
    first, second = problem.test.take(range(8)), problem.test.take([0, 1, 2, 3, 12, 13, 14, 15])
    second = dataclasses.replace(second, videos=("other",) * 8, cases=("other",) * 8)
    scores, _ = PROBES.get(name).fit(inputs, dataclasses.replace(problem, test=first + second), 0)
    assert np.array_equal(scores[:4], scores[8:12]) == bool(PROBES.get(name).causal)
    assert not np.array_equal(scores[4:8], scores[12:])


def test_a_layer_hand_computed() -> None:
    """Kernel (1, 10, 100) and dilation 2 on an impulse at 2 of 5 samples; the mix is the identity."""
    settings = dataclasses.replace(SETTINGS, maps=1)
    for causal, expected in ((True, [0, 0, 101, 0, 10]), (False, [100, 0, 11, 0, 1])):
        layer = DilatedResidualLayer(2, causal, settings).eval()
        with torch.no_grad():
            layer.convolution.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]]]))
            layer.mix.weight.fill_(1.0)
            for bias in (layer.convolution.bias, layer.mix.bias):
                bias.zero_()
            assert layer(torch.tensor([[[0.0, 0, 1, 0, 0]]]))[0, 0].tolist() == expected


@torch.inference_mode()
def test_a_causal_score_sees_as_far_back_as_said() -> None:
    """One stage of L layers sees 2^(L + 1) - 1 samples."""
    settings = dataclasses.replace(SETTINGS, stages=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one = TemporalConvolutions(WIDTH, 3, layers=3, kind="single", causal=True, settings=settings).eval()
    changed = video()
    changed[5] += 100
    moved = (one(video()) != one(changed)).any(dim=2)[0]
    assert moved.nonzero().flatten().tolist()[0] == 5
    assert moved.nonzero().flatten().tolist()[-1] == 5 + 2 ** (3 + 1) - 2


def test_order_in_time_is_used() -> None:
    """The class is what features told two samples before: no look at a single sample can know it."""
    told = make_targets("single", 240)
    targets = np.concatenate([np.roll(case, 2) for case in told.reshape(6, 40)])
    inputs, problem = make_problem(targets, "single", told=told, sides=(3, 1, 2))
    accuracy = {
        name: (PROBES.get(name).fit(inputs, problem, 0)[0].argmax(axis=1) == problem.test.targets).mean()
        for name in ("linear", "tcn_causal")
    }
    assert accuracy["linear"] < 0.5
    assert accuracy["tcn_causal"] > 0.7


def test_values_are_refused() -> None:
    with pytest.raises(ValueError, match="temporal probes serve targets of kind 'single' and 'multi', not 'value'"):
        PROBES.get("tcn_causal").fit(*make_problem(make_targets("value", 48), "value"), 0)
