"""ZenModel: what comes out, where it stands, and that it is the same however it is computed."""

import math
import re
from typing import Any

import pytest
import torch
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from modeling_zen import ZenConfig, ZenModel
from modeling_zen.modeling_zen import ZenDropPath, axial_rotary_embedding, resize_positions, rotate_tokens

from .conftest import TINY


def test_shapes_of_a_wide_frame(model: ZenModel, pixels: torch.Tensor) -> None:
    outputs = model(pixels)
    assert outputs.last_hidden_state.shape == (2, 2 + 3 + 3 * 5, 32)
    assert outputs.pooler_output.shape == (2, 32)
    assert model.summary_tokens(outputs.last_hidden_state).shape == (2, 2, 32)
    assert model.dense_tokens(outputs.last_hidden_state, 48, 80).shape == (2, 32, 3, 5)


def test_order_of_tokens(model: ZenModel, pixels: torch.Tensor) -> None:
    """Summary tokens first, then registers, then patches row by row: seen in the embeddings, where nothing mixes."""
    embeddings: Any = model.embeddings
    embedded = embeddings(pixels)
    assert torch.equal(embedded[0, :2], embeddings.summary_tokens[0])
    assert torch.equal(embedded[0, 2:5], embeddings.register_tokens[0])
    row, column = 2, 1
    patch = pixels[:, :, 16 * row : 16 * (row + 1), 16 * column : 16 * (column + 1)]
    weight, bias = embeddings.patch_embeddings.weight, embeddings.patch_embeddings.bias
    expected = torch.einsum("bchw,dchw->bd", patch, weight) + bias
    torch.testing.assert_close(model.dense_tokens(embedded, 48, 80)[:, :, row, column], expected)


