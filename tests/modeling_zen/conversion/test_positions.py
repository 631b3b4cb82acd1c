"""Rotary periods are solved for ZEN's two numbers exactly; learned positions are split where a square fits."""

import pytest
import torch

from modeling_zen.conversion.positions import learned_position_rules, solve_periods, square_grid


@pytest.mark.parametrize(("theta", "min_period", "count"), [(100.0, 1.0, 16), (37.5, 1.0, 4), (64.0, 0.25, 8)])
def test_periods(theta: float, min_period: float, count: int) -> None:
    periods = min_period * theta ** (torch.arange(count) / count)
    *numbers, note = solve_periods(periods, "test")
    assert numbers == pytest.approx([theta, min_period], rel=1e-5)
    assert note == ""


def test_periods_in_bfloat16() -> None:
    periods = (100 ** (torch.arange(16) / 16)).to(torch.bfloat16)
    theta, min_period, note = solve_periods(periods.float(), "test")
    assert (theta, min_period) == (100.0, 1.0)
    assert note.startswith("rotary periods were stored in bfloat16")


def test_periods_almost_right() -> None:
    periods = 100 ** (torch.arange(16) / 16)
    periods[7] *= 1.0001
    with pytest.raises(ValueError, match=r"closest: theta 99\.9998"):
        solve_periods(periods, "test")
    rounded = (100 ** (torch.arange(16) / 16)).to(torch.bfloat16)
    rounded[7] *= 1.01
    with pytest.raises(ValueError, match="closest: theta"):
        solve_periods(rounded, "test")


def test_one_period() -> None:
    assert solve_periods(torch.ones(1), "test") == (100.0, 1.0, "")


@pytest.mark.parametrize(
    ("count", "prefixed", "fit"), [(197, (0, 1), (1, 14)), (196, (0, 1), (0, 14)), (6, (2,), (2, 2))]
)
def test_square_grid(count: int, prefixed: tuple[int, ...], fit: tuple[int, int]) -> None:
    assert square_grid(count, prefixed, "test") == fit


def test_positions_of_tokens_are_added() -> None:
    positions = torch.arange(14.0).view(1, 7, 2)  # one for the class token, 2 x 3 for patches
    tokens = (("cls", 1), ("reg", 1))
    (rule,) = learned_position_rules("pos", tokens, num_summary=1, num_prefixed=1, grid=(2, 3), width=2)
    register = torch.full((1, 1, 2), 50.0)
    patches, summary, registers = rule.compute(positions, torch.full((1, 1, 2), 100.0), register)
    assert summary.tolist() == [[[100.0, 101.0]]]
    assert registers.tolist() == [[[50.0, 50.0]]]
    assert patches[0, :, 1, 0].tolist() == [8.0, 9.0]  # second row, first column: the fourth patch
    assert register.eq(50).all()
