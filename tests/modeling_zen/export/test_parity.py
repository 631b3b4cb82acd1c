"""`parity_report` against numbers worked out by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modeling_zen import ZenConfig
from modeling_zen.export import parity_report

CONFIG = ZenConfig(hidden_size=4, num_attention_heads=1, num_register_tokens=0)


class Fixed:
    """A "model" whose features are written in its input: one summary token and two patches of four channels."""

    config = CONFIG

    def __init__(self, turn: torch.Tensor | None = None) -> None:
        self.turn = torch.eye(4) if turn is None else turn

    def __call__(self, pixel_values: torch.Tensor) -> Any:
        states = pixel_values.flatten(1).unflatten(1, (3, 4)) @ self.turn
        return SimpleNamespace(last_hidden_state=states, pooler_output=states[:, 0])


def test_the_same_model_has_no_difference() -> None:
    report = parity_report(Fixed(), Fixed(), torch.randn(20, 3, 2, 2))
    assert report["frames"] == 20
    assert report["max_abs_error"] == 0
    for tokens in ("pooler", "dense"):
        assert report[tokens]["cosine_min"] == pytest.approx(1)
        assert report[tokens]["centered_cosine_mean"] == pytest.approx(1)
    assert "probe" not in report


def test_by_hand() -> None:
    """Two frames (3, 4, 0, 0) and (4, 3, 0, 0) whose first two channels change places: cosine 24 / 25 for both.

    Without their mean (3.5, 3.5) they are (-1/2, 1/2) and (1/2, -1/2), turned into each other: cosine -1.
    """
    states = torch.tensor([[[3.0, 4, 0, 0]] * 3, [[4.0, 3, 0, 0]] * 3])
    report = parity_report(Fixed(), Fixed(torch.eye(4)[[1, 0, 2, 3]]), states.view(2, 3, 2, 2))
    assert report["max_abs_error"] == 1
    for tokens in ("pooler", "dense"):
        assert report[tokens]["cosine_mean"] == pytest.approx(0.96)
        assert report[tokens]["centered_cosine_mean"] == pytest.approx(-1)


def test_the_probe_sees_what_an_export_loses() -> None:
    """The class is the sign of the first channel; an export that forgets this channel falls to chance."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(80, 3, 2, 2, generator=generator)
    labels = ["a" if row.flatten()[0] > 0 else "b" for row in pixels]
    kept = parity_report(Fixed(), Fixed(), pixels, labels)["probe"]
    assert kept["before"] == kept["after"] == kept["swapped"] > 0.9
    lost = parity_report(Fixed(), Fixed(torch.diag(torch.tensor([0.0, 1, 1, 1]))), pixels, labels)["probe"]
    assert lost["before"] == kept["before"]
    assert lost["after"] < 0.75
    assert lost["frames_fitted"] + lost["frames_scored"] == 80


@pytest.mark.parametrize(
    ("count", "labels", "message"),
    [
        (0, None, "at least one frame"),
        (3, ["a"], "1 labels for 3 frames"),
        (3, ["a", "a", "a"], "only the class 'a'"),
        (3, ["a", "a", "b"], "b has one"),
    ],
)
def test_what_cannot_be_compared(count: int, labels: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parity_report(Fixed(), Fixed(), torch.zeros(count, 3, 2, 2), labels)
