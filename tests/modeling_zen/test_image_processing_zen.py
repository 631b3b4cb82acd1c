"""ZenImageProcessor: golden numbers, the one order of its steps, field of view, maps laid back, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.modeling_outputs import DepthEstimatorOutput, SemanticSegmenterOutput

from evaluation.backbones.zen import load_zen
from evaluation.datasets import FrameReference
from evaluation.frames import decode
from modeling_zen import ZenImageProcessor, ZenModel, ZenVideoProcessor
from modeling_zen.field_of_view_zen import field_of_view_box
from training.views import whole_view

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


def edges() -> np.ndarray:
    """16 x 16: red steps from 40 to 200 between columns 7 and 8, green from 0 to 255 there, blue as red but in rows."""
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    image[..., 0] = np.where(np.arange(16) < 8, 40, 200)
    image[..., 1] = np.where(np.arange(16) < 8, 0, 255)
    image[..., 2] = np.where(np.arange(16) < 8, 40, 200)[:, None]
    return image


def test_golden_edge_by_hand() -> None:
    """An edge, halved: antialiased bicubic, 8-bit rounding, clipping, scaling and normalisation, all worked out.

    Halved, output pixel i has its center at 2 i + 1 and weighs the 8 pixels around it by k(d / 2), d = 0.5, 1.5, 2.5,
    3.5, where k is Keys' cubic with a = -1/2 (k(x) = 1.5 x³ - 2.5 x² + 1 up to 1, -0.5 x³ + 2.5 x² - 4 x + 2 up to 2):
    k = 0.8671875, 0.2265625, -0.0703125, -0.0234375, half of which, as they add up to 2 on both sides, are the weights
    0.43359375, 0.11328125, -0.03515625, -0.01171875. Pixel 3 (center 7) sees columns 8, 9, 10 beyond the edge:
    0.11328125 - 0.03515625 - 0.01171875 = 0.06640625 of the step; pixel 2 only column 8: -0.01171875 of it; 4 and 5 are
    their mirror images.
    Red: 40 - 1.875 = 38.125, 40 + 10.625 = 50.625, 189.375, 201.875; rounded 38, 51, 189, 202.
    Green: -2.988, 16.934, 238.066, 257.988; clipped and rounded 0, 17, 238, 255.
    Then (level / 255 - mean) / std, e.g. (51 / 255 - 0.485) / 0.229 = -1.244541.
    """
    pixels = ZenImageProcessor(size={"height": 8, "width": 8})(edges(), return_tensors="pt").pixel_values[0]
    red = [-1.432914, -1.432914, -1.467164, -1.244541, 1.118674, 1.341296, 1.307047, 1.307047]
    green = [-2.035714, -2.035714, -2.035714, -1.738095, 2.130952, 2.428571, 2.428571, 2.428571]
    blue = [-1.107277, -1.107277, -1.142135, -0.915556, 1.489673, 1.716253, 1.681394, 1.681394]
    for place in range(8):
        torch.testing.assert_close(pixels[0, place], torch.tensor(red), atol=2e-6, rtol=0)
        torch.testing.assert_close(pixels[1, place], torch.tensor(green), atol=2e-6, rtol=0)
        torch.testing.assert_close(pixels[2, :, place], torch.tensor(blue), atol=2e-6, rtol=0)


def antialiased_bicubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Independent of every library: Keys' cubic (a = -1/2), stretched by the factor where it shrinks; float64."""
    result = image.astype(np.float64)
    for axis, wanted in ((0, height), (1, width)):
        factor = result.shape[axis] / wanted
        stretch = max(factor, 1.0)
        centers = (np.arange(wanted) + 0.5) * factor
        x = np.abs(np.arange(result.shape[axis]) + 0.5 - centers[:, None]) / stretch
        inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.where(x <= 1, inner, np.where(x < 2, outer, 0))
        weights /= weights.sum(axis=1, keepdims=True)
        result = np.moveaxis(np.tensordot(weights, result, (1, axis)), 0, axis)
    return result


@pytest.mark.parametrize("size", [(48, 64), (24, 40), (131, 90), (200, 300)])
def test_golden_resizing_against_its_formula(size: tuple[int, int]) -> None:
    rows, columns, channels = np.mgrid[:97, :131, :3]
    # No overshoot leaves 0 to 255: between the two passes it would be clipped, which the formula does not do.
    image = (60 + (rows * rows + 3 * columns * (channels + 1)) % 136).astype(np.uint8)
    processor = ZenImageProcessor(size={"height": size[0], "width": size[1]})
    pixels = processor(image, return_tensors="np").pixel_values[0]
    levels = (pixels.transpose(1, 2, 0) * STD + MEAN) * 255
    difference = np.abs(levels - antialiased_bicubic(image, *size))
    assert difference.max() < 1.5  # two passes, each rounded
    assert difference.mean() < 0.5


