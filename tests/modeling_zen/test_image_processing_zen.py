"""ZenImageProcessor: golden numbers, the order of its steps, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_zen import ZenImageProcessor

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def noise(height: int, width: int) -> np.ndarray:
    """Blurred noise: sharp enough to tell filters apart, smooth enough for equal rounding."""
    image = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def test_defaults() -> None:
    pixels = ZenImageProcessor()(Image.fromarray(noise(90, 160)), return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 224, 224)
    assert pixels.dtype == torch.float32


def test_one_color_by_hand() -> None:
    """255 red, 0 green, 51 blue: (1 - .485) / .229, -.456 / .224, (.2 - .406) / .225, at every pixel of any size."""
    image = np.zeros((50, 70, 3), dtype=np.uint8)
    image[:] = (255, 0, 51)
    pixels = ZenImageProcessor()(image, return_tensors="pt").pixel_values[0]
    expected = torch.tensor([2.248908, -2.035714, -0.915556])
    torch.testing.assert_close(pixels.amin((1, 2)), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.amax((1, 2)), expected, atol=1e-5, rtol=0)


def test_without_resizing_it_is_only_arithmetic() -> None:
    image = noise(48, 80)
    pixels = ZenImageProcessor(do_resize=False)(image, return_tensors="np").pixel_values[0]
    np.testing.assert_allclose(pixels, ((image / 255 - MEAN) / STD).transpose(2, 0, 1), atol=1e-5)


def test_resizing_is_the_antialiased_bicubic_of_pillow() -> None:
    image = noise(360, 640)
    pixels = ZenImageProcessor(size={"height": 96, "width": 128})(image, return_tensors="np").pixel_values[0]
    reference = Image.fromarray(image).resize((128, 96), Image.Resampling.BICUBIC)
    levels = (pixels.transpose(1, 2, 0) * STD + MEAN) * 255
    assert np.abs(levels - np.asarray(reference)).max() < 1.01  # grey levels: rounding only
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)  # resized as 8-bit integers, before scaling
    assert levels.min() > -1e-3
    assert levels.max() < 255 + 1e-3


def test_arrays_tensors_and_images_are_one() -> None:
    image = noise(64, 96)
    processor = ZenImageProcessor(size={"height": 32, "width": 48})
    expected = processor(Image.fromarray(image), return_tensors="pt").pixel_values
    for other in (image, torch.from_numpy(image).permute(2, 0, 1), [image], np.stack([image])):
        assert torch.equal(processor(other, return_tensors="pt").pixel_values, expected)
    scaled = processor(image / 255.0, do_rescale=False, return_tensors="pt").pixel_values
    assert (scaled - expected).abs().mean() < 0.01  # floating point neither rounds nor clips what bicubic overshoots


def test_gray_images_become_rgb_and_sizes_mix() -> None:
    gray, color = Image.fromarray(noise(64, 96)).convert("L"), Image.fromarray(noise(96, 64))
    pixels = ZenImageProcessor()([gray, color], return_tensors="pt").pixel_values
    assert pixels.shape == (2, 3, 224, 224)
    levels = pixels[0] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    torch.testing.assert_close(levels[0], levels[2], atol=1e-6, rtol=0)


def test_images_that_are_scaled_already_are_refused() -> None:
    images = [noise(64, 96), noise(64, 96) / 255.0]
    with pytest.raises(ValueError, match=r"image 1 holds floating-point values from 0.* to .* pass do_rescale=False"):
        ZenImageProcessor()(images)
    with pytest.raises(ValueError, match=r"image 0 holds floating-point values from -1 to 3 instead of 0 to 255"):
        ZenImageProcessor()(np.linspace(-1, 3, 16 * 16 * 3).reshape(16, 16, 3))
    assert ZenImageProcessor()(np.zeros((16, 16, 3)), return_tensors="pt").pixel_values.shape == (1, 3, 224, 224)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has no setting 'image_means'; did you mean 'image_mean'\?"):
        ZenImageProcessor(image_means=[0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="has no setting 'zzz'; it has do_convert_rgb, "):
        ZenImageProcessor(zzz=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sizes'"):
        ZenImageProcessor()(noise(64, 96), sizes=32)  # type: ignore[call-arg]


def test_settings_survive_saving(tmp_path: Path) -> None:
    processor = ZenImageProcessor(size={"height": 112, "width": 160}, image_mean=[0.5, 0.5, 0.5])
    processor.save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").is_file()
    again = ZenImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    image = noise(64, 96)
    expected = processor(image, return_tensors="pt").pixel_values
    assert expected.shape == (1, 3, 112, 160)
    assert torch.equal(again(image, return_tensors="pt").pixel_values, expected)


def test_two_processors_do_not_share_settings() -> None:
    first = ZenImageProcessor()
    first.size["height"] = 32
    assert dict(ZenImageProcessor().size) == {"height": 224, "width": 224}
