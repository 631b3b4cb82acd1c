"""What is measured, behind one interface: the student, a random one like it, its teachers and a color histogram."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modeling_zen import ZenModel
from training.diagnostics.color_histogram import color_histogram
from training.objectives.objective import student_pixels
from training.teachers import Teacher
from training.teachers.spec import Size
from training.teachers.teacher import TeacherOutput


class Subject(Protocol):
    """Any source of features."""

    @property
    def name(self) -> str:
        """In tables."""

    @property
    def role(self) -> str:
        """One of student, random_init, teacher, histogram."""

    @property
    def size(self) -> Size:
        """(height, width) in pixels at which it sees a frame."""

    def sizes(self, scales: Sequence[float]) -> dict[float, Size]:
        """Its legal input sizes nearest to these shares of `size`, without those that are `size` itself."""

    def __call__(self, images: Tensor, size: Size) -> TeacherOutput:
        """Features of images float (B, 3, V, V) in [0, 1] seen at `size`."""


def zen_features(model: ZenModel, pixels: Tensor) -> TeacherOutput:
    """All summary tokens of a frame side by side, and its dense tokens, float32, of normalized pixels (B, 3, H, W)."""
    hidden = model(pixel_values=pixels).last_hidden_state
    summary = model.summary_tokens(hidden).flatten(1)  # (B, S, W) -> (B, S*W)
    return TeacherOutput(summary.float(), model.dense_tokens(hidden, pixels.shape[-2], pixels.shape[-1]).float())


@dataclass(frozen=True)
class ZenSubject:
    """A ZEN, shown frames as in its training; `mean` and `std` are (1, 3, 1, 1)."""

    name: str
    role: str
    model: ZenModel
    mean: Tensor
    std: Tensor
    size: Size

    def sizes(self, scales: Sequence[float]) -> dict[float, Size]:
        """See `Subject`: the multiple of the patch nearest to each."""
        patch = self.model.config.patch_size
        edges = {scale: max(round(self.size[0] * scale / patch), 1) * patch for scale in scales}
        return {scale: (edge, edge) for scale, edge in edges.items() if edge != self.size[0]}

    def __call__(self, images: Tensor, size: Size) -> TeacherOutput:
        """See `Subject`."""
        return zen_features(self.model, student_pixels(images, size[0], self.mean, self.std))


@dataclass(frozen=True)
class TeacherSubject:
    """A teacher, at the size at which it teaches."""

    name: str
    teacher: Teacher
    size: Size
    role: str = "teacher"

    def sizes(self, scales: Sequence[float]) -> dict[float, Size]:
        """See `Subject`; none for a teacher of one size."""
        spec = self.teacher.spec
        if spec.fixed_size is not None:
            return {}
        found: dict[float, Size] = {}
        for scale in scales:
            wanted = self.size[0] * scale
            edge = min(spec.nearest_sizes(round(wanted)), key=lambda legal: abs(legal - wanted))
            if edge != self.size[0]:
                found[scale] = (edge, edge)
        return found

    def __call__(self, images: Tensor, size: Size) -> TeacherOutput:
        """See `Subject`."""
        return cast(TeacherOutput, self.teacher(images, size=size))


@dataclass(frozen=True)
class HistogramSubject:
    """Histograms of color, see `color_histogram`."""

    size: Size
    name: str = "color histogram"
    role: str = "histogram"

    def sizes(self, scales: Sequence[float]) -> dict[float, Size]:
        """See `Subject`: any size serves."""
        edges = {scale: round(self.size[0] * scale) for scale in scales}
        return {scale: (edge, edge) for scale, edge in edges.items() if edge != self.size[0]}

    def __call__(self, images: Tensor, size: Size) -> TeacherOutput:
        """See `Subject`."""
        resized = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        frames = (resized.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (B, H, W, 3)
        summaries, dense = zip(*(color_histogram(np.ascontiguousarray(frame)) for frame in frames), strict=True)
        return TeacherOutput(
            summary=torch.from_numpy(np.stack(summaries)).to(images.device),
            dense=torch.from_numpy(np.stack(dense)).to(images.device),
        )


def random_student(student: ZenModel, seed: int) -> ZenModel:
    """The student's architecture with weights drawn from `seed`, in eval mode; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ZenModel(student.config).eval().requires_grad_(False)
