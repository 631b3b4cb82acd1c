"""Causal temporal heads: what a frame means in the light of the frames before it, and of no other.

Both heads take the features of consecutive frames in pieces of any length and hand on a `ZenTemporalState`, in which
lies all that later frames can see of the earlier ones: a video in one call, frame by frame, or in any other pieces
gives the same logits. The state has the same size after a frame and after an hour.

Both count in frames, not in seconds: a head knows the frame rate that it was trained at and wants to be run at it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn
from transformers import initialization as init

from .configuration_zen import ZenConfig

ROTARY_THETA = 10_000.0  # ratio of the longest to the shortest period of positions in time; RoFormer, arXiv:2104.09864
ROTARY_TURN = 2**20  # steps of a full turn: any fraction of one is exact in float32


@dataclass(frozen=True)
class ZenTemporalState:
    """What a temporal head remembers of the videos that it has seen so far.

    Attributes:
        head: `ZenConfig.temporal_head` of the head it belongs to.
        tensors: All of (batch, ...); what they mean is the affair of the head.
    """

    head: str
    tensors: tuple[torch.Tensor, ...]

    @property
    def batch_size(self) -> int:
        """Number of videos."""
        return len(self.tensors[0])

    def to(self, device: torch.device | str) -> "ZenTemporalState":
        """The same state on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def detach(self) -> "ZenTemporalState":
        """The same state cut off from what made it, so that gradients end there (truncated backpropagation)."""
        return self._map(torch.Tensor.detach)

    def select(self, rows: torch.Tensor) -> "ZenTemporalState":
        """The state of the videos `rows` (videos,), integers or bool: reordered, repeated or left out."""
        return self._map(lambda tensor: tensor[rows.to(tensor.device)])

    @staticmethod
    def join(states: "list[ZenTemporalState]") -> "ZenTemporalState":
        """One state of all videos, in order; they may have seen different numbers of frames.

        Raises:
            ValueError: There is no state, or they are of different heads.
        """
        heads = sorted({state.head for state in states})
        if len(heads) != 1:
            raise ValueError(f"states of one head are joined, but these are of {' and '.join(heads) or 'none'}")
        tensors = zip(*(state.tensors for state in states), strict=True)
        return replace(states[0], tensors=tuple(torch.cat(each) for each in tensors))

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "ZenTemporalState":
        return replace(self, tensors=tuple(change(tensor) for tensor in self.tensors))


class ZenTemporalHead(nn.Module, ABC):
    """What both heads share: their state, and that it fits."""

    name: ClassVar[str]

    @abstractmethod
    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the tensors of a state, without the batch."""

    def empty_state(self, batch: int, like: torch.Tensor) -> ZenTemporalState:
        """The state before the first frame of `batch` videos, with device and dtype of `like`."""
        return ZenTemporalState(self.name, tuple(like.new_zeros(batch, *shape) for shape in self.state_shapes()))

    def check_state(self, state: ZenTemporalState, batch: int) -> None:
        """Refuse a state that another head made, or of other videos.

        Raises:
            ValueError: Naming what is there and what is wanted.
        """
        if not isinstance(state, ZenTemporalState):
            raise ValueError(f"temporal_state must be the one of an earlier output, not a {type(state).__name__}")
        if state.head != self.name:
            raise ValueError(
                f"temporal_state was made by a {state.head!r} head, but this model has a {self.name!r} one"
            )
        if state.batch_size != batch:
            raise ValueError(f"temporal_state holds {state.batch_size} videos, but there are frames of {batch}")
        shapes = [tuple(tensor.shape[1:]) for tensor in state.tensors]
        if shapes != self.state_shapes():
            raise ValueError(
                f"temporal_state was made by a {self.name!r} head of other sizes: per video it holds {shapes}, not "
                f"{self.state_shapes()}"
            )


class ZenTemporalLinear(nn.Linear):
    """A linear layer that starts as torch's own do, and so the convolutions of MS-TCN: see `init_as_torch`.

    With the narrow weights of a ViT, what reads a handful of numbers, such as the probabilities of the stage before or
    the position in a clip, would be drowned by everything else at first.
    """


def init_as_torch(layer: ZenTemporalLinear) -> None:
    """Draw the weights from U(-1, 1) / sqrt(inputs)."""
    init.kaiming_uniform_(layer.weight, a=math.sqrt(5))


class ZenTemporalConvolutionLayer(nn.Module):
    """A dilated causal convolution, ReLU and a 1 x 1 convolution, added to what came in (arXiv:1903.01945, eq. 2-3).

    The convolution is written as one linear layer over the frames that it reads side by side, which for a single frame
    is several times faster on a CPU than a convolution with dilation.
    """

    def __init__(self, config: ZenConfig, dilation: int) -> None:
        super().__init__()
        width = config.temporal_hidden_size
        self.dilation = dilation
        self.kernel_size = config.temporal_kernel_size
        self.history = (self.kernel_size - 1) * dilation  # frames that it looks back
        self.dilated = ZenTemporalLinear(self.kernel_size * width, width)
        self.pointwise = ZenTemporalLinear(width, width)
        self.dropout = nn.Dropout(config.temporal_dropout or 0.0)

    def forward(self, hidden_states: torch.Tensor, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, frames, width) and the `history` frames before them -> the same two shapes."""
        frames = hidden_states.shape[1]
        seen = torch.cat((past, hidden_states), dim=1)
        # kernel x (batch, frames, width) -> (batch, frames, kernel * width), the oldest first
        read = [seen[:, start : start + frames] for start in range(0, self.history + 1, self.dilation)]
        update = self.pointwise(nn.functional.relu(self.dilated(torch.cat(read, dim=-1))))
        return hidden_states + self.dropout(update), _last(seen, self.history, dim=1)


