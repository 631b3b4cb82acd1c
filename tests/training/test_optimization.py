from itertools import pairwise

import pytest
import torch

from modeling_zen import ZenConfig, ZenModel
from training.errors import UserError
from training.optimization import OptimizerConfig, build_optimizer, learning_rate


def test_schedule_warms_up_peaks_and_decays() -> None:
    config = OptimizerConfig(lr=1.0, warmup_fraction=0.1, final_lr=0.01, scale_lr=False)
    rates = [learning_rate(step, config, schedule_steps=100, frames_per_step=1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    # Step 55 is halfway between step 10 and step 100: half a cosine has come down to the middle.
    assert rates[55] == pytest.approx((1.0 + 0.01) / 2)
    assert rates[99] == pytest.approx(0.01, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[9:]))
    assert learning_rate(500, config, 100, 1) == pytest.approx(0.01)


def test_rate_scales_with_frames_per_step() -> None:
    config = OptimizerConfig(lr=1e-3)
    assert learning_rate(10, config, 100, 128) == pytest.approx(0.5e-3)


def test_no_decay_on_vectors_and_tokens() -> None:
    model = ZenModel(ZenConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2))
    decayed, plain = build_optimizer(model, OptimizerConfig()).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {id(p) for p in decayed["params"]} | {id(p) for p in plain["params"]} == set(names)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert not any("token" in names[id(p)] for p in decayed["params"])
    assert decayed["weight_decay"] == 0.03
    assert plain["weight_decay"] == 0.0


def test_frozen_parameters_stay_out() -> None:
    layer = torch.nn.Linear(2, 2)
    layer.weight.requires_grad_(False)
    [plain] = build_optimizer(layer, OptimizerConfig()).param_groups
    assert plain["params"] == [layer.bias]


def test_bad_rates_are_refused() -> None:
    with pytest.raises(UserError, match=r"optimizer\.lr must be > 0"):
        OptimizerConfig(lr=0.0)
    with pytest.raises(UserError, match=r"optimizer\.warmup_fraction must lie in \[0, 1\), got 1"):
        OptimizerConfig(warmup_fraction=1.0)
