"""The heads that answer per pixel: what they compute and what they refuse; test_modeling_zen_image.py loads them."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from modeling_zen import ZenConfig, ZenForDepthEstimation, ZenForMaskedImageModeling, ZenForSemanticSegmentation
from modeling_zen.losses_zen import depth_loss


def build(head: type, config: ZenConfig, **fields: Any) -> Any:
    torch.manual_seed(0)
    return head(ZenConfig(**{**config.to_diff_dict(), "num_labels": 5, **fields}))


# Segmentation


def test_segmentation_by_hand(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForSemanticSegmentation, config).eval()
    patches = model.zen(pixels).last_hidden_state[:, 5:]
    # fresh statistics: mean 0, variance 1
    scores = patches / math.sqrt(1 + 1e-5) @ model.decode_head.classifier.weight[:, :, 0, 0].T
    expected = scores.transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(model(pixels).logits, expected)


@pytest.mark.parametrize("num_labels", [5, 1])
def test_ignored_pixels_change_nothing(num_labels: int, config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForSemanticSegmentation, config, num_labels=num_labels, semantic_loss_ignore_index=9).eval()
    labels = torch.randint(max(num_labels, 2), (2, 96, 40), generator=torch.Generator().manual_seed(3))
    logits = nn.functional.interpolate(model(pixels).logits, (96, 40), mode="bilinear", align_corners=False)
    labels[:, 10:, :] = 9
    if num_labels == 1:
        expected = nn.functional.binary_cross_entropy_with_logits(logits[:, 0, :10], labels[:, :10].float())
    else:
        expected = nn.functional.cross_entropy(logits[:, :, :10], labels[:, :10])
    torch.testing.assert_close(model(pixels, labels=labels).loss, expected)
    torch.testing.assert_close(model(pixels, labels=labels.int()).loss, expected)
    labels[:] = 9
    assert model(pixels, labels=labels).loss == 0  # not NaN


# Depth


def test_depth_by_hand(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForDepthEstimation, config, min_depth=2, max_depth=32).eval()
    nn.init.zeros_(model.depth_head.classifier.weight)
    for bias, depth in ((0.0, 8.0), (math.log(3), 16.0), (-50.0, 2.0), (50.0, 32.0)):  # sigmoid 1/2, 3/4, 0, 1
        nn.init.constant_(model.depth_head.classifier.bias, bias)
        predicted = model(pixels).predicted_depth
        torch.testing.assert_close(predicted, torch.full((2, 48, 80), depth))


def test_depth_reads_patches_and_summary(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForDepthEstimation, config).eval()
    outputs = model.zen(pixels)
    features = torch.cat([outputs.last_hidden_state[:, 5:], outputs.pooler_output[:, None].expand(-1, 15, -1)], dim=2)
    scores = features / math.sqrt(1 + 1e-5) @ model.depth_head.classifier.weight[0, :, 0, 0]
    scores = nn.functional.interpolate(scores.view(2, 1, 3, 5), (48, 80), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(model(pixels).predicted_depth, 300 ** scores.sigmoid())


def test_depth_labels_of_another_size_and_with_holes(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForDepthEstimation, config).eval()
    labels = torch.full((2, 30, 50), 40.0)
    labels[0, :7] = 0
    labels[1, :, 3] = math.nan
    outputs = model(pixels, labels=labels)
    torch.testing.assert_close(outputs.loss, depth_loss(outputs.predicted_depth, labels).mean())
    assert outputs.loss.isfinite()


def test_depth_is_float32_in_half_precision(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForDepthEstimation, config).to(torch.bfloat16).eval()
    assert model(pixels).predicted_depth.dtype == torch.float32


# Masked image modelling


def test_patches_and_images_are_one_another(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForMaskedImageModeling, config)
    patches = model._patchify(pixels)
    assert torch.equal(patches[1, 5 + 2].view(3, 16, 16), pixels[1, :, 16:32, 32:48])  # second row, third column
    assert torch.equal(model._unpatchify(patches, 3, 5), pixels)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_masked_loss_by_hand(norm_pix_loss: bool, config: ZenConfig) -> None:
    model = build(ZenForMaskedImageModeling, config, norm_pix_loss=norm_pix_loss)
    nn.init.zeros_(model.decoder.weight)  # the reconstruction is 0
    pixels = torch.zeros(2, 3, 16, 32)
    # of the hidden patches, one is constant and one half 1, half 3
    pixels[0, :, :, :16] = 1.0
    pixels[1, :, :8, 16:], pixels[1, :, 8:, 16:] = 1.0, 3.0
    pixels[1, :, :, :16] = 17.0  # seen: does not count
    mask = torch.tensor([[True, False], [False, True]])
    # plain: (1 + 2) / 2. Normalised: 0, and 1 but for the unbiased variance n / (n - 1) of n = 768
    expected = math.sqrt(767 / 768) / 2 if norm_pix_loss else 1.5
    assert model(pixels, bool_masked_pos=mask).loss.item() == pytest.approx(expected)
    assert model(pixels, bool_masked_pos=mask.long()).loss.item() == pytest.approx(expected)
    assert model(pixels, bool_masked_pos=torch.zeros(2, 2, dtype=torch.bool)).loss == 0


def test_hidden_pixels_are_not_seen(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForMaskedImageModeling, config).eval()
    mask = torch.zeros(2, 15, dtype=torch.bool)
    mask[:, 7] = True  # second row, third column
    changed = pixels.clone()
    changed[:, :, 16:32, 32:48] = 0.5
    reconstruction = model(pixels, bool_masked_pos=mask).reconstruction
    assert torch.equal(model(changed, bool_masked_pos=mask).reconstruction, reconstruction)
    assert not torch.equal(model(changed).reconstruction, model(pixels).reconstruction)
    assert reconstruction.shape == pixels.shape


def test_the_mask_token_is_initialised(config: ZenConfig) -> None:
    token = build(ZenForMaskedImageModeling, config).mask_token
    assert 0 < token.std() < 0.04
    assert token.isfinite().all()


# Bad input

INTS = torch.zeros(2, dtype=torch.long)
PIXELS = torch.zeros(2, 3, 48, 80)


@pytest.mark.parametrize(
    ("head", "fields", "inputs", "message"),
    [
        (
            ZenForSemanticSegmentation,
            {},
            {"labels": torch.zeros(2, 48, 80)},
            r"labels must be integers \(2, any, any\), not torch\.float32 \(2, 48, 80\)",
        ),
        (
            ZenForSemanticSegmentation,
            {},
            {"labels": INTS},
            r"must be integers \(2, any, any\), not torch\.int64 \(2,\)",
        ),
        (
            ZenForSemanticSegmentation,
            {},
            {"labels": torch.full((2, 48, 80), 6)},
            r"labels holds class 6, which is not from 0 to 4 \(nor 255, which counts nowhere\)",
        ),
        (
            ZenForSemanticSegmentation,
            {"num_labels": 1},
            {"labels": torch.full((2, 48, 80), 2)},
            r"labels holds class 2, which is not from 0 to 1 \(nor 255",
        ),
        (
            ZenForDepthEstimation,
            {},
            {"labels": torch.ones(2, 48, 80, dtype=torch.int32)},
            r"labels must be floating point \(2, any, any\), not torch\.int32 \(2, 48, 80\)",
        ),
        (
            ZenForDepthEstimation,
            {},
            {"labels": torch.ones(2, 1, 48, 80)},
            r"labels must be floating point \(2, any, any\), not torch\.float32 \(2, 1, 48, 80\)",
        ),
        (
            ZenForMaskedImageModeling,
            {},
            {"bool_masked_pos": torch.ones(2, 14, dtype=torch.bool)},
            r"bool_masked_pos must be integers \(2, 15\), not torch\.bool \(2, 14\)",
        ),
        (
            ZenForMaskedImageModeling,
            {},
            {"bool_masked_pos": torch.ones(2, 15)},
            r"bool_masked_pos must be integers \(2, 15\), not torch\.float32 \(2, 15\)",
        ),
        (
            ZenForMaskedImageModeling,
            {},
            {"pixel_values": PIXELS[:, :, :40], "bool_masked_pos": torch.ones(2, 15, dtype=torch.bool)},
            r"height 40 \(nearest: 32 or 48\)",
        ),
    ],
)
def test_bad_input(
    head: type, fields: dict[str, Any], inputs: dict[str, torch.Tensor], message: str, config: ZenConfig
) -> None:
    with pytest.raises(ValueError, match=message):
        build(head, config, **fields)(**{"pixel_values": PIXELS, **inputs})
