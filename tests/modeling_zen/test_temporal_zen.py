"""Temporal heads alone: causal, the same in any pieces, equal to a plain implementation, states of constant size."""

from typing import Any

import pytest
import torch
from torch import nn

from modeling_zen import ZenConfig
from modeling_zen.temporal_zen import (
    ROTARY_THETA,
    TEMPORAL_HEADS,
    ZenTemporalState,
    rotary_in_time,
    turn,
    window_masks,
)

BASE: dict[str, Any] = {
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_labels": 3,
    "temporal_hidden_size": 16,
    "temporal_num_layers": 3,
    "temporal_num_heads": 2,
    "temporal_window": 5,
}
VARIANTS: list[dict[str, Any]] = [
    {"temporal_head": "convolution"},
    {"temporal_head": "convolution", "temporal_num_stages": 1, "temporal_kernel_size": 2},
    {"temporal_head": "convolution", "temporal_num_stages": 3, "temporal_kernel_size": 1},
    {"temporal_head": "convolution", "problem_type": "multi_label_classification"},
    {"temporal_head": "transformer"},
    {"temporal_head": "transformer", "temporal_window": 1},
    {"temporal_head": "transformer", "temporal_window": 64},
]
HEADS = [VARIANTS[0], VARIANTS[4]]


def make(**settings: Any) -> Any:
    torch.manual_seed(0)
    config = ZenConfig(**{**BASE, **settings})
    return TEMPORAL_HEADS[config.temporal_head](config).eval()


def features(batch: int = 2, frames: int = 23) -> torch.Tensor:
    return torch.randn(batch, frames, 16, generator=torch.Generator().manual_seed(1))


def run(
    head: Any, frames: torch.Tensor, state: ZenTemporalState | None = None
) -> tuple[torch.Tensor, ZenTemporalState]:
    with torch.no_grad():
        return head(frames, head.empty_state(len(frames), like=frames) if state is None else state)


