import pytest
import torch

from training.objectives.grids import resample_tokens, valid_tokens


def test_equal_grids_are_untouched() -> None:
    tokens = torch.randn(2, 6, 3)
    assert resample_tokens(tokens, (2, 3), (2, 3)) is tokens


def test_halving_a_grid_averages_with_antialias() -> None:
    # A 1 x 4 grid (0, 2, 4, 6) to 1 x 2: a triangle filter of half-width 2 cells weighs (3, 3, 1) / 7 at the border.
    tokens = torch.tensor([0.0, 2.0, 4.0, 6.0]).view(1, 4, 1)
    halved = resample_tokens(tokens, (1, 4), (1, 2))
    torch.testing.assert_close(
        halved.flatten(), torch.tensor([(0 * 3 + 2 * 3 + 4 * 1) / 7, (2 * 1 + 4 * 3 + 6 * 3) / 7])
    )


def test_doubling_interpolates_between_cell_centres() -> None:
    tokens = torch.tensor([0.0, 4.0]).view(1, 2, 1)
    doubled = resample_tokens(tokens, (1, 2), (1, 4))
    torch.testing.assert_close(doubled.flatten(), torch.tensor([0.0, 1.0, 3.0, 4.0]))


@pytest.mark.parametrize("grid", [(14, 14), (16, 16), (37, 37), (7, 11)])
def test_constant_stays_constant_on_any_grid(grid: tuple[int, int]) -> None:
    tokens = torch.full((1, 196, 2), 3.0)
    resampled = resample_tokens(tokens, (14, 14), grid)
    assert resampled.shape == (1, grid[0] * grid[1], 2)
    torch.testing.assert_close(resampled, torch.full_like(resampled, 3.0))


def triangle_weights(source: int, target: int) -> torch.Tensor:
    """The resampling of one axis by its definition, `(target, source)`.

    Output j lies at (j + 1/2)·s in the input, s = source / target; input i, at i + 1/2, weighs
    1 - distance / max(s, 1). At the border what would lie outside is left out, and the rest is made to sum to 1; a
    grid that grows repeats its edge instead, which for two neighbors is the same.
    """
    scale = source / target
    centers = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - centers).abs()
    weights = (1 - distance / max(scale, 1)).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


@pytest.mark.parametrize(("source", "target"), [(14, 16), (14, 37), (16, 14), (16, 37), (37, 14), (37, 16)])
def test_the_grids_of_patch_14_and_16_against_the_definition(source: int, target: int) -> None:
    maps = torch.randn(2, source, source, 3, generator=torch.Generator().manual_seed(0))
    weights = triangle_weights(source, target)
    expected = torch.einsum("yr,xc,brcd->byxd", weights, weights, maps.double()).flatten(1, 2)
    resampled = resample_tokens(maps.flatten(1, 2), (source, source), (target, target))
    assert resampled.dtype == torch.float32
    torch.testing.assert_close(resampled.double(), expected, rtol=1e-4, atol=1e-5)


def test_fourteen_cells_on_sixteen_by_hand() -> None:
    # Cell j of 16 lies at (j + 1/2)·7/8 - 1/2 in units of cells of 14; below 0 and above 13 the edge is repeated.
    ramp = torch.arange(14.0).view(1, 14, 1).expand(1, 14, 2)
    resampled = resample_tokens(ramp, (1, 14), (1, 16))[0, :, 0]
    expected = [0, 0.8125, 1.6875, 2.5625, 3.4375, 4.3125, 5.1875, 6.0625]
    assert resampled.tolist() == pytest.approx(expected + [13 - value for value in reversed(expected)], abs=1e-5)


def test_row_major_order_survives() -> None:
    rows = torch.arange(4.0).repeat_interleave(4).view(1, 16, 1)
    resampled = resample_tokens(rows, (4, 4), (2, 2)).flatten()
    assert resampled[0] == resampled[1] < resampled[2] == resampled[3]


def test_tokens_that_do_not_fill_the_grid() -> None:
    with pytest.raises(ValueError, match="5 tokens do not fill a 2x2 grid"):
        resample_tokens(torch.zeros(1, 5, 1), (2, 2), (1, 1))


def test_a_token_counts_when_half_of_its_pixels_do() -> None:
    valid = torch.zeros(1, 4, 6, dtype=torch.bool)
    valid[0, :2, :3] = torch.tensor([[1, 1, 1], [0, 0, 0]], dtype=torch.bool)  # exactly half
    valid[0, 2:, :3] = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.bool)  # a third
    valid[0, 2:, 3:] = True
    assert valid_tokens(valid, (2, 2)).tolist() == [[True, False, False, True]]
    # A grid that does not divide the view: cells of 3 x 2 and 3 x 2 pixels that share a row.
    assert valid_tokens(torch.ones(2, 5, 5, dtype=torch.bool), (3, 2)).shape == (2, 6)