def test_pooler_output_is_the_mean_of_the_summary_tokens(model: ZenModel, pixels: torch.Tensor) -> None:
    outputs = model(pixels)
    first, second = outputs.last_hidden_state[:, 0], outputs.last_hidden_state[:, 1]
    torch.testing.assert_close(outputs.pooler_output, (first + second) / 2)
    single = ZenModel(ZenConfig(**{**TINY, "num_summary_tokens": 1})).eval()(pixels)
    assert torch.equal(single.pooler_output, single.last_hidden_state[:, 0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 47, 64), r"an image of 47 x 64 pixels .* change height 47 \(nearest: 32 or 48\)$"),
        ((1, 3, 64, 100), r"change width 100 \(nearest: 96 or 112\)$"),
        ((1, 3, 15, 20), r"height 15 \(nearest: 16 or 32\) and width 20 \(nearest: 16 or 32\)"),
        ((3, 64, 64), r"pixel_values must be \(batch, 3, height, width\), not \(3, 64, 64\)"),
        ((1, 4, 64, 64), r"pixel_values must be \(batch, 3, height, width\), not \(1, 4, 64, 64\)"),
        ((1, 2, 3, 64, 64), r"not \(1, 2, 3, 64, 64\)"),
    ],
)
def test_illegal_inputs(model: ZenModel, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


def test_pixels_that_were_not_normalised_are_refused(model: ZenModel) -> None:
    with pytest.raises(ValueError, match=r"normalised floating point numbers, not torch.uint8; ZenImageProcessor"):
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_dense_tokens_of_another_size_are_refused(model: ZenModel, pixels: torch.Tensor) -> None:
    tokens = model(pixels).last_hidden_state
    with pytest.raises(ValueError, match=re.escape("holds 15 patches, but an image of 64 x 64 pixels has 4 x 4 = 16")):
        model.dense_tokens(tokens, 64, 64)
    with pytest.raises(ValueError, match="does not divide into patches"):
        model.dense_tokens(tokens, 3, 5)


def test_rotary_angles_by_hand() -> None:
    """One row, two columns, head width 8, theta 100: y is 0, x is -1/2 and 1/2, the frequencies are 1 and 1/10."""
    cos, sin = axial_rotary_embedding(1, 2, head_dim=8, theta=100.0, device=torch.device("cpu"))
    a, b = math.cos(math.pi), math.cos(math.pi / 10)
    c, d = math.sin(math.pi), math.sin(math.pi / 10)
    torch.testing.assert_close(cos, torch.tensor([[1, 1, a, b, 1, 1, a, b]] * 2))
    # Negative in the first half of the channels; the first column of patches has negative angles itself.
    torch.testing.assert_close(sin, torch.tensor([[0, 0, c, d, 0, 0, -c, -d], [0, 0, -c, -d, 0, 0, c, d]]))
    assert cos.dtype == sin.dtype == torch.float32


def test_rotation_keeps_lengths_and_leaves_the_prefix_alone() -> None:
    device = torch.device("cpu")
    cos, sin = axial_rotary_embedding(3, 5, head_dim=8, theta=100.0, device=device, num_prefix_tokens=5)
    tokens = torch.randn(2, 4, 5 + 15, 8)
    turned = rotate_tokens(tokens, cos, sin)
    assert torch.equal(turned[:, :, :5], tokens[:, :, :5])
    torch.testing.assert_close(turned.norm(dim=-1), tokens.norm(dim=-1))
    assert not torch.allclose(turned[:, :, 5:], tokens[:, :, 5:])
    assert rotate_tokens(tokens.bfloat16(), cos, sin).dtype == torch.bfloat16


def test_attention_sees_only_the_offset_between_patches() -> None:
    """Equal queries and equal keys everywhere: the score of two patches depends on rows and columns between them."""
    rows, columns = 3, 5
    cos, sin = axial_rotary_embedding(rows, columns, head_dim=8, theta=100.0, device=torch.device("cpu"))
    query, key = (rotate_tokens(torch.randn(1, 1, 1, 8).expand(1, 1, rows * columns, 8), cos, sin) for _ in "qk")
    scores = (query @ key.transpose(-2, -1))[0, 0].view(rows, columns, rows, columns)
    torch.testing.assert_close(scores[0, 1, 1, 3], scores[1, 2, 2, 4])
    torch.testing.assert_close(scores[2, 4, 1, 1], scores[1, 3, 0, 0])
    assert not torch.allclose(scores[0, 1, 1, 3], scores[0, 1, 1, 2])


def test_a_finer_grid_spans_the_same_range() -> None:
    """The mean of the four fine coordinates inside a coarse patch is its own, so no resolution extrapolates."""
    device = torch.device("cpu")
    _, coarse = axial_rotary_embedding(2, 2, head_dim=4, theta=100.0, device=device)
    _, fine = axial_rotary_embedding(4, 4, head_dim=4, theta=100.0, device=device)
    # y of the fine rows is -3/4, -1/4, ...: sin(2 pi y) of the first two rows is 1 and -1, of the coarse row 0.
    torch.testing.assert_close(fine.view(4, 4, 4)[:2, 0, 2], torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(coarse.view(2, 2, 4)[:, 0, 2], torch.zeros(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("gated", [False, True])
def test_equals_the_dinov3_of_transformers_on_the_same_weights(gated: bool, pixels: torch.Tensor) -> None:
    torch.manual_seed(3)
    config = ZenConfig(**{**TINY, "num_summary_tokens": 1, "mlp": "swiglu" if gated else "gelu"})
    ours = ZenModel(config).eval()
    theirs = DINOv3ViTModel(
        DINOv3ViTConfig(
            hidden_size=32,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_register_tokens=3,
            layer_norm_eps=1e-6,
            key_bias=True,
            use_gated_mlp=gated,
            hidden_act=str(config.hidden_act),
        )
    ).eval()
    state = {
        name.replace("summary_tokens", "cls_token")
        .replace("layers.", "model.layer.")
        .replace("layer_scale1.scale", "layer_scale1.lambda1")
        .replace("layer_scale2.scale", "layer_scale2.lambda1"): torch.randn_like(value) * 0.2
        for name, value in ours.state_dict().items()
    }
    ours.load_state_dict(dict(zip(ours.state_dict(), state.values(), strict=True)))
    theirs.load_state_dict({**state, "embeddings.mask_token": torch.zeros(1, 1, 32)})
    with torch.no_grad():
        expected, found = theirs(pixels).last_hidden_state, ours(pixels).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_eager_and_sdpa_agree(model: ZenModel, pixels: torch.Tensor) -> None:
    outputs = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        outputs[implementation] = model(pixels).last_hidden_state
    torch.testing.assert_close(outputs["eager"], outputs["sdpa"], atol=1e-5, rtol=1e-5)


def test_attention_maps_sum_to_one(model: ZenModel, pixels: torch.Tensor) -> None:
    model.set_attn_implementation("eager")
    attentions = model(pixels, output_attentions=True).attentions
    assert [a.shape for a in attentions] == [(2, 4, 20, 20)] * 2
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(2, 4, 20))


def test_hidden_states_are_captured_before_the_final_norm(model: ZenModel, pixels: torch.Tensor) -> None:
    outputs = model(pixels, output_hidden_states=True)
    assert len(outputs.hidden_states) == 3
    assert torch.equal(outputs.hidden_states[0], model.embeddings(pixels))
    assert torch.equal(model.norm(outputs.hidden_states[-1]), outputs.last_hidden_state)
    only_last = model(pixels, output_hidden_states=[-1]).hidden_states
    assert only_last[0] is None
    assert torch.equal(only_last[-1], outputs.hidden_states[-1])
    assert model(pixels).hidden_states is None


def weighted_sum(model: ZenModel, pixels: torch.Tensor) -> torch.Tensor:
    """A loss whose gradient does not cancel in the final norm."""
    outputs = model(pixels).last_hidden_state
    return (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum()


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_gradient_reaches_every_parameter(mlp: str, pixels: torch.Tensor) -> None:
    model = ZenModel(ZenConfig(**{**TINY, "mlp": mlp})).train()
    weighted_sum(model, pixels).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant: bool, pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = ZenModel(ZenConfig(**TINY, drop_path_rate=0.3, attention_dropout=0.1)).train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.zero_grad()
        torch.manual_seed(5)
        weighted_sum(model, pixels).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(plain, again) for plain, again in zip(*gradients, strict=True))


def test_nothing_is_random_in_training_unless_asked(model: ZenModel, pixels: torch.Tensor) -> None:
    assert torch.equal(model.train()(pixels).last_hidden_state, model.eval()(pixels).last_hidden_state)


def test_stochastic_depth_grows_and_keeps_the_mean() -> None:
    layers: Any = ZenModel(ZenConfig(**{**TINY, "num_hidden_layers": 3}, drop_path_rate=0.2)).layers
    assert [layer.drop_path.rate for layer in layers] == pytest.approx([0.0, 0.1, 0.2])
    drop = ZenDropPath(0.25).train()
    torch.manual_seed(0)
    dropped = drop(torch.ones(4000, 2, 3))
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert (dropped == dropped[:, :1, :1]).all()  # whole samples
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(drop.eval()(torch.ones(2, 1, 1)), torch.ones(2, 1, 1))


def test_half_precision_forward(model: ZenModel, pixels: torch.Tensor) -> None:
    expected = model(pixels).last_hidden_state
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(pixels, output_hidden_states=True)
    assert outputs.hidden_states[-1].dtype == torch.float32  # the residual stream stays whole
    torch.testing.assert_close(outputs.last_hidden_state, expected, atol=0.1, rtol=0)
    model.bfloat16()
    found = model(pixels).last_hidden_state  # float32 pixels are cast
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0)


def test_no_registers_means_no_parameter(pixels: torch.Tensor) -> None:
    model = ZenModel(ZenConfig(**{**TINY, "num_register_tokens": 0}))
    assert not any("register" in name for name in model.state_dict())
    assert model(pixels).last_hidden_state.shape[1] == 2 + 15


def test_a_batch_is_its_samples(model: ZenModel, pixels: torch.Tensor) -> None:
    together = model(pixels).pooler_output
    alone = torch.cat([model(frame[None]).pooler_output for frame in pixels])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_periods_can_start_elsewhere() -> None:
    """Twice the shortest period halves every angle."""
    device = torch.device("cpu")
    _, plain = axial_rotary_embedding(1, 2, head_dim=8, theta=100.0, device=device)
    _, slower = axial_rotary_embedding(1, 2, head_dim=8, theta=100.0, device=device, min_period=2.0)
    # x is 1/2 in the second column: pi and pi / 10 become half of it.
    torch.testing.assert_close(plain[1, 6:].asin()[1:], torch.tensor([math.pi / 10]))
    torch.testing.assert_close(slower[1, 6:], torch.tensor([math.sin(math.pi / 2), math.sin(math.pi / 20)]))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.full((1, 3, 32, 32), math.nan), "pixel_values holds NaN or infinity"),
        (torch.full((1, 3, 32, 32), -math.inf), "pixel_values holds NaN or infinity"),
        (torch.full((1, 3, 32, 32), 128.0), "holds values from 128 to 128, which normalised frames never do"),
        (torch.zeros(0, 3, 32, 32), r"holds no frame: its shape is \(0, 3, 32, 32\)"),
        (torch.zeros(1, 3, 0, 32), "an image of 0 x 32 pixels .* does not divide into patches"),
    ],
)
def test_what_cannot_be_normalised_frames_is_refused(model: ZenModel, pixels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(pixels)


@pytest.mark.parametrize("method", ["bicubic", "bicubic_antialias", "bilinear_crop"])
def test_learned_positions(method: str) -> None:
    torch.manual_seed(0)
    config = ZenConfig(**{**TINY, "position_embedding": "learned", "position_resize": method})
    learned = ZenModel(config).eval()
    assert learned.embeddings.position_embeddings.shape == (1, 32, 4, 4)
    same = torch.ones(1, 3, 64, 64)
    patches = learned.dense_tokens(learned(same).last_hidden_state, 64, 64)
    assert not torch.allclose(patches[..., 0, 0], patches[..., 3, 3])  # equal patches, told apart by position alone
    assert learned(torch.ones(2, 3, 32, 96)).last_hidden_state.shape == (2, config.num_prefix_tokens + 2 * 6, 32)


def test_resized_positions_by_hand() -> None:
    ramp = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])  # (1, 1, 2, 2)
    assert resize_positions(ramp, 2, 2, "bicubic") is ramp
    # Bilinear at 2 -> 4 columns samples at -1/4, 1/4, 3/4, 5/4 and clamps outside; the crop keeps the top left.
    wide = resize_positions(ramp, 1, 4, "bilinear_crop")
    torch.testing.assert_close(wide, torch.tensor([[[[0.0, 0.25, 0.75, 1.0]]]]))
    torch.testing.assert_close(resize_positions(ramp, 4, 1, "bilinear_crop"), torch.zeros(1, 1, 4, 1))


def test_a_mask_token_takes_the_place_of_masked_patches(model: ZenModel, pixels: torch.Tensor) -> None:
    """A masked patch says nothing of its pixels; what is not masked still counts."""
    mask = torch.zeros(2, 15, dtype=torch.bool)
    mask[:, 7] = True  # row 1, column 2 of 3 x 5
    token = torch.randn(32)
    changed, elsewhere = pixels.clone(), pixels.clone()
    changed[:, :, 16:32, 32:48] += 1
    elsewhere[:, :, :16, :16] += 1
    hidden = model(pixels, masked_patches=mask, mask_token=token).last_hidden_state
    assert torch.equal(model(changed, masked_patches=mask, mask_token=token).last_hidden_state, hidden)
    assert not torch.equal(model(elsewhere, masked_patches=mask, mask_token=token).last_hidden_state, hidden)
    assert not torch.equal(model(pixels).last_hidden_state, hidden)


def test_a_mask_without_a_token_hides_nothing_unseen(model: ZenModel, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="masked_patches and mask_token go together"):
        model(pixels, masked_patches=torch.zeros(2, 15, dtype=torch.bool))
    with pytest.raises(ValueError, match="masked_patches and mask_token go together"):
        model(pixels, mask_token=torch.zeros(32))
