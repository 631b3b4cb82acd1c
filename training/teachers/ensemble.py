"""All teachers of a run asked about one batch: in portions, and resting on the CPU, where memory is short."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor

from training.teachers.encoding import TeacherOutput
from training.teachers.spec import Size
from training.teachers.teacher import Teacher


class TeacherEnsemble:
    """Asks teachers about images.

    Args:
        teachers: by name. Parked ones are on the CPU, others must be on the device of the images.
        chunk: images per forward pass, 0 for the whole batch. It changes speed and memory, not what is computed.
        park: keep the teachers on the CPU and lend one at a time to the device of the images.
    """

    def __init__(self, teachers: Mapping[str, Teacher], chunk: int = 0, park: bool = False) -> None:
        self.teachers = dict(teachers)
        self._chunk, self._park = chunk, park

    def ask(self, name: str, images: Tensor, size: Size, shared: Tensor | None = None) -> TeacherOutput:
        """Features of a batch by one teacher.

        Args:
            name: of the teacher.
            images: float `(B, 3, H, W)` in [0, 1].
            size: input (height, width) in pixels that they are resized to.
            shared: int64 `(B,)`; neighbours of one number are the frames of one clip (see `ViewBatch.shared`), which a
                video teacher encodes together. Without it every frame is a clip of its own.
        """
        teacher = self.teachers[name]
        together = shared if teacher.spec.kind == "video" else None
        with teacher.lent_to(images.device) if self._park else nullcontext():
            parts = [
                teacher(images[own], size=size, frames=frames)
                for own, frames in portions(len(images), self._chunk, together)
            ]
        if len(parts) == 1:
            return parts[0]
        summaries = [part.summary for part in parts if part.summary is not None]
        maps = [part.dense for part in parts if part.dense is not None]
        return TeacherOutput(
            summary=torch.cat(summaries) if summaries else None, dense=torch.cat(maps) if maps else None
        )


def portions(count: int, chunk: int, shared: Tensor | None = None) -> Iterator[tuple[slice, int]]:
    """The rows of each forward pass, and how many neighbours in them are one clip.

    A portion holds at most `chunk` images (0: no limit), but at least one clip: clips are not cut. Its clips are of one
    length.

    Args:
        count: images in the batch.
        chunk: most images of a portion.
        shared: int64 `(count,)`, see `TeacherEnsemble`.
    """
    lengths = [1] * count if shared is None else torch.unique_consecutive(shared, return_counts=True)[1].tolist()
    start = end = 0
    for position, length in enumerate(lengths):
        if end > start and (length != lengths[position - 1] or (chunk and end + length - start > chunk)):
            yield slice(start, end), lengths[position - 1]
            start = end
        end += length
    if end > start:
        yield slice(start, end), lengths[-1]
