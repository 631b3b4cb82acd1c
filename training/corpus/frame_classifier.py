"""A trained classifier in the place of the out-of-body rule: any image-classification folder with the right label."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

import modeling_zen  # noqa: F401, makes the Auto classes know ZEN folders
from training.errors import UserError

OUT_OF_BODY = "out_of_body"  # the label whose probability is the score
SURGICAL = "surgical"


class FrameClassifier:
    """An image-classification model with its own image processor.

    Args:
        model: gives `logits` (batch, labels).
        processor: turns RGB images into its `pixel_values`.
        label: number of the label `out_of_body`.
    """

    def __init__(self, model: Any, processor: Any, label: int) -> None:
        self.model = model.eval()
        self.processor = processor
        self.label = label

    def out_of_body(self, frames: Sequence[np.ndarray]) -> list[float]:
        """Probability, softmax over all labels, that each of the frames, uint8 (H, W, 3) RGB, is outside the body."""
        if not frames:
            return []
        inputs = self.processor([Image.fromarray(frame) for frame in frames], return_tensors="pt")
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            logits = self.model(pixel_values=inputs["pixel_values"].to(device)).logits  # (batch, labels)
        return [float(value) for value in logits.float().softmax(-1)[:, self.label].cpu()]


@lru_cache(maxsize=1)
def open_frame_classifier(folder: str) -> FrameClassifier:
    """Load a model folder; opened again under the same path it is not read again.

    Raises:
        UserError: no model folder, no label `out_of_body`, no image processor, weights that are missing or do not fit.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise UserError(f"filters.out_of_body.model={folder!r} is no model folder: it holds no config.json")
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        # timm's wrapped processor exists in one backend only; asking for that one avoids a warning.
        backend = {"backend": "pil"} if config.model_type == "timm_wrapper" else {}
        processor = AutoImageProcessor.from_pretrained(path, local_files_only=True, **backend)
        model, report = AutoModelForImageClassification.from_pretrained(
            path, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"filters.out_of_body.model={folder!r} is no image-classification model with its image processor: "
            f"{lines[0]}"
        ) from error
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"], *map(str, report["mismatched_keys"])})
    if wrong:
        raise UserError(
            f"filters.out_of_body.model={folder!r}: config.json and the weights are not of one model, {len(wrong)} "
            f"tensors are missing or left over, such as {wrong[0]}"
        )
    labels = {name: int(number) for number, name in config.id2label.items()}
    if OUT_OF_BODY not in labels:
        known = ", ".join(sorted(labels)[:5])
        raise UserError(f"filters.out_of_body.model={folder!r} has no label {OUT_OF_BODY!r} in id2label, only: {known}")
    return FrameClassifier(model, processor, labels[OUT_OF_BODY])
