import numpy as np
import pytest
import torch

from training.diagnostics.warps import WARPS, Warp


def spot(row: int, column: int, size: int = 40) -> torch.Tensor:
    image = torch.zeros(1, 3, size, size)
    image[:, :, row - 1 : row + 2, column - 1 : column + 2] = 1
    return image


def center_of(images: torch.Tensor) -> np.ndarray:
    mass = images[0, 0].numpy()
    places = np.moveaxis(np.mgrid[: mass.shape[0], : mass.shape[1]], 0, -1)
    return (places * mass[..., None]).sum(axis=(0, 1)) / mass.sum()


@pytest.mark.parametrize("warp", WARPS, ids=lambda warp: warp.name)
@pytest.mark.parametrize("place", [(18, 23), (25, 14)])
def test_pixels_go_where_the_warp_says(warp: Warp, place: tuple[int, int]) -> None:
    moved = warp.apply(spot(*place))
    assert center_of(moved) == pytest.approx(warp.cells(40)[place], abs=0.1)


def test_by_hand() -> None:
    quarter = Warp("quarter", degrees=90)
    assert quarter.move(np.array([0.0, 0.5])) == pytest.approx([0.5, 0])  # clockwise: right goes down
    assert Warp("down", shift=(0.25, 0)).cells(4)[0, 0] == pytest.approx([1, 0])
    assert Warp("zoom", zoom=2).cells(4)[0, 3] == pytest.approx([-1.5, 4.5])


def test_color_moves_nothing_and_the_input_is_left_alone() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    for warp in WARPS:
        warped = warp.apply(images)
        assert warped.shape == images.shape
        assert 0 <= warped.min() <= warped.max() <= 1
    assert torch.equal(images, before)
    color = next(warp for warp in WARPS if warp.name == "color")
    # By hand: blue 1 becomes 0.65 ** 1.2.
    assert float(color.apply(torch.ones(1, 3, 2, 2))[0, 2, 0, 0]) == pytest.approx(0.65**1.2)


def test_most_of_a_frame_moves_further_than_the_tolerance() -> None:
    for warp in WARPS:
        places, cells = warp.cells(20), np.moveaxis(np.mgrid[:20, :20], 0, -1)
        inside = ((places >= -0.5) & (places <= 19.5)).all(axis=-1)
        stayed = (np.linalg.norm(places - cells, axis=-1) <= 2)[inside].mean()
        assert stayed == 1 if warp.name == "color" else stayed < 0.4
