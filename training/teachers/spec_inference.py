"""The spec of a teacher nobody has registered, from its configuration and a dry forward pass."""

from typing import Any

import torch
from torch import Tensor, nn

from training.errors import UserError
from training.teachers.checkpoint import VIDEO_MODELS, Checkpoint
from training.teachers.encoding import encode
from training.teachers.preprocessing import Preprocessing
from training.teachers.spec import Size, TeacherSpec

# Legal edges of an unregistered teacher with resizable inputs, in dense cells: wide, but a typing mistake stays out.
_CELLS = (2, 128)
_DEFAULT_SIZE = 224  # when neither processor nor configuration names one; the size of most checkpoints
_STRIDES = (4, 8, 16, 32, 64)  # total strides of CNNs in use


@torch.no_grad()
def infer_spec(checkpoint: Checkpoint, model: nn.Module, preprocessing: Preprocessing) -> TeacherSpec:
    """Work out where an unregistered teacher's tokens are.

    The patch size comes from the configuration (a CNN's stride from the size of its map), the number of prefix tokens
    from the configuration where it says so and from the count otherwise. Inputs other than the processor's are legal
    only if a dry run with one gives the grid that the patch size promises.

    Raises:
        UserError: the configuration and the output do not fit together.
    """
    config: Any = model.config
    if config.model_type in VIDEO_MODELS:
        return video_spec(checkpoint.name, checkpoint.public_name, config, checkpoint.licence, checkpoint.source)
    size = _usual_size(config, preprocessing)
    try:
        hidden, pooled = encode(model, torch.zeros(1, 3, *size))
    except (AssertionError, ValueError, RuntimeError, TypeError) as error:  # how models refuse an input
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"teacher {checkpoint.name!r}: a {config.model_type!r} model does not take a {size[0]}x{size[1]} image "
            f"({reason}); image encoders and {', '.join(sorted(VIDEO_MODELS))} can be teachers"
        ) from error
    kind = "map" if hidden.ndim == 4 else "tokens"
    patch = _map_stride(checkpoint, hidden, size) if kind == "map" else _declared_patch(checkpoint, model)
    prefix = 0 if kind == "map" else _prefix_tokens(checkpoint, model, hidden, size, patch)
    without_pooler = "first_token" if prefix else "mean"
    resizable = _takes_other_sizes(model, kind, patch, prefix)
    return TeacherSpec(
        name=checkpoint.name,
        repo=checkpoint.public_name,
        kind=kind,
        summary=without_pooler if pooled is None else "pooler",
        dense=True,
        patch_size=patch,
        min_size=_CELLS[0] * patch,
        max_size=_CELLS[1] * patch,
        size_multiple=patch,
        roles=("summary", "dense"),
        licence=checkpoint.licence,
        source=checkpoint.source,
        num_prefix_tokens=prefix,
        fixed_size=None if resizable else size,
    )


def video_spec(name: str, repo: str, config: Any, licence: str, source: str) -> TeacherSpec:
    """Of a V-JEPA 2: one size, because its rotary positions count along the rows of that size."""
    size = (config.crop_size, config.crop_size)
    return TeacherSpec(
        name=name,
        repo=repo,
        kind="video",
        summary="mean",
        dense=True,
        patch_size=config.patch_size,
        min_size=config.crop_size,
        max_size=config.crop_size,
        size_multiple=config.patch_size,
        roles=("summary", "dense"),
        licence=licence,
        source=source,
        tubelet_size=config.tubelet_size,
        fixed_size=size,
    )


def _usual_size(config: Any, preprocessing: Preprocessing) -> Size:
    """The input size the model was made for: its processor's, else its configuration's."""
    if preprocessing.size is not None:
        return preprocessing.size
    size = getattr(config, "image_size", None) or _DEFAULT_SIZE
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _map_stride(checkpoint: Checkpoint, hidden: Tensor, size: Size) -> int:
    """Input pixels per cell of a CNN's map `(1, D, h, w)`, the same along both axes."""
    strides = {
        tuple(s for s in _STRIDES if cells in (edge // s, -(-edge // s)))  # CNNs floor or, with padding, ceil
        for edge, cells in zip(size, hidden.shape[2:], strict=True)
    }
    if len(strides) != 1 or len(next(iter(strides))) != 1:
        raise UserError(
            f"teacher {checkpoint.name!r}: a {size[0]}x{size[1]} input gives a map of {tuple(hidden.shape)[1:]} "
            "(width, rows, columns expected), which is no single stride"
        )
    return strides.pop()[0]


def _declared_patch(checkpoint: Checkpoint, model: nn.Module) -> int:
    """Patch size in pixels as the configuration (or timm's patch embedding) states it."""
    config: Any = model.config
    if config.model_type == "dinov3_convnext":
        return 4 * 2 ** (len(config.hidden_sizes) - 1)  # a CNN that flattens its map; stem 4, then halving stages
    timm_model: Any = getattr(model, "timm_model", None)
    patch = getattr(config, "patch_size", None) or getattr(getattr(timm_model, "patch_embed", None), "patch_size", None)
    edges = {patch} if isinstance(patch, int) else set(patch or ())
    if len(edges) != 1:
        raise UserError(
            f"teacher {checkpoint.name!r}: it gives tokens, but its configuration states no square patch_size; "
            "register it in training/teachers/registry.py"
        )
    return int(edges.pop())


def _prefix_tokens(checkpoint: Checkpoint, model: nn.Module, hidden: Tensor, size: Size, patch: int) -> int:
    """Tokens before the patches: counted, and compared with the configuration where it states them."""
    config: Any = model.config
    counted = hidden.shape[1] - (size[0] // patch) * (size[1] // patch)
    declared: int | None = None
    timm_model: Any = getattr(model, "timm_model", None)
    if timm_model is not None:
        declared = getattr(timm_model, "num_prefix_tokens", None)
    elif hasattr(config, "num_register_tokens"):
        declared = getattr(config, "num_summary_tokens", 1) + config.num_register_tokens
    if size[0] % patch or size[1] % patch:
        raise UserError(
            f"teacher {checkpoint.name!r}: its processor prepares {size[0]}x{size[1]} images, no multiple of its patch "
            f"of {patch} pixels, so its grid would not cover the image; take a checkpoint whose size is a multiple"
        )
    if counted < 0 or (counted != declared if declared is not None else counted > 2):
        expected = f"{declared} prefix tokens" if declared is not None else "at most 2 prefix tokens"
        raise UserError(
            f"teacher {checkpoint.name!r}: a {size[0]}x{size[1]} input with patch_size={patch} gives {hidden.shape[1]} "
            f"tokens, which leaves {counted} for the prefix, not {expected}; register it in "
            "training/teachers/registry.py"
        )
    return counted


def _takes_other_sizes(model: nn.Module, kind: str, patch: int, prefix: int) -> bool:
    """Whether an input of another size and aspect ratio gives the grid its patch size promises."""
    rows, columns = 4, 6
    try:
        hidden, _ = encode(model, torch.zeros(1, 3, rows * patch, columns * patch))
    except (AssertionError, ValueError, RuntimeError):  # how timm, transformers and torch refuse a size
        return False
    if kind == "map":
        return tuple(hidden.shape[2:]) == (rows, columns)
    return hidden.shape[1] == prefix + rows * columns
