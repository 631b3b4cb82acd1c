"""In which precision a teacher computes: float32 on CPUs, bfloat16 on GPUs that have it, or what the recipe says."""

import torch
from torch import nn

from training.errors import UserError

DTYPES = ("auto", "float32", "bfloat16")


def check_dtype(where: str, setting: str) -> None:
    """`UserError` naming `where` unless the setting is one of `DTYPES`."""
    if setting not in DTYPES:
        raise UserError(f"{where} must be {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {setting!r}")


def compute_dtype(setting: str, device: torch.device) -> torch.dtype:
    """What matrix products are computed in on `device`.

    CPUs compute in float32 whatever the setting: most have no bfloat16 units and would be slower. "auto" is bfloat16
    where the GPU has it (not emulated), else float32.
    """
    if device.type == "cpu" or setting == "float32":
        return torch.float32
    if setting == "bfloat16":
        return torch.bfloat16
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def lower_weights(network: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of linear layers in `dtype`, in place: half the memory of a transformer.

    Under autocast to `dtype` the features stay the same bit for bit, because autocast would cast these weights anyway,
    in every pass. Convolutions stay as they are: models take the type of their patch embedding for that of positions.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.to(dtype)
