import numpy as np
import pytest
import torch
import torch.nn.functional as F

from training.errors import UserError
from training.views import ViewConfig, all_valid, resize_mask, training_view, whole_mask, whole_view


def random_frames(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 40, 56, 3), dtype=np.uint8))


def test_view_shape_range_and_determinism() -> None:
    frames = random_frames(3)
    first = training_view(frames, 32, ViewConfig(hue=0.05), torch.Generator().manual_seed(7)).images
    again = training_view(frames, 32, ViewConfig(hue=0.05), torch.Generator().manual_seed(7)).images
    other = training_view(frames, 32, ViewConfig(hue=0.05), torch.Generator().manual_seed(8)).images
    assert first.shape == (3, 3, 32, 32)
    assert first.dtype == torch.float32
    assert 0 <= first.min() < first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_frames_of_a_clip_share_every_change() -> None:
    frame = random_frames(1)[0]
    config = ViewConfig(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    for seed in range(10):
        view = training_view([frame, frame, frame], 32, config, torch.Generator().manual_seed(seed)).images
        assert torch.equal(view[0], view[1])
        assert torch.equal(view[0], view[2])


def test_no_vertical_flip() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[:20] = 200
    config = ViewConfig(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    for seed in range(20):
        view = training_view([frame], 16, config, torch.Generator().manual_seed(seed)).images
        assert view[0, :, :6].mean() > 0.4 > view[0, :, -6:].mean()


def test_impossible_ratio_falls_back_to_the_largest_central_crop() -> None:
    frame = np.zeros((10, 100, 3), np.uint8)
    config = ViewConfig(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    assert training_view([frame], 16, config, torch.Generator().manual_seed(0)).images.shape == (1, 3, 16, 16)


def test_a_view_is_what_its_box_shows() -> None:
    frame = random_frames(1)[0]
    config = ViewConfig(brightness=0, contrast=0, saturation=0)
    flips = set()
    for seed in range(10):
        view = training_view([frame], 16, config, torch.Generator().manual_seed(seed))
        top, left, height, width, flipped = view.box
        expected = whole_view([frame[top : top + height, left : left + width]], 16)
        assert torch.equal(view.images, expected.flip(-1) if flipped else expected)
        flips.add(flipped)
    assert flips == {True, False}


def test_whole_view_keeps_constant_color() -> None:
    frame = np.full((30, 50, 3), (51, 102, 204), np.uint8)
    view = whole_view([frame], 16)
    torch.testing.assert_close(view[0, :, 3, 3], torch.tensor([0.2, 0.4, 0.8]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_scale": (0.5, 0.2)}, r"views\.crop_scale must satisfy 0 < low <= high <= 1, got \[0\.5, 0\.2\]"),
        ({"crop_ratio": (0.0, 1.0)}, r"views\.crop_ratio must satisfy 0 < low <= high"),
        ({"horizontal_flip": 2.0}, r"views\.horizontal_flip is a probability, got 2"),
        ({"hue": 0.7}, r"views\.hue must lie in \[0, 0\.5\], got 0\.7"),
    ],
)
def test_impossible_ranges_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ViewConfig(**settings)


def test_a_mask_is_cropped_flipped_and_resized_with_its_picture() -> None:
    # The picture is the mask itself, so the view of the picture tells where the mask must be valid.
    mask = np.zeros((48, 64), bool)
    mask[10:40, 20:60] = True
    frame = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    config = ViewConfig(brightness=0, contrast=0, saturation=0)
    for seed in range(30):
        view = training_view([frame, frame], 32, config, torch.Generator().manual_seed(seed), mask)
        assert view.valid.shape == (2, 32, 32)
        assert torch.equal(view.valid[0], view.valid[1])
        shown = view.images[0, 0] >= 0.5
        # They may differ on the edge of the rectangle, where bicubic and area weights round differently.
        edge = F.max_pool2d(shown[None].float(), 3, 1, 1) != -F.max_pool2d(-shown[None].float(), 3, 1, 1)
        assert not ((shown != view.valid[0]) & ~edge[0]).any()


def test_a_mask_draws_nothing() -> None:
    frames, mask = random_frames(1), np.ones((40, 56), bool)
    plain = training_view(frames, 32, ViewConfig(), torch.Generator().manual_seed(3))
    masked = training_view(frames, 32, ViewConfig(), torch.Generator().manual_seed(3), mask)
    assert torch.equal(plain.images, masked.images)
    assert torch.equal(plain.valid, masked.valid)
    assert plain.valid.untyped_storage().nbytes() == 1


def test_half_of_the_area_makes_a_pixel_valid() -> None:
    # Cells of 2 x 2 with 4, 2, 1 and 0 valid pixels.
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert resize_mask(mask, 2).tolist() == [[True, True], [False, False]]
    # Lettering one pixel thin is still seen where every other column is looked at.
    thin = torch.ones(4, 4, dtype=torch.bool)
    thin[:, 1:3] = False
    assert not resize_mask(thin[:, 1:3], 1).any()


def test_whole_masks() -> None:
    mask = np.zeros((30, 50), bool)
    mask[:15] = True
    assert whole_mask(mask, 10).tolist() == [[True] * 10] * 5 + [[False] * 10] * 5
    assert torch.equal(whole_mask(None, 10), all_valid(1, 10)[0])