def in_pieces(head: Any, frames: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    state, logits = None, []
    for piece in frames.split(sizes, dim=1):
        scores, state = run(head, piece, state)
        logits.append(scores)
    return torch.cat(logits, dim=2)


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("sizes", [[1] * 23, [2] * 11 + [1], [4, 5, 6, 8], [1, 22], [22, 1], [13, 1, 1, 8]])
def test_pieces_give_the_logits_of_the_whole(settings: dict[str, Any], sizes: list[int]) -> None:
    head = make(**settings)
    whole, _ = run(head, features())
    torch.testing.assert_close(in_pieces(head, features(), sizes), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", sorted(TEMPORAL_HEADS))
def test_pieces_at_the_default_sizes(head: str) -> None:
    """Longer than what the default heads look back in a layer."""
    model = make(temporal_head=head, temporal_hidden_size=64, temporal_num_layers=9, temporal_window=256)
    frames = features(1, 1200)
    whole, _ = run(model, frames)
    torch.testing.assert_close(in_pieces(model, frames, [1100, *[1] * 20, 80]), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", VARIANTS)
@pytest.mark.parametrize("changed", [0, 4, 17, 22])
def test_a_frame_changes_nothing_before_it(settings: dict[str, Any], changed: int) -> None:
    head, frames = make(**settings), features()
    before, _ = run(head, frames)
    frames[:, changed] += 1.0
    after, _ = run(head, frames)
    assert torch.equal(after[:, :, :changed], before[:, :, :changed])
    assert (after[:, :, changed] != before[:, :, changed]).any()


@pytest.mark.parametrize(
    ("settings", "reach"),
    [
        ({"temporal_num_stages": 1}, 14),  # 2 * (1 + 2 + 4)
        ({"temporal_num_stages": 2}, 28),
        ({"temporal_head": "transformer"}, 12),  # 3 * (5 - 1)
    ],
)
def test_how_far_back_a_frame_sees(settings: dict[str, Any], reach: int) -> None:
    head, frames = make(**settings), features(1, 32).requires_grad_()
    logits, _ = head(frames, head.empty_state(1, like=frames))
    logits[0, -1, -1].pow(2).sum().backward()
    assert frames.grad is not None
    seen = frames.grad[0].abs().sum(-1).nonzero().flatten()
    assert int(seen[0]) == 31 - reach


def test_convolutions_are_those_of_a_plain_implementation() -> None:
    head = make(temporal_num_stages=2)
    hidden = features().transpose(1, 2)
    expected: list[torch.Tensor] = []
    for index, stage in enumerate(head.stages):
        if index:
            hidden = expected[-1].softmax(dim=1)
        hidden = nn.functional.conv1d(hidden, stage.in_proj.weight[..., None], stage.in_proj.bias)
        for layer in stage.layers:
            weight = layer.dilated.weight.unflatten(1, (3, 16)).transpose(1, 2)  # (out, in, kernel)
            padded = nn.functional.pad(hidden, (2 * layer.dilation, 0))
            update = nn.functional.conv1d(padded, weight, layer.dilated.bias, dilation=layer.dilation).relu()
            hidden = hidden + nn.functional.conv1d(update, layer.pointwise.weight[..., None], layer.pointwise.bias)
        expected.append(nn.functional.conv1d(hidden, stage.classifier.weight[..., None], stage.classifier.bias))
    logits, _ = run(head, features())
    torch.testing.assert_close(logits, torch.stack(expected, dim=1).transpose(2, 3), atol=1e-5, rtol=0)


def test_the_transformer_is_that_of_a_plain_implementation() -> None:
    head = make(temporal_head="transformer")
    hidden = head.in_proj(features())
    distance = torch.arange(23)[:, None] - torch.arange(23)
    for layer in head.layers:
        query, key, value = layer.qkv_proj(layer.norm1(hidden)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        query, key = (turn(each, *rotary_in_time(torch.tensor([0]), 23, 8)) for each in (query, key))
        scores = query @ key.transpose(-2, -1) / 8**0.5
        scores = scores.masked_fill((distance < 0) | (distance >= 5), -torch.inf)
        hidden = hidden + layer.o_proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(-2))
        hidden = hidden + layer.down_proj(nn.functional.gelu(layer.up_proj(layer.norm2(hidden))))
    expected = head.classifier(head.norm(hidden))
    torch.testing.assert_close(run(head, features())[0][:, 0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", HEADS)
def test_a_state_is_of_constant_size(settings: dict[str, Any]) -> None:
    head = make(**settings)
    _, state = run(head, features(1, 1))
    sizes = []
    for frames in (1, 300, 2, 1):
        _, state = run(head, features(1, frames), state)
        assert [tuple(tensor.shape[1:]) for tensor in state.tensors] == head.state_shapes()
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in state.tensors))
    assert max(sizes) <= 2 * 4 * sum(tensor.numel() for tensor in state.tensors) + 8


@pytest.mark.parametrize("settings", HEADS)
def test_states_are_reordered_joined_moved_and_detached(settings: dict[str, Any]) -> None:
    head = make(**settings)
    first, second = features(2, 9), features(2, 30)[:, 9:13]
    _, state = run(head, first)
    expected, _ = run(head, second, state)
    swapped, _ = run(head, second.flip(0), state.select(torch.tensor([1, 0])))
    torch.testing.assert_close(swapped, expected.flip(0), atol=1e-6, rtol=0)
    kept, _ = run(head, second[1:], state.select(torch.tensor([False, True])))
    torch.testing.assert_close(kept, expected[1:], atol=1e-6, rtol=0)
    # Two streams, of which one has seen two frames and the other nine.
    _, young = run(head, first[:1, -2:])
    joined, _ = run(head, second, ZenTemporalState.join([young, state.select(torch.tensor([1]))]))
    alone, _ = run(head, second[:1], young)
    torch.testing.assert_close(joined, torch.cat([alone, expected[1:]]), atol=1e-6, rtol=0)
    assert all(tensor.device.type == "meta" for tensor in state.to("meta").tensors)
    frames = first.clone().requires_grad_()
    _, attached = head(frames, head.empty_state(2, like=frames))
    assert any(tensor.requires_grad for tensor in attached.tensors)
    assert not any(tensor.requires_grad for tensor in attached.detach().tensors)
    assert attached.batch_size == 2


def test_states_that_cannot_be_joined() -> None:
    states = [run(make(**settings), features(1, 2))[1] for settings in HEADS]
    with pytest.raises(ValueError, match=r"^states of one head are joined, but these are of convolution and transform"):
        ZenTemporalState.join(states)
    with pytest.raises(ValueError, match=r"^states of one head are joined, but these are of none$"):
        ZenTemporalState.join([])


def test_how_many_frames_there_were_does_not_matter() -> None:
    head = make(temporal_head="transformer", temporal_window=8)
    _, state = run(head, features(1, 20))
    expected, _ = run(head, features(1, 6), state)
    # The same twenty frames, but as if after forty days at 25 frames per second.
    late = head.empty_state(1, like=features(1, 1))
    late = ZenTemporalState(late.head, (late.tensors[0] + 90_000_000, *late.tensors[1:]))
    _, late = run(head, features(1, 20), late)
    # What was there before those frames are zeros here, and in the window of the first of them: 3 layers look back 21.
    _, late = run(head, features(1, 20), late)
    _, state = run(head, features(1, 20), state)
    shown, _ = run(head, features(1, 6), late)
    expected, _ = run(head, features(1, 6), state)
    torch.testing.assert_close(shown, expected, atol=1e-5, rtol=0)


def test_rotary_positions() -> None:
    cos, sin = rotary_in_time(torch.tensor([0, 1000]), 3, 8)
    assert cos.shape == sin.shape == (2, 1, 3, 4)
    speeds = ROTARY_THETA ** (-torch.arange(4, dtype=torch.float64) / 4)
    angles = torch.arange(3, dtype=torch.float64)[:, None] * speeds
    torch.testing.assert_close(cos[0, 0].double(), angles.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(sin[0, 0].double(), angles.sin(), atol=1e-5, rtol=0)
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
    scores = [
        turn(query, cos[row, :, 2:], sin[row, :, 2:]) @ turn(key, cos[row, :, :1], sin[row, :, :1]).transpose(-2, -1)
        for row in range(2)
    ]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-6, rtol=0)  # only the difference counts


def test_window_masks() -> None:
    first, later = window_masks(2, 3, torch.tensor([0, 1, 7]), torch.float32)
    seen = later == 0
    assert seen.tolist() == [[True, True, True, False], [False, True, True, True]]
    assert (first[:, 0] == 0).tolist() == [
        [[False, False, True, False], [False, False, True, True]],
        [[False, True, True, False], [False, True, True, True]],
        seen.tolist(),
    ]
