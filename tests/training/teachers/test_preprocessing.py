from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor

from training.errors import UserError
from training.teachers import TEACHERS, load_teacher
from training.teachers.preprocessing import Preprocessing, from_processor

PLAIN = Preprocessing(
    mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0), scale=1.0, channel_order="rgb", interpolation="bilinear"
)


def test_normalization_by_hand() -> None:
    image = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1)
    # (1 - .5) / .5 = 1, (.5 - .25) / .25 = 1, (.25 - 0) / 1 = .25
    assert PLAIN.normalize(image).flatten().tolist() == [1.0, 1.0, 0.25]


def test_bytes_and_bgr_by_hand() -> None:
    raw = replace(PLAIN, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=255.0, channel_order="bgr")
    image = torch.tensor([1.0, 0.2, 0.0]).view(1, 3, 1, 1)
    assert raw.normalize(image).flatten().tolist() == pytest.approx([0.0, 51.0, 255.0])


@pytest.mark.parametrize("name", ["dinov2", "dinov3", "siglip", "convnext"])
def test_equal_to_the_processor_itself_on_bytes(name: str, model_folder: Callable[[str], Path]) -> None:
    """Resize 90x70 -> 56x42 and normalise. The processor resizes bytes, in steps: a few bytes may differ at edges."""
    folder = model_folder(name)
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    processor = AutoImageProcessor.from_pretrained(folder)
    size = {"height": 56, "width": 42}
    # ConvNeXt's processor resizes by the shorter edge and crops: compare the normalisation only.
    options = {"do_resize": False} if name == "convnext" else {"size": size, "do_center_crop": False}
    expected = processor(image, **options, return_tensors="pt")["pixel_values"]
    preprocessing = load_teacher(str(folder)).preprocessing
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    actual = preprocessing.normalize(preprocessing.resize(pixels, (expected.shape[2], expected.shape[3])))
    error = (actual - expected).abs() * 255 * min(preprocessing.std)  # in bytes
    assert error.max() <= 3
    assert error.mean() <= 0.5


def test_timm_mean_and_std_are_found(model_folder: Callable[[str], Path]) -> None:
    preprocessing = load_teacher(str(model_folder("timm-cnn"))).preprocessing
    assert preprocessing.mean == (0.485, 0.456, 0.406)
    assert preprocessing.std == (0.229, 0.224, 0.225)
    assert (preprocessing.interpolation, preprocessing.size) == ("bicubic", (160, 160))


def test_siglip_mean_is_a_half(model_folder: Callable[[str], Path]) -> None:
    preprocessing = load_teacher(str(model_folder("siglip"))).preprocessing
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "file", "change", "key"),
    [
        ("dinov2", "preprocessor_config.json", lambda values: values.pop("image_mean"), "image_mean"),
        ("dinov2", "preprocessor_config.json", lambda values: values.pop("image_std"), "image_std"),
        ("timm-cnn", "config.json", lambda values: values["pretrained_cfg"].pop("mean"), "pretrained_cfg.mean"),
        ("timm-cnn", "config.json", lambda values: values["pretrained_cfg"].pop("std"), "pretrained_cfg.std"),
    ],
)
def test_a_missing_mean_or_std_is_refused_though_the_library_has_a_default(
    name: str, file: str, change: Callable[[dict[str, Any]], Any], key: str, edited_folder: Callable[..., Path]
) -> None:
    with pytest.raises(UserError, match=f"its processor file states no {key}"):
        load_teacher(str(edited_folder(name, file, change)))


def test_a_missing_processor_is_refused(edited_folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="its image processor cannot be read"):
        load_teacher(str(edited_folder("dinov2", "preprocessor_config.json", None)))


def fake(**values: Any) -> tuple[SimpleNamespace, dict[str, Any]]:
    plain = {
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        **values,
    }
    return SimpleNamespace(**plain), plain


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_mean": [0.5]}, "image_mean has 1 numbers, expected 3"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std must be positive"),
        ({"resample": 1}, "resample=1"),
        ({"do_flip_channel_order": True}, "flips channels and normalizes"),
        ({"rescale_offset": True}, "rescale_offset"),
    ],
)
def test_what_cannot_be_repeated_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_processor("t", *fake(**values))


def test_processors_without_rescaling_or_normalization() -> None:
    raw = from_processor("t", *fake(do_rescale=False))
    assert raw.scale == 255.0
    mobile = from_processor("t", *fake(do_normalize=False, image_mean=None, image_std=None, do_flip_channel_order=True))
    assert (mobile.mean, mobile.std, mobile.channel_order) == ((0.0,) * 3, (1.0,) * 3, "bgr")
    assert from_processor("t", *fake(image_mean=0.5)).mean == (0.5, 0.5, 0.5)


def test_resize_stays_in_range_and_leaves_its_input_alone() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1
    before = image.clone()
    resized = replace(PLAIN, interpolation="bicubic").resize(image, (32, 32))
    assert (resized.min(), resized.max()) == (0, 1)
    assert torch.equal(image, before)
    assert PLAIN.resize(image, (8, 8)) is image


def test_the_fingerprint_depends_on_what_the_network_is_shown() -> None:
    assert replace(PLAIN, size=(8, 8), patch_size=4).fingerprint() == PLAIN.fingerprint()
    for change in ({"mean": (0.5, 0.25, 0.1)}, {"scale": 255.0}, {"interpolation": "bicubic"}):
        assert replace(PLAIN, **change).fingerprint() != PLAIN.fingerprint()  # type: ignore[arg-type]


def test_spec_and_processor_must_agree() -> None:
    spec = TEACHERS.get("dinov2-small")
    with pytest.raises(UserError, match=r"processor cuts patches of 16 pixels but its spec says patch_size=14"):
        replace(PLAIN, patch_size=16).check(spec)
    with pytest.raises(UserError, match=r"prepares 200x200 images, which its spec does not allow .*196 and 210"):
        replace(PLAIN, size=(200, 200)).check(spec)
    with pytest.raises(UserError, match=r"prepares 256x256 images, which its spec does not allow .*only .*224x224"):
        replace(PLAIN, size=(256, 256)).check(TEACHERS.get("siglip2-base"))
    replace(PLAIN, size=(224, 224), patch_size=14).check(spec)
    # A convolution takes every size, so its processor's crop says nothing about legal inputs.
    map_spec = replace(spec, kind="map", num_prefix_tokens=0)
    replace(PLAIN, size=(260, 260)).check(map_spec)
