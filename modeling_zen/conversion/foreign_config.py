"""Reading the config.json of a transformers model."""

from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from .checkpoint import Checkpoint
from .family import Options
from .sizes import check_heads


def read_config(checkpoint: Checkpoint, options: Options) -> Any:
    """The config of a transformers model, with the defaults of its class for what the file does not say.

    Args:
        checkpoint: With a config.
        options: Of the caller. The config knows better: they may only say the same.

    Raises:
        ValueError: The config is not valid or contradicts `options`, or its patches are no squares.
    """
    fields, name = dict(checkpoint.config or {}), checkpoint.name
    try:
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ValueError(f"config.json of {name} is not valid: {' '.join(str(error).split())}") from error
    # Positions of RADIO belong to the largest image that it takes.
    size = getattr(config, "max_img_size", config.image_size)
    told = {
        "num_heads": config.num_attention_heads,
        "num_register_tokens": getattr(config, "num_register_tokens", getattr(config, "num_registers", 0)),
        "image_size": (size, size) if isinstance(size, int) else tuple(size),
    }
    for option, value in told.items():
        given = getattr(options, option)
        if given is not None and given != value:
            raise ValueError(f"config.json of {name} says {option} {value}, not {given}")
    check_heads(config.hidden_size, config.num_attention_heads, name)
    patch_side(config, name)
    return config


def zen_fields(config: Any, name: str) -> dict[str, Any]:
    """The fields of `ZenConfig` that all configs of transformers say alike."""
    patch = patch_side(config, name)
    return {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "patch_size": patch,
        "num_channels": config.num_channels,
        "image_size": image_size_of(patch_grid(config, name), patch),
        "layer_norm_eps": config.layer_norm_eps,
    }


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