def test_one_preprocessing_for_image_video_training_and_evaluation(model: ZenModel, tmp_path: Path) -> None:
    frames = [noise(90, 160), noise(90, 160)[::-1].copy()]
    size = {"height": 64, "width": 64}
    processor = ZenImageProcessor(size=size)
    expected = processor(frames, return_tensors="pt").pixel_values
    video = ZenVideoProcessor(size=size)(np.stack(frames), return_tensors="pt").pixel_values_videos
    assert torch.equal(video[0], expected)

    view = whole_view(frames, 64)  # training normalises its views in the objective, by the processor's numbers
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (processor.image_mean, processor.image_std))
    torch.testing.assert_close((view - mean) / std, expected, atol=1e-5, rtol=0)

    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    decoded = np.stack(list(decode([FrameReference(tmp_path / f"{index}.png") for index in (0, 1)], 64)))
    model.save_pretrained(tmp_path / "zen")
    processor.save_pretrained(tmp_path / "zen")
    backbone = load_zen(str(tmp_path / "zen"), torch.device("cpu"))
    seen: list[torch.Tensor] = []
    backbone.network.model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    backbone.extract(decoded)
    levels = (seen[0] - expected).abs() * std * 255
    assert levels.max() < 1.01  # evaluation resizes by Pillow: at most a rounding apart
    assert levels.mean() < 0.1


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