class ZenTemporalStage(nn.Module):
    """Layers whose dilation doubles: with kernel 3, nine of them look back 1022 frames (arXiv:1903.01945, 3.1)."""

    def __init__(self, config: ZenConfig, in_features: int) -> None:
        super().__init__()
        self.in_proj = ZenTemporalLinear(in_features, config.temporal_hidden_size)
        self.layers = nn.ModuleList(
            ZenTemporalConvolutionLayer(config, dilation=2**index) for index in range(config.temporal_num_layers)
        )
        assert config.num_labels is not None  # two if none were named
        self.classifier = ZenTemporalLinear(config.temporal_hidden_size, config.num_labels)

    def forward(
        self, hidden_states: torch.Tensor, past: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(batch, frames, in) and what each layer remembers -> logits (batch, frames, classes) and the same anew."""
        hidden_states = self.in_proj(hidden_states)
        present = []
        for layer, before in zip(self.layers, past, strict=True):
            hidden_states, now = layer(hidden_states, before)
            present.append(now)
        return self.classifier(hidden_states), present


class ZenTemporalConvolution(ZenTemporalHead):
    """A multi-stage temporal convolution (MS-TCN, arXiv:1903.01945), causal as in TeCNO (arXiv:2003.10751).

    The first stage reads frame features; each further one reads the probabilities of the one before and mends them.
    Before the first frame every layer sees zeros. The state holds, per stage and layer, the frames that the layer still
    reads: with the default settings 1022 x 64 numbers per stage.
    """

    name = "convolution"

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.multi_label = config.problem_type == "multi_label_classification"
        assert config.num_labels is not None  # two if none were named
        inputs = [config.hidden_size, *[config.num_labels] * (config.temporal_num_stages - 1)]
        self.stages = nn.ModuleList(ZenTemporalStage(config, in_features) for in_features in inputs)
        histories = [(config.temporal_kernel_size - 1) * 2**index for index in range(config.temporal_num_layers)]
        self._shapes = [(frames, config.temporal_hidden_size) for _ in inputs for frames in histories]

    def state_shapes(self) -> list[tuple[int, ...]]:
        """Per stage and layer (frames, width)."""
        return list(self._shapes)

    def forward(self, features: torch.Tensor, state: ZenTemporalState) -> tuple[torch.Tensor, ZenTemporalState]:
        """Logits of every stage and the state after these frames.

        Args:
            features: (batch, frames, hidden).
            state: After the frames before; `empty_state` before the first.

        Returns:
            Logits (batch, stages, frames, classes), and the new state.
        """
        per_stage = len(state.tensors) // len(self.stages)
        logits: list[torch.Tensor] = []
        present: list[torch.Tensor] = []
        for index, stage in enumerate(self.stages):
            if logits:
                features = logits[-1].sigmoid() if self.multi_label else logits[-1].softmax(dim=-1)
            scores, now = stage(features, state.tensors[index * per_stage : (index + 1) * per_stage])
            logits.append(scores)
            present += now
        return torch.stack(logits, dim=1), ZenTemporalState(self.name, tuple(present))


class ZenTemporalAttentionLayer(nn.Module):
    """Self-attention over a window of past frames and an MLP, each normalised before and added to what came in."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        width = config.temporal_hidden_size
        self.num_heads = config.temporal_num_heads
        self.window = config.temporal_window
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.qkv_proj = ZenTemporalLinear(width, 3 * width)
        self.o_proj = ZenTemporalLinear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.up_proj = ZenTemporalLinear(width, 4 * width)
        self.down_proj = ZenTemporalLinear(4 * width, width)
        self.dropout = nn.Dropout(config.temporal_dropout or 0.0)

    def forward(
        self,
        hidden_states: torch.Tensor,
        past: torch.Tensor,
        masks: tuple[torch.Tensor, torch.Tensor],
        rotary: tuple[torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, frames, width) -> the same shape, and the keys and values that frames to come will see.

        Args:
            hidden_states: (batch, frames, width).
            past: (batch, 2, heads, window - 1, head_dim), keys (turned) and values of the frames before.
            masks: As `window_masks` makes them.
            rotary: As `rotary_in_time` makes them, for these frames.
        """
        frames = hidden_states.shape[1]
        projected = self.qkv_proj(self.norm1(hidden_states)).unflatten(-1, (3, self.num_heads, -1))
        # (batch, frames, 3, heads, head_dim) -> 3 x (batch, heads, frames, head_dim)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        query, key = turn(query, *rotary), turn(key, *rotary)
        seen = torch.cat((past, torch.stack((key, value), dim=1)), dim=-2)
        blocks = []
        for start in range(0, frames, self.window):
            # One window of queries at a time: memory grows with the window, not with the frames.
            count = min(self.window, frames - start)
            key, value = seen[..., start : start + self.window - 1 + count, :].unbind(1)
            mask = masks[1 if start else 0][..., :count, : key.shape[-2]]
            query_block = query[..., start : start + count, :]
            blocks.append(nn.functional.scaled_dot_product_attention(query_block, key, value, attn_mask=mask))
        # (batch, heads, frames, head_dim) -> (batch, frames, width)
        attended = torch.cat(blocks, dim=-2).transpose(1, 2).flatten(-2)
        hidden_states = hidden_states + self.dropout(self.o_proj(attended))
        update = self.down_proj(nn.functional.gelu(self.up_proj(self.norm2(hidden_states))))
        return hidden_states + self.dropout(update), _last(seen, self.window - 1, dim=-2)


class ZenTemporalTransformer(ZenTemporalHead):
    """A causal transformer: in each layer a frame sees itself and the `temporal_window - 1` frames before it.

    Through all layers it reaches back `temporal_num_layers * (temporal_window - 1)` frames. Positions are rotary
    (RoFormer, arXiv:2104.09864): only differences between frames count, and how many frames there were before does not
    matter. The state holds how many there were, and the keys and values of the last `temporal_window - 1`.

    There is one stage; `temporal_num_stages` and `temporal_kernel_size` are idle. `temporal_dropout` acts on the
    residual branches.
    """

    name = "transformer"

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.window = config.temporal_window
        self.head_dim = config.temporal_hidden_size // config.temporal_num_heads
        self.in_proj = ZenTemporalLinear(config.hidden_size, config.temporal_hidden_size)
        self.layers = nn.ModuleList(ZenTemporalAttentionLayer(config) for _ in range(config.temporal_num_layers))
        self.norm = nn.LayerNorm(config.temporal_hidden_size, eps=config.layer_norm_eps)
        assert config.num_labels is not None  # two if none were named
        self.classifier = ZenTemporalLinear(config.temporal_hidden_size, config.num_labels)
        cache = (2, config.temporal_num_heads, self.window - 1, self.head_dim)
        self._shapes = [(), *[cache] * config.temporal_num_layers]

    def state_shapes(self) -> list[tuple[int, ...]]:
        """A number, and per layer (2, heads, window - 1, head_dim)."""
        return list(self._shapes)

    def empty_state(self, batch: int, like: torch.Tensor) -> ZenTemporalState:
        """As in the base class; the number of frames seen is an integer."""
        state = super().empty_state(batch, like)
        return replace(state, tensors=(state.tensors[0].long(), *state.tensors[1:]))

    def forward(self, features: torch.Tensor, state: ZenTemporalState) -> tuple[torch.Tensor, ZenTemporalState]:
        """Logits and the state after these frames.

        Args:
            features: (batch, frames, hidden).
            state: After the frames before; `empty_state` before the first.

        Returns:
            Logits (batch, 1, frames, classes), and the new state.
        """
        before_these, *past = state.tensors
        frames = features.shape[1]
        masks = window_masks(min(frames, self.window), self.window, before_these, features.dtype)
        rotary = rotary_in_time(before_these, frames, self.head_dim)
        hidden_states = self.in_proj(features)
        present = [before_these + frames]
        for layer, before in zip(self.layers, past, strict=True):
            hidden_states, now = layer(hidden_states, before, masks, rotary)
            present.append(now)
        logits = self.classifier(self.norm(hidden_states))
        return logits.unsqueeze(1), ZenTemporalState(self.name, tuple(present))


def window_masks(
    frames: int, window: int, before_these: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of `window - 1` earlier and `frames` own frames each of the latter sees: those of its window.

    Args:
        frames: Queries.
        window: Frames that a query sees, itself included.
        before_these: (batch,), integers: frames that there were before; where fewer than `window - 1`, only the last
            that many of the earlier ones are real.
        dtype: Of the result.

    Returns:
        To be added to scores, 0 or -infinity: (batch, 1, frames, window - 1 + frames) with regard to `before_these`,
        and (frames, window - 1 + frames) without.
    """
    earlier = window - 1
    key = torch.arange(earlier + frames, device=before_these.device)
    query = torch.arange(frames, device=before_these.device).unsqueeze(1)
    unseen = (key < query) | (key > query + earlier)
    unreal = key < earlier - before_these.unsqueeze(1)
    band = torch.zeros(unseen.shape, dtype=dtype, device=unseen.device).masked_fill(unseen, -torch.inf)
    return band.masked_fill(unreal[:, None, None], -torch.inf), band


def rotary_in_time(before_these: torch.Tensor, frames: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of `t * ROTARY_THETA ** (-2 k / head_dim)` for frame t and channel pair k (RoFormer, 3.2).

    The speeds are rounded to whole steps of 2 ** -20 turns, so that the angle of a frame is as exact after a day as at
    the start: how far along a video is must not change what a frame sees.

    Args:
        before_these: (batch,), integers: number of the first frame.
        frames: How many there are.
        head_dim: Channels to turn, in pairs.

    Returns:
        cos, sin: Both (batch, 1, frames, head_dim / 2), float32.
    """
    speeds = [ROTARY_TURN * ROTARY_THETA ** (-2 * pair / head_dim) / (2 * math.pi) for pair in range(head_dim // 2)]
    steps = torch.tensor([round(speed) for speed in speeds], device=before_these.device)
    # (batch, 1, frames, 1)
    numbers = (before_these[:, None] + torch.arange(frames, device=before_these.device))[:, None, :, None]
    angles = (numbers * steps % ROTARY_TURN).float() * (2 * math.pi / ROTARY_TURN)
    return angles.cos(), angles.sin()


def turn(tokens: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the channel pairs (k, k + head_dim / 2) of (batch, heads, frames, head_dim) by the angle of their frame."""
    first, second = tokens.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(tokens.dtype)


def _last(seen: torch.Tensor, frames: int, dim: int) -> torch.Tensor:
    """The last `frames` along `dim`; a copy where all of a long `seen` would otherwise stay in memory with them."""
    rest = seen.narrow(dim, seen.shape[dim] - frames, frames)
    return rest.clone() if seen.shape[dim] > 2 * frames else rest


TEMPORAL_HEADS: dict[str, type[ZenTemporalHead]] = {
    head.name: head for head in (ZenTemporalConvolution, ZenTemporalTransformer)
}

__all__ = [
    "TEMPORAL_HEADS",
    "ZenTemporalConvolution",
    "ZenTemporalHead",
    "ZenTemporalLinear",
    "ZenTemporalState",
    "ZenTemporalTransformer",
    "init_as_torch",
]
