from typing import Any

import pytest
import torch

from evaluation.datasets.samples import Target
from evaluation.protocols.augmentation import AugmentationSettings, augment
from training.errors import UserError

NOTHING: dict[str, Any] = {"crop_side": (1.0, 1.0), "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


def views(frames: torch.Tensor, owners: list[int], seed: int = 0, **fields: Any) -> torch.Tensor:
    settings = AugmentationSettings(**{**NOTHING, **fields})
    return augment(frames, torch.tensor(owners), settings, torch.Generator().manual_seed(seed))


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def test_empty_ranges_change_nothing(frames: torch.Tensor) -> None:
    assert torch.allclose(views(frames, [0, 1, 2, 3]), frames, atol=1e-6)


def test_frames_of_a_sample_get_the_same_view_and_samples_get_others(frames: torch.Tensor) -> None:
    same = frames[:1].expand(4, -1, -1, -1)
    drawn = views(same, [0, 0, 1, 1], crop_side=(0.5, 0.9), brightness=0.2, contrast=0.2, saturation=0.1)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[2], drawn[3])
    assert (drawn[0] - drawn[2]).abs().max() > 0.05
    again = views(same, [0, 0, 1, 1], crop_side=(0.5, 0.9), brightness=0.2, contrast=0.2, saturation=0.1)
    assert torch.equal(drawn, again)


def test_a_flip_mirrors_columns(frames: torch.Tensor) -> None:
    assert torch.allclose(views(frames, [0, 1, 2, 3], horizontal_flip=1.0), frames.flip(-1), atol=1e-6)


def test_a_crop_of_half_the_side_shows_a_part_of_the_frame() -> None:
    """On a ramp the values of a view say where it was taken: half of the range, and linear."""
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    for seed in range(5):
        row = views(ramp, [0], seed, crop_side=(0.5, 0.5))[0, 0, 10]
        assert float(row[-1] - row[0]) == pytest.approx(0.5, abs=0.02)
        assert torch.allclose(row.diff(), row.diff().mean().expand(63), atol=1e-3)


def test_contrast_keeps_the_mean_brightness_of_a_sample_and_saturation_that_of_every_pixel(
    frames: torch.Tensor,
) -> None:
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    stronger = views(frames, [0, 0, 1, 1], contrast=0.2)
    for sample in (slice(0, 2), slice(2, 4)):
        assert float((stronger[sample] * luma).sum(1).mean() - (frames[sample] * luma).sum(1).mean()) == pytest.approx(
            0, abs=1e-5
        )
    assert (stronger - frames).abs().max() > 0.005
    paler = views(frames, [0, 0, 1, 1], saturation=0.1)
    assert torch.allclose((paler * luma).sum(1), (frames * luma).sum(1), atol=1e-5)
    assert (paler - frames).abs().max() > 0.001


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop_side": (0.9, 0.8)}, r"^augmentation\.crop_side must satisfy 0 < low <= high <= 1, got \[0\.9, 0\.8\]$"),
        ({"contrast": 1.5}, r"^augmentation\.contrast must lie in \[0, 1\], got 1\.5$"),
        ({"horizontal_flip": -1.0}, r"^augmentation\.horizontal_flip must lie in \[0, 1\], got -1\.0$"),
    ],
)
def test_ranges_that_cannot_be_drawn_from(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        AugmentationSettings(**fields)


@pytest.mark.parametrize("name", ["Left", "right_prograsp", "Rotate-Clockwise"])
def test_flips_of_classes_with_sides_are_refused(name: str) -> None:
    target = Target("motion", "single", ("Up", name))
    AugmentationSettings().check(target)
    with pytest.raises(UserError, match=rf"horizontal_flip is 0\.5, but the class '{name}' of motion has a side"):
        AugmentationSettings(horizontal_flip=0.5).check(target)


def test_flips_of_other_classes_are_allowed() -> None:
    AugmentationSettings(horizontal_flip=0.5).check(Target("tool", "multi", ("bright light", "leftover")))
