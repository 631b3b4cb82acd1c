"""Frames per second of every ZEN size against DINOv3 of transformers and two ViTs of timm, of equal shape.

    python -m benchmarks.model_throughput [--sizes nano tiny small base large] [--rounds 12] [--batch 4] [--threads 2]

All have random weights, float32, the same input, eager PyTorch. timm's `Eva` has rotary positions, as ZEN and DINOv3
have; its `VisionTransformer` has learned ones, which cost nothing.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from benchmarks.timing import show_ratio, speed_ratio, take_turns
from modeling_zen import ZEN_SIZES, ZenConfig, ZenModel


def equal_models(size: str) -> dict[str, nn.Module]:
    """ZEN of that size and the others with as many tokens, layers, heads and channels."""
    config = ZenConfig.from_size(size)
    width, layers, heads = ZEN_SIZES[size]
    registers = config.num_register_tokens
    dinov3 = DINOv3ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        num_register_tokens=registers,
    )
    shape: dict[str, Any] = {"img_size": 224, "patch_size": 16, "embed_dim": width, "depth": layers, "num_heads": heads}
    shape |= {"init_values": 0.1, "num_classes": 0, "global_pool": "token"}
    rotary: dict[str, Any] = {
        "use_abs_pos_emb": False,
        "use_rot_pos_emb": True,
        "rope_type": "dinov3",
        "dynamic_img_size": True,
    }
    models: dict[str, nn.Module] = {
        "zen": ZenModel(config),
        "transformers DINOv3": DINOv3ViTModel(dinov3),
        "timm Eva (rotary)": Eva(**shape, **rotary, num_reg_tokens=registers),
        "timm VisionTransformer": VisionTransformer(**shape, reg_tokens=registers),
    }
    return {name: model.eval() for name, model in models.items()}


def main() -> None:
    """Print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(ZEN_SIZES), choices=list(ZEN_SIZES))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pixels = torch.randn(arguments.batch, 3, 224, 224)
    print("| size | frames/s | vs transformers DINOv3 | vs timm Eva (rotary) | vs timm VisionTransformer |")
    print("|---|---:|---:|---:|---:|")
    for size in arguments.sizes:
        models = equal_models(size)
        with torch.inference_mode():
            seconds = take_turns({name: _run(model, pixels) for name, model in models.items()}, rounds=arguments.rounds)
        rate = arguments.batch / statistics.median(seconds["zen"])
        ratios = [show_ratio(speed_ratio(seconds, "zen", name)) for name in models if name != "zen"]
        print(f"| {size} | {rate:.1f} | {' | '.join(ratios)} |", flush=True)


def _run(model: nn.Module, pixels: torch.Tensor) -> Callable[[], object]:
    return lambda: model(pixels)


if __name__ == "__main__":
    main()
