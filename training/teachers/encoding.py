"""One forward pass of any image or video encoder, and where in its output summary and dense tokens are."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import UserError
from training.teachers.spec import Size, TeacherSpec


@dataclass(frozen=True)
class TeacherOutput:
    """Features of one batch, float32.

    summary: `(batch, summary width)`, or `None` for a teacher without a summary.
    dense: `(batch, dense width, rows, columns)`, or `None` for a teacher without dense tokens.
    """

    summary: Tensor | None
    dense: Tensor | None


def encode(model: nn.Module, pixels: Tensor, layer: int | None = None) -> tuple[Tensor, Tensor | None]:
    """Run an image encoder on normalised `pixels` `(B, 3, H, W)`.

    Returns:
        Hidden state number `layer` (`last_hidden_state` if that is `None`), tokens `(B, N, D)` or a map `(B, D, h, w)`,
        and `pooler_output` or `None`.

    Raises:
        UserError: the model has no hidden state of that number.
    """
    config: Any = model.config
    if config.model_type == "siglip2_vision_model":
        output = model(**_naflex_inputs(pixels, config.patch_size))
    else:
        output = model(pixel_values=pixels, **({} if layer is None else {"output_hidden_states": True}))
    pooled = getattr(output, "pooler_output", None)
    if layer is None:
        return output.last_hidden_state, pooled
    states = output.hidden_states
    if not -len(states) <= layer < len(states):
        raise UserError(f"the spec says dense_layer={layer}, but the model has {len(states)} hidden states")
    return states[layer], pooled


def encode_clips(model: nn.Module, pixels: Tensor, frames: int, tubelet: int) -> Tensor:
    """Run a video encoder on normalised `pixels` `(B, 3, H, W)` of clips of `frames` neighbours each.

    Every frame is repeated to fill its tubelet, as the model itself does with a single image: so each has a dense grid
    of its own, which attends to the other frames of its clip.

    Returns:
        `last_hidden_state`, one row of tokens `(B, h*w, D)` per frame.
    """
    clips = pixels.unflatten(0, (-1, frames)).repeat_interleave(tubelet, dim=1)  # (B/T, T*tubelet, 3, H, W)
    hidden = model(pixel_values_videos=clips, skip_predictor=True).last_hidden_state
    return hidden.unflatten(1, (frames, -1)).flatten(0, 1)  # (B/T, T*h*w, D) -> (B, h*w, D)


def read_features(spec: TeacherSpec, grid: Size, hidden: Tensor, pooled: Tensor | None) -> TeacherOutput:
    """Find summary and dense tokens in an encoder's output.

    Args:
        spec: where they should be.
        grid: rows and columns of dense cells the input size promises.
        hidden: tokens `(B, N, D)`, of one frame each, or a map `(B, D, h, w)`.
        pooled: `(B, D)`, `(B, D, 1, 1)` or `None`.

    Raises:
        UserError: the output has another shape than the spec says.
    """
    dense = _dense_map(spec, grid, hidden)
    if spec.summary == "pooler":
        if pooled is None:
            raise UserError(
                f"teacher {spec.name!r}: its spec says summary='pooler' but the model gives no pooler_output"
            )
        summary: Tensor | None = pooled.flatten(1)  # (B, D, 1, 1) or (B, D) -> (B, D)
    elif spec.summary == "first_token":
        summary = hidden[:, 0]
    elif spec.summary == "mean":
        summary = dense.mean(dim=(2, 3))
    else:
        summary = None
    return TeacherOutput(
        summary=None if summary is None else summary.float(),
        dense=dense.float() if spec.dense else None,
    )


def _dense_map(spec: TeacherSpec, grid: Size, hidden: Tensor) -> Tensor:
    """Dense cells as `(B, D, rows, columns)`, checked against the promised grid."""
    rows, columns = grid
    if spec.kind == "map":
        if hidden.ndim != 4 or tuple(hidden.shape[2:]) != (rows, columns):
            raise UserError(
                f"teacher {spec.name!r}: its spec says a map of {rows}x{columns} cells (patch_size={spec.patch_size}), "
                f"but the model gives {tuple(hidden.shape)[1:]}"
            )
        return hidden
    if hidden.ndim != 3 or hidden.shape[1] != spec.num_prefix_tokens + rows * columns:
        raise UserError(
            f"teacher {spec.name!r}: its spec says {spec.num_prefix_tokens} prefix tokens and {rows}x{columns} patches "
            f"(patch_size={spec.patch_size}), but the model gives {tuple(hidden.shape)[1:]}"
        )
    # (B, prefix + rows*columns, D) -> (B, D, rows, columns)
    return hidden[:, spec.num_prefix_tokens :].transpose(1, 2).unflatten(2, (rows, columns))


def _naflex_inputs(pixels: Tensor, patch_size: int) -> dict[str, Tensor]:
    """SigLIP2 NaFlex takes patches instead of images: row-major, each flattened as (row, column, channel)."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // patch_size, width // patch_size
    # (B, C, rows, p, columns, p) -> (B, rows, columns, p, p, C) -> (B, rows*columns, p*p*C)
    cut = pixels.reshape(batch, channels, rows, patch_size, columns, patch_size).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": cut.reshape(batch, rows * columns, patch_size * patch_size * channels),
        "pixel_attention_mask": torch.ones(batch, rows * columns, dtype=torch.int32, device=pixels.device),
        "spatial_shapes": torch.tensor([[rows, columns]] * batch, device=pixels.device),
    }
