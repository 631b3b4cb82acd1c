"""`depth_loss` against values worked out by hand, and with the depth heads of transformers."""

import math

import pytest
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DPTConfig,
    DPTForDepthEstimation,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)

from modeling_zen import ZenConfig
from modeling_zen.losses_zen import depth_loss

E = math.e


def random_depths(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Depths from 1 to about 100."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).mul(4.6).exp()


def test_the_example_of_the_docstring() -> None:
    value = depth_loss(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, E]]]))
    assert value.dtype == torch.float32
    assert value.tolist() == pytest.approx([0.625])


def test_by_hand() -> None:
    # r = [[0, 1], [2, 1]]: mean 1, mean square 6/4; neighbours differ by 1, 1 (across) and 2, 0 (down), over 4 pixels
    prediction = torch.tensor([[[1.0, E], [E**2, E]]])
    target = torch.ones(1, 2, 2)
    assert depth_loss(prediction, target).tolist() == pytest.approx([1.5 - 0.5 * 1 + 0.5 * 4 / 4])
    assert depth_loss(prediction, target, gradient_weight=0).tolist() == pytest.approx([1.0])
    assert depth_loss(prediction, target, scale_invariance=0, gradient_weight=0).tolist() == pytest.approx([1.5])
    assert depth_loss(prediction, target, scale_invariance=1, gradient_weight=2).tolist() == pytest.approx([2.5])


def test_scales_by_hand() -> None:
    # r = [0, 0, 1, 1]: scale 0 has one step of 1 over 4 pixels, scale 1 (pixels 0 and 2) one over 2, scale 2 none
    prediction = torch.tensor([[[1.0, 1.0, E, E]]])
    target = torch.ones(1, 1, 4)
    gradients = [
        float(depth_loss(prediction, target, gradient_weight=1, gradient_scales=scales) - (0.5 - 0.5 * 0.25))
        for scales in (0, 1, 2, 3)
    ]
    assert gradients == pytest.approx([0, 0.25, 0.75, 0.75])


@pytest.mark.parametrize("unmeasured", [0.0, -3.0, math.nan, math.inf])
def test_unmeasured_pixels_by_hand(unmeasured: float) -> None:
    # r = [1, -, 2]: mean 3/2, mean square 5/2 over 2 pixels; neighbours with the hole between them do not meet ...
    prediction = torch.tensor([[[E, 7.0, E**2]]], requires_grad=True)
    target = torch.tensor([[[1.0, unmeasured, 1.0]]])
    # ... but at scale 1 pixels 0 and 2 are neighbours: one step of 1 over 2 pixels
    expected = 2.5 - 0.5 * 2.25 + 0.5 * (0 + 1 / 2)
    value = depth_loss(prediction, target)
    assert value.tolist() == pytest.approx([expected])
    value.sum().backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert prediction.grad[0, 0, 1] == 0

    masked = depth_loss(prediction, torch.ones(1, 1, 3), torch.tensor([[[True, False, True]]]))
    assert masked.tolist() == pytest.approx([expected])


def test_masked_pixels_give_no_gradient_even_as_nan() -> None:
    prediction = torch.tensor([[[math.nan, 2.0], [2.0, 2.0]]], requires_grad=True)
    mask = torch.tensor([[[False, True], [True, True]]])
    value = depth_loss(prediction, torch.ones(1, 2, 2), mask)
    value.sum().backward()
    assert value.isfinite().all()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert prediction.grad[0, 0, 0] == 0


def test_an_image_without_a_valid_pixel_scores_zero() -> None:
    prediction = random_depths(2, 4, 4).requires_grad_()
    target = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
    value = depth_loss(prediction, target)
    assert value[0] == 0
    assert value[1] > 0
    value.sum().backward()
    assert prediction.grad is not None
    assert torch.equal(prediction.grad[0], torch.zeros(4, 4))


def test_a_nan_that_counts_is_not_hidden() -> None:
    assert depth_loss(torch.full((1, 2, 2), math.nan), torch.ones(1, 2, 2)).isnan().all()


def test_scale_invariance() -> None:
    prediction, target = random_depths(2, 9, 7), random_depths(2, 9, 7, seed=1)
    plain = depth_loss(prediction, target, scale_invariance=1)
    torch.testing.assert_close(depth_loss(10 * prediction, target, scale_invariance=1), plain)
    # a factor s alone costs (1 - lambda) log(s)^2, and no gradient
    torch.testing.assert_close(depth_loss(10 * target, target), torch.full((2,), 0.5 * math.log(10) ** 2))
    assert depth_loss(target, target).abs().max() == 0


def test_inverse_depth_is_the_loss_of_its_inverse() -> None:
    prediction, target = random_depths(2, 9, 7), random_depths(2, 9, 7, seed=1)
    torch.testing.assert_close(depth_loss(1 / prediction, target, inverse=True), depth_loss(prediction, target))


