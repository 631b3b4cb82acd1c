"""Features of one subject on the frames that are measured."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.diagnostics.subjects import Subject
from training.diagnostics.warps import WARPS
from training.errors import UserError
from training.teachers.spec import Size
from training.teachers.teacher import TeacherOutput


@dataclass(frozen=True)
class SubjectFeatures:
    """What is known of one subject.

    Attributes:
        subject: whose features they are.
        whole: of all held-out frames at the subject's own size.
        warped: of some of them, warped, by the name of the warp.
        resized: of the same, not warped, by scale.
    """

    subject: Subject
    whole: TeacherOutput
    warped: dict[str, TeacherOutput]
    resized: dict[float, TeacherOutput]


def frame_vectors(features: TeacherOutput) -> np.ndarray:
    """One vector per frame, float32 (N, D): the summary, or the mean dense token of a model without one."""
    if features.summary is not None:
        return features.summary.numpy()
    return dense_of(features).mean(dim=(2, 3)).numpy()


def dense_of(features: TeacherOutput) -> Tensor:
    """The dense tokens, float32 (N, D, h, w), which `features_of` has made sure of."""
    assert features.dense is not None
    return features.dense


def extract(
    subject: Subject, images: Tensor, rows: np.ndarray, scales: tuple[float, ...], batch_size: int, device: torch.device
) -> SubjectFeatures:
    """Show the subject all frames, and those of `rows` warped and at other sizes; errors as for `features_of`.

    Args:
        subject: whose features are wanted.
        images: uint8 (N, 3, V, V).
        rows: int (M,).
        scales: see `Subject.sizes`.
        batch_size: frames per forward pass.
        device: of the forward passes; features come back to the CPU.
    """
    sizes = subject.sizes(scales)
    some = images[torch.from_numpy(rows)]
    total = len(images) + len(rows) * (len(WARPS) + len(sizes))
    with tqdm(total=total, desc=subject.name, unit="frame") as bar:

        def see(frames: Tensor, size: Size, change: Callable[[Tensor], Tensor] | None = None) -> TeacherOutput:
            return features_of(subject, frames, size, batch_size, device, change, bar)

        whole = see(images, subject.size)
        warped = {warp.name: see(some, subject.size, warp.apply) for warp in WARPS}
        resized = {scale: see(some, size) for scale, size in sizes.items()}
    return SubjectFeatures(subject, whole, warped, resized)


@torch.no_grad()
def features_of(
    subject: Subject,
    images: Tensor,
    size: Size,
    batch_size: int,
    device: torch.device,
    change: Callable[[Tensor], Tensor] | None = None,
    bar: tqdm | None = None,
) -> TeacherOutput:
    """Features on the CPU of frames uint8 (N, 3, V, V) seen at `size`, after a `change` of the pictures if given.

    Raises:
        UserError: no dense tokens, or features that are not finite.
    """
    summaries, dense = [], []
    for part in images.split(batch_size):
        pictures = part.to(device).float() / 255
        output = subject(pictures if change is None else change(pictures), size)
        if output.dense is None:
            raise UserError(f"{subject.role} {subject.name!r} gives no dense tokens, which the report is about")
        dense.append(output.dense.cpu())
        summaries += [] if output.summary is None else [output.summary.cpu()]
        if bar is not None:
            bar.update(len(part))
    found = TeacherOutput(torch.cat(summaries) if summaries else None, torch.cat(dense))
    if not all(bool(part.isfinite().all()) for part in (found.summary, found.dense) if part is not None):
        raise UserError(f"features of {subject.role} {subject.name!r} hold NaN or infinity: its weights are broken")
    return found