def test_images_that_are_none_are_refused() -> None:
    processor = ZenImageProcessor()
    empty: Any
    nan = np.zeros((16, 16, 3), dtype=np.float32)
    nan[3, 4, 1] = np.nan
    for do_rescale in (True, False):
        with pytest.raises(ValueError, match=r"^image 1 holds NaN or infinite pixels$"):
            processor([np.zeros((16, 16, 3), dtype=np.float32), nan], do_rescale=do_rescale)
    with pytest.raises(ValueError, match=r"^image 0 holds NaN or infinite pixels$"):
        processor(torch.full((3, 16, 16), float("inf")))
    with pytest.raises(ValueError, match=r"^image 0 holds integers from 0 to 65535 instead of 0 to 255; give 8-bit"):
        processor(np.linspace(0, 65535, 768).astype(np.uint16).reshape(16, 16, 3))
    for empty in ([], (), np.zeros((0, 16, 16, 3), dtype=np.uint8)):
        with pytest.raises(ValueError, match=r"^there are no images: the (list|batch) is empty$"):
            processor(empty)
    with pytest.raises(ValueError, match=r"^an image of shape \(0, 16, 3\) has no pixels$"):
        processor(np.zeros((0, 16, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"^an image of shape \(0, 16\) has no pixels$"):
        processor(Image.new("RGB", (0, 16)))
    for shape in ((16, 18, 5), (2, 16, 18)):
        with pytest.raises(
            ValueError, match=r"^an image of shape \(\d+, \d+, \d+\) is not RGB: its first or last side"
        ):
            processor(np.zeros(shape, dtype=np.uint8))


def in_border(height: int = 96, width: int = 160, border: int = 24) -> np.ndarray:
    """A picture with a dark border left and right."""
    image = noise(height, width) // 2 + 100
    image[:, :border] = image[:, -border:] = 4
    return image


def test_the_field_of_view_is_cut_off_per_image() -> None:
    images = [in_border(), in_border(border=40), noise(96, 160) // 2 + 100]
    processor: Any = ZenImageProcessor(do_crop_field_of_view=True, return_field_of_view=True, size=64)
    result = processor(images, return_tensors="pt")
    boxes = [field_of_view_box(torch.from_numpy(image)[None]) for image in images]
    assert [box[0] for box in boxes] == [24, 40, 0]
    assert result.field_of_view.tolist() == [list(box) for box in boxes]
    assert result.field_of_view.dtype == torch.int64
    for index, (image, (left, top, right, bottom)) in enumerate(zip(images, boxes, strict=True)):
        alone = ZenImageProcessor(size=64)(image[top:bottom, left:right], return_tensors="pt")
        assert torch.equal(result.pixel_values[index], alone.pixel_values[0])
        assert set(alone) == {"pixel_values"}
    gray = Image.fromarray(in_border()).convert("L")
    for same in (gray, np.asarray(gray)[None] / 255.0):
        scaled = isinstance(same, np.ndarray)
        again = processor(same, do_rescale=not scaled, do_convert_rgb=False, do_normalize=False, return_tensors="np")
        assert again.field_of_view.tolist() == [[24, 0, 136, 96]]
    whole = processor(images, do_crop_field_of_view=False, return_tensors="pt")
    assert whole.field_of_view.tolist() == [[0, 0, 160, 96]] * 3
    with pytest.raises(ValueError, match=r"^image 0 is not in \[0, 1\], so its field of view cannot be found"):
        processor(np.full((16, 16, 3), -2.0), do_rescale=False)


def test_segmentation_maps_are_laid_back() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    logits[:, 1], logits[0, 2, :, 2:], logits[1, 2, :2] = 1, 3, 3
    outputs = SemanticSegmenterOutput(logits=logits)
    processor = ZenImageProcessor()
    assert [each.tolist()[0] for each in processor.post_process_semantic_segmentation(outputs)] == [
        [1, 1, 2, 2],
        [2] * 4,
    ]
    left, right = processor.post_process_semantic_segmentation(outputs, target_sizes=[(2, 8), (8, 4)])
    assert left.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]] * 2
    assert right.tolist() == [[2] * 4] * 4 + [[1] * 4] * 4
    boxes = torch.tensor([[1, 0, 9, 2], [0, 0, 4, 8]])
    sizes = torch.tensor([[3, 10], [8, 4]])
    cut = ZenImageProcessor(do_crop_field_of_view=True)
    back: list = cut.post_process_semantic_segmentation(outputs, sizes, field_of_view=boxes)
    assert back[0].tolist() == [[0, 1, 1, 1, 1, 2, 2, 2, 2, 0]] * 2 + [[0] * 10]
    assert torch.equal(back[1], torch.as_tensor(right))
    scores: list = cut.post_process_semantic_segmentation(outputs, sizes, True, field_of_view=boxes)
    assert torch.equal(scores[0].segmentation, back[0])
    assert scores[0].segmentation_scores.shape == (3, 3, 10)
    with pytest.raises(
        ValueError, match=r"maps can only be laid back with the boxes: call it with return_field_of_view"
    ):
        cut.post_process_semantic_segmentation(outputs, sizes)
    with pytest.raises(ValueError, match=r"^there are 1 target sizes for 2 maps; give one for each$"):
        processor.post_process_semantic_segmentation(outputs, [(2, 8)])
    with pytest.raises(ValueError, match=r"^there are 1 boxes in field_of_view for 2 maps; give one for each$"):
        cut.post_process_semantic_segmentation(outputs, sizes, field_of_view=boxes[:1])


def test_depth_maps_are_laid_back() -> None:
    outputs = DepthEstimatorOutput(predicted_depth=torch.tensor([[[1.0, 3.0]]]))
    processor = ZenImageProcessor()
    (same,) = processor.post_process_depth_estimation(outputs)
    assert same["predicted_depth"].tolist() == [[1, 3]]
    (wide,) = processor.post_process_depth_estimation(outputs, [(1, 4)])
    assert wide["predicted_depth"].tolist() == [[1.0, 1.5, 2.5, 3.0]]
    (back,) = processor.post_process_depth_estimation(outputs, [(2, 6)], field_of_view=[(1, 1, 5, 2)])
    assert back["predicted_depth"].tolist() == [[0.0] * 6, [0.0, 1.0, 1.5, 2.5, 3.0, 0.0]]


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has no setting 'image_means'; did you mean 'image_mean'\?"):
        ZenImageProcessor(image_means=[0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="has no setting 'zzz'; it has do_convert_rgb, "):
        ZenImageProcessor(zzz=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sizes'"):
        ZenImageProcessor()(noise(64, 96), sizes=32)  # type: ignore[call-arg]


def test_settings_survive_saving(tmp_path: Path) -> None:
    processor = ZenImageProcessor(
        size={"height": 112, "width": 160}, image_mean=[0.5, 0.5, 0.5], do_crop_field_of_view=True
    )
    processor.save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").is_file()
    again = ZenImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert (again.do_crop_field_of_view, again.return_field_of_view) == (True, False)
    image = noise(64, 96)
    expected = processor(image, return_tensors="pt").pixel_values
    assert expected.shape == (1, 3, 112, 160)
    assert torch.equal(again(image, return_tensors="pt").pixel_values, expected)


def test_two_processors_do_not_share_settings() -> None:
    first = ZenImageProcessor()
    first.size["height"] = 32
    assert dict(ZenImageProcessor().size) == {"height": 224, "width": 224}
