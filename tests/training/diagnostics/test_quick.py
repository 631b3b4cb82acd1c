from typing import Any

import numpy as np
import pytest
import torch

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.diagnostics.effective_rank import effective_rank
from training.diagnostics.positional_leak import positional_leak
from training.diagnostics.quick import quick_measures
from training.diagnostics.rank_me import rank_me
from training.diagnostics.spectrum import covariance_eigenvalues, singular_values
from training.objectives.objective import Objective

IMAGES = torch.rand(12, 3, 48, 48, generator=torch.Generator().manual_seed(0))


class Bare(Objective):
    """Only what every strategy has."""

    @classmethod
    def build(cls, setup: Any) -> "Bare":
        raise NotImplementedError

    def forward(self, batch: Any, prepared: Any = None, meter: Any = None) -> dict[str, torch.Tensor]:
        raise NotImplementedError


@pytest.fixture
def objective() -> Bare:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    student = ZenModel(ZenConfig(**sizes, image_size=32, drop_path_rate=0.5)).train()
    return Bare(student, ZenImageProcessor(), 32)


def test_figures_are_those_of_the_full_measures(objective: Bare) -> None:
    found = quick_measures(objective, IMAGES)
    assert found.keys() == {"rank_me", "effective_rank", "positional_leak", "resolution_consistency", "pck"}
    frames = (IMAGES * 255).round() / 255
    with torch.no_grad():
        output = objective.student.eval()(pixel_values=objective.pixels(frames, 32))
    vectors = output.pooler_output.numpy()
    tokens = objective.student.dense_tokens(output.last_hidden_state, 32, 32).flatten(2).transpose(1, 2).numpy()
    assert found["rank_me"] == pytest.approx(rank_me(singular_values(vectors)), rel=1e-4)
    assert found["effective_rank"] == pytest.approx(effective_rank(covariance_eigenvalues(vectors)), rel=1e-4)
    assert found["positional_leak"] == pytest.approx(positional_leak(np.ascontiguousarray(tokens)), rel=1e-4)
    assert -1 <= found["resolution_consistency"] <= 1
    assert 0 <= found["pck"] <= 1


def test_training_goes_on_as_if_nothing_had_been_measured(objective: Bare) -> None:
    state, weights = torch.random.get_rng_state(), objective.student.state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    first = quick_measures(objective, IMAGES)
    assert objective.student.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in weights.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in objective.student.parameters())
    assert quick_measures(objective, IMAGES) == first


def test_at_most_64_frames_are_shown(objective: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    forward = ZenModel.forward

    def counted(self: ZenModel, pixel_values: torch.Tensor, **rest: Any) -> Any:
        shown.append(len(pixel_values))
        return forward(self, pixel_values=pixel_values, **rest)

    monkeypatch.setattr(ZenModel, "forward", counted)
    quick_measures(objective, IMAGES.repeat(10, 1, 1, 1))
    assert sum(shown) == 64 + 4 * 8  # and eight of them at another size and under three warps