def test_zeros_of_a_relu_are_raised() -> None:
    prediction = torch.zeros(1, 2, 2, requires_grad=True)
    value = depth_loss(prediction, torch.ones(1, 2, 2))
    assert value.tolist() == pytest.approx([0.5 * math.log(1000) ** 2])
    value.sum().backward()
    assert prediction.grad is not None
    assert torch.equal(prediction.grad, torch.zeros(1, 2, 2))


def test_the_prediction_is_resized_to_the_target() -> None:
    prediction, target = random_depths(2, 3, 5), random_depths(2, 12, 20, seed=1)
    large = torch.nn.functional.interpolate(prediction[:, None], (12, 20), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(depth_loss(prediction, target), depth_loss(large, target))


def test_gradcheck() -> None:
    prediction = random_depths(2, 4, 5, dtype=torch.float64).requires_grad_()
    target = random_depths(2, 4, 5, seed=1, dtype=torch.float64)
    target[0, 1, 2] = 0
    assert torch.autograd.gradcheck(lambda depth: depth_loss(depth, target), prediction)


def test_bfloat16_inputs_are_computed_in_float32_and_left_untouched() -> None:
    prediction, target = random_depths(2, 9, 7).bfloat16(), random_depths(2, 9, 7, seed=1).bfloat16()
    before = prediction.clone(), target.clone()
    value = depth_loss(prediction, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, depth_loss(prediction.float(), target.float()))
    assert torch.equal(prediction, before[0])
    assert torch.equal(target, before[1])


DEPTHS = torch.ones(2, 4, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((DEPTHS[:, None], DEPTHS), r"one batch size, not \(2, 1, 4, 6\) and \(2, 4, 6\)"),
        ((DEPTHS, DEPTHS[0]), r"one batch size, not \(2, 4, 6\) and \(4, 6\)"),
        ((DEPTHS[:1], DEPTHS), r"one batch size, not \(1, 4, 6\) and \(2, 4, 6\)"),
        ((DEPTHS, DEPTHS.int()), r"must be floating point depths, not torch\.float32 and torch\.int32"),
        ((DEPTHS, DEPTHS, DEPTHS), r"valid_mask must be bool \(2, 4, 6\), not torch\.float32 \(2, 4, 6\)"),
        ((DEPTHS, DEPTHS, DEPTHS[:, 1:] > 0), r"valid_mask must be bool \(2, 4, 6\), not torch\.bool \(2, 3, 6\)"),
    ],
)
def test_bad_input(arguments: tuple[torch.Tensor, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        depth_loss(*arguments)


BACKBONE = ZenConfig(
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=4,
    image_size=64,
    out_features=["stage1", "stage2", "stage3", "stage4"],
    reshape_hidden_states=False,
)
NECK = {"backbone_config": BACKBONE, "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}


@pytest.mark.parametrize(
    ("head", "inverse"),
    [
        (lambda: DPTForDepthEstimation(DPTConfig(hidden_size=32, num_attention_heads=4, **NECK)), True),
        (
            lambda: DepthAnythingForDepthEstimation(
                DepthAnythingConfig(patch_size=16, reassemble_hidden_size=32, head_hidden_size=8, **NECK)
            ),
            True,
        ),
        (
            lambda: DepthAnythingForDepthEstimation(
                DepthAnythingConfig(
                    patch_size=16,
                    reassemble_hidden_size=32,
                    head_hidden_size=8,
                    depth_estimation_type="metric",
                    max_depth=80,
                    **NECK,
                )
            ),
            False,
        ),
        (
            lambda: ZoeDepthForDepthEstimation(
                ZoeDepthConfig(
                    backbone_hidden_size=32,
                    bottleneck_features=8,
                    num_relative_features=8,
                    bin_embedding_dim=8,
                    bin_configurations=[{"n_bins": 16, "min_depth": 1, "max_depth": 100, "name": "abdomen"}],
                    **NECK,
                )
            ),
            False,
        ),
    ],
    ids=["dpt", "depth_anything", "depth_anything_metric", "zoedepth"],
)
def test_a_step_on_the_heads_of_transformers_lowers_the_loss(head, inverse: bool) -> None:
    torch.manual_seed(0)
    model = head().eval()
    with torch.no_grad():
        for name, bias in model.named_parameters():
            if name.endswith("head.conv3.bias") or name.endswith("head.head.4.bias"):
                bias.fill_(0.5)  # a fresh head that ends in a ReLU may be all zeros, which no loss can move
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    target = random_depths(2, 48, 40)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    before = depth_loss(model(pixels).predicted_depth, target, inverse=inverse).mean()
    before.backward()
    gradient = model.backbone.embeddings.patch_embeddings.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    optimizer.step()
    after = depth_loss(model(pixels).predicted_depth, target, inverse=inverse).mean()
    assert after < before
