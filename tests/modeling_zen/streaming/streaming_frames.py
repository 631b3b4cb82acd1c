"""Frames and models of the streaming tests, and what the models say offline."""

from typing import Any

import numpy as np
import torch

from modeling_zen import ZenConfig, ZenForVideoFrameClassification, ZenImageProcessor, ZenModel

FRAMES, FPS, HEIGHT, WIDTH = 40, 20, 48, 64
MULTI_LABEL = "multi_label_classification"


def small_config(model: ZenModel, **fields: Any) -> ZenConfig:
    """The config of the encoder with a head of few layers."""
    small = {"temporal_hidden_size": 16, "temporal_num_layers": 3, "temporal_num_heads": 2, "temporal_window": 5}
    return ZenConfig(**{**model.config.to_diff_dict(), **small, **fields})


def with_trunk(head: Any, model: ZenModel) -> Any:
    """A head in evaluation mode, on a copy of the weights of `model`."""
    head.zen.load_state_dict(model.state_dict())
    return head.eval()


def striped_frames(count: int, start: int = 0) -> list[np.ndarray]:
    """uint8 (height, width, 3), each another one."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return [
        np.stack([(columns * 4 + 9 * n) % 256, (rows * 5 + 3 * n) % 256, np.full_like(rows, 6 * n % 256)], -1).astype(
            np.uint8
        )
        for n in range(start, start + count)
    ]


def offline(
    frames: torch.Tensor, model: ZenModel, processor: ZenImageProcessor, phase_head: Any, presence_head: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings, phase and presence probabilities of frames (n, height, width, 3) in one call of each model."""
    pixel_values = processor(images=list(frames.permute(0, 3, 1, 2)), return_tensors="pt").pixel_values
    with torch.no_grad():
        phases = phase_head(pixel_values[None]).logits[0].softmax(-1)
        if isinstance(presence_head, ZenForVideoFrameClassification):
            presence = presence_head(pixel_values[None]).logits[0].sigmoid()
        else:
            presence = presence_head(pixel_values).logits.sigmoid()
        return model(pixel_values).pooler_output, phases, presence
