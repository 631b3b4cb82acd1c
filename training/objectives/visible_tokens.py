"""Encode some patches of an image only, as MAE and I-JEPA do: what is hidden costs nothing."""

import torch
from torch import Tensor

from modeling_zen import ZenModel
from modeling_zen.modeling_zen import axial_rotary_embedding, check_pixel_values


def take_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Tokens `(B, N, D)` at `indices` int64 `(B, n)`: `(B, n, D)`."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def encode_visible(student: ZenModel, pixel_values: Tensor, visible: Tensor) -> Tensor:
    """The student's `last_hidden_state` as if an image had only some of its patches, each in its true place.

    Args:
        student: of either kind of position embedding.
        pixel_values: normalised, `(B, 3, H, W)`.
        visible: int64 `(B, n)`, the patches to encode, counted row by row.

    Returns:
        `(B, prefix + n, hidden)`: summary tokens, registers, then the visible patches in the order of `visible`.

    Raises:
        ValueError: as `check_pixel_values`.
    """
    config = student.config
    rows, columns = check_pixel_values(pixel_values, config)
    prefix = torch.arange(config.num_prefix_tokens, device=visible.device).expand(len(visible), -1)
    kept = torch.cat([prefix, visible + config.num_prefix_tokens], dim=1)
    dtype = student.embeddings.patch_embeddings.weight.dtype
    hidden_states = take_tokens(student.embeddings(pixel_values.to(dtype)), kept)
    positions = None
    if config.position_embedding == "rotary":
        cos, sin = axial_rotary_embedding(
            rows,
            columns,
            head_dim=config.hidden_size // config.num_attention_heads,
            theta=config.rope_theta,
            device=hidden_states.device,
            min_period=config.rope_min_period,
            num_prefix_tokens=config.num_prefix_tokens,
        )
        # (B, prefix + n, head_dim) -> (B, 1, prefix + n, head_dim): the same for all heads
        positions = (cos[kept][:, None], sin[kept][:, None])
    for layer in student.layers:
        hidden_states = layer(hidden_states, position_embeddings=positions)
    return student.norm(hidden_states)


def context_tokens(student: ZenModel, encoded: Tensor) -> Tensor:
    """Of what `encode_visible` gave, the summary tokens and the patches: registers are for the student itself."""
    config = student.config
    return torch.cat([encoded[:, : config.num_summary_tokens], encoded[:, config.num_prefix_tokens :]], dim=1)
