"""A teacher as a backbone: the same frames, its own normalization, its own summary and dense tokens."""

from typing import Any

import numpy as np
import torch

from evaluation.backbones.backbone import Features, Identity, Role
from training.errors import UserError
from training.teachers import load_teacher


class TeacherBackbone:
    """A frozen teacher. One with a fixed input size gets the frames resized to it; all others get them as they are."""

    role: Role = "teacher"

    def __init__(self, name_or_repo: str, device: torch.device) -> None:
        """Load a teacher by name, Hub id or folder; `UserError` if there is none or it gives no dense tokens."""
        teacher: Any = load_teacher(name_or_repo)
        if teacher.dense_width is None:
            raise UserError(f"teacher {name_or_repo!r} gives no dense tokens; the benchmark needs them")
        self.name = str(teacher.spec.name)
        self.summary_width = int(teacher.summary_width or 0)
        self.dense_width = int(teacher.dense_width)
        self._teacher = teacher.to(device)
        self._device = device
        facts = teacher.identity()
        self.identity = Identity(
            id=str(facts["repo"]),
            revision=facts["revision"],
            weights_sha256=facts["weights_sha256"],
            preprocessing_sha256=facts["preprocessing_sha256"],
        )

    def check_size(self, image_size: int) -> None:
        """Raise `UserError` if the teacher cannot take square frames of `image_size` pixels."""
        if self._teacher.spec.fixed_size is None:
            self._teacher.check_size(image_size)

    @torch.inference_mode()
    def extract(self, images: np.ndarray) -> Features:
        """Features of images, uint8 (B, H, W, 3) RGB."""
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().to(self._device) / 255  # (B, 3, H, W) in [0, 1]
        output = self._teacher(pixels, size=self._teacher.spec.fixed_size)
        dense = output.dense.float().cpu().numpy()
        if output.summary is None:
            return Features(np.zeros((len(images), 0), dtype=np.float32), dense)
        return Features(output.summary.float().cpu().numpy(), dense)
