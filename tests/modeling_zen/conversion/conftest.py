"""Shared by the tests of the converters: random originals, and the comparison of their tokens with those of ZEN."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modeling_zen import ZenModel

# Largest difference of any token of any family below; float32.
TOLERANCE = 1e-4
# As trained; wide and larger; smaller. All multiples of a patch of 8 pixels.
SIZES = ((32, 32), (40, 64), (24, 16))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def randomise() -> Callable[[nn.Module], Any]:
    """Every parameter becomes a number that shows when it is dropped, also norms, scales, biases and tokens."""

    def apply(model: nn.Module) -> Any:
        generator = torch.Generator().manual_seed(0)
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            center = 1.0 if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")) else 0.0
            parameter.data = center + noise * (0.15 if parameter.ndim in (2, 4) else 0.3)
        return model.eval()

    return apply


@pytest.fixture
def max_error() -> Callable[..., float]:
    """Largest difference between `original(pixels)` (batch, tokens, hidden) and ZEN, over several sizes."""

    def compare(
        model: ZenModel, original: Callable[[torch.Tensor], torch.Tensor], sizes: tuple[tuple[int, int], ...] = SIZES
    ) -> float:
        errors = []
        for height, width in sizes:
            pixels = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                wanted, got = original(pixels), model(pixels).last_hidden_state
            assert got.shape == wanted.shape
            assert wanted.std() > 0.1  # not all dropped by some zero
            errors.append(float((wanted - got).abs().max()))
        print(f"max error {max(errors):.1e}")
        assert max(errors) <= TOLERANCE
        return max(errors)

    return compare


@pytest.fixture
def save_folder(tmp_path: Path) -> Callable[..., Path]:
    """Save a model of transformers, and a processor beside it."""

    def save(model: Any, processor: Any = None, name: str = "source") -> Path:
        model.save_pretrained(tmp_path / name)
        if processor is not None:
            processor.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def norm_settings() -> dict[str, Any]:
    """For sources that do not say how images are normalised."""
    return {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def to_original_names(state: dict[str, torch.Tensor], dinov3: bool) -> dict[str, torch.Tensor]:
    """State dict of transformers' DINOv2 or DINOv3 in the names of the repositories of their authors.

    Written from those repositories, independently of the converters.
    """
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.mask_token": "mask_token",
        "embeddings.register_tokens": "storage_tokens" if dinov3 else "register_tokens",
        "embeddings.position_embeddings": "pos_embed",
    }
    result = {new: state[old] for old, new in names.items() if old in state}
    convolution = "embeddings.patch_embeddings" if dinov3 else "embeddings.patch_embeddings.projection"
    last_norm = "norm" if dinov3 else "layernorm"
    for part in ("weight", "bias"):
        result[f"patch_embed.proj.{part}"] = state[f"{convolution}.{part}"]
        result[f"norm.{part}"] = state[f"{last_norm}.{part}"]
    prefix = "model.layer" if dinov3 else "encoder.layer"
    for index in range(2):
        old, new = f"{prefix}.{index}.", f"blocks.{index}."
        for number in (1, 2):
            result[f"{new}ls{number}.gamma"] = state[f"{old}layer_scale{number}.lambda1"]
        for part in ("weight", "bias"):
            query, value = (state[f"{old}attention.{name}_proj.{part}"] for name in "qv")
            key = state.get(f"{old}attention.k_proj.{part}", torch.zeros_like(query))
            result[f"{new}attn.qkv.{part}"] = torch.cat([query, key, value])
            result[f"{new}attn.proj.{part}"] = state[f"{old}attention.o_proj.{part}"]
            result[f"{new}norm1.{part}"] = state[f"{old}norm1.{part}"]
            result[f"{new}norm2.{part}"] = state[f"{old}norm2.{part}"]
            result |= {f"{new}mlp.{name}.{part}": value for name, value in mlp_parts(state, old, part, dinov3).items()}
    return {key: value.detach().clone() for key, value in result.items()}


def mlp_parts(state: dict[str, torch.Tensor], layer: str, part: str, dinov3: bool) -> dict[str, torch.Tensor]:
    """The linear layers of one MLP: fc1 and fc2, or of a gated one w1 (or stacked, w12), w2 and w3."""
    first, gate = state.get(f"{layer}mlp.fc1.{part}"), state.get(f"{layer}mlp.gate_proj.{part}")
    if first is not None:
        return {"fc1": first, "fc2": state[f"{layer}mlp.fc2.{part}"]}
    up, down = state[f"{layer}mlp.up_proj.{part}"], state[f"{layer}mlp.down_proj.{part}"]
    if gate is None:
        return {"fc1": up, "fc2": down}
    return {"w1": gate, "w2": up, "w3": down} if dinov3 else {"w12": torch.cat([gate, up]), "w3": down}


@pytest.fixture
def original_names() -> Callable[..., dict[str, torch.Tensor]]:
    """`to_original_names`, for tests (which cannot import this file)."""
    return to_original_names


@pytest.fixture
def save_file(tmp_path: Path) -> Callable[..., Path]:
    """Save a dictionary with torch.save."""

    def save(content: Any, name: str = "weights.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save
