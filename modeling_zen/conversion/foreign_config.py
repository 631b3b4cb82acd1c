"""Reading the config.json of a transformers model."""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from .checkpoint import Checkpoint
from .sizes import check_heads


def read_config(checkpoint: Checkpoint, num_heads: int | None) -> Any:
    """The config of a transformers model, with the defaults of its class for what the file does not say.

    Args:
        checkpoint: With a config.
        num_heads: What the caller says about attention heads; the config knows better.

    Raises:
        ValueError: The config is not valid, contradicts `num_heads`, or its patches are no squares.
    """
    fields = dict(checkpoint.config or {})
    try:
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ValueError(f"config.json of {checkpoint.name} is not valid: {' '.join(str(error).split())}") from error
    heads = config.num_attention_heads
    if num_heads is not None and num_heads != heads:
        raise ValueError(f"config.json of {checkpoint.name} says {heads} attention heads, not {num_heads}")
    check_heads(config.hidden_size, heads, checkpoint.name)
    patch_side(config, checkpoint.name)
    return config


def patch_side(config: Any, name: str) -> int:
    """Side of a patch in pixels; `ValueError` if patches are no squares."""
    patch = config.patch_size
    sides = {patch} if isinstance(patch, int) else set(patch)
    if len(sides) != 1:
        raise ValueError(f"config.json of {name} has patches of {patch} pixels; ZEN has square ones")
    return int(sides.pop())


def patch_grid(config: Any, name: str) -> tuple[int, int]:
    """Rows and columns of patches of an image of the size in the config."""
    size, patch = config.image_size, patch_side(config, name)
    height, width = (size, size) if isinstance(size, int) else size
    return height // patch, width // patch


def image_size_of(grid: tuple[int, int], patch: int) -> int | tuple[int, int]:
    """`ZenConfig.image_size` for a grid of learned positions."""
    rows, columns = grid
    return rows * patch if rows == columns else (rows * patch, columns * patch)
