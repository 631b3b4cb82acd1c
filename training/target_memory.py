"""Remembers what the teachers said about fixed views, so that small corpora need not ask them again every epoch."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from training.loader import ViewBatch
from training.teachers.teacher import TeacherOutput

Targets = Mapping[str, TeacherOutput]


class TargetMemory:
    """Teacher outputs by view number, in half precision in the main memory, up to a limit.

    What is remembered and what is not never changes a result: every answer passes through half precision, also the
    first one and those that no longer fit. So a resumed run, whose memory starts empty, sees the same numbers.

    Args:
        ask: the teachers, a batch and the student's size -> outputs by name.
        limit_bytes: memory it may take; views beyond it are asked for every time. 0 neither remembers nor rounds.
    """

    def __init__(self, ask: Callable[[ViewBatch, int], Targets], limit_bytes: int) -> None:
        self._ask = ask
        self._free = limit_bytes
        self._enabled = limit_bytes > 0
        self._rows: dict[tuple[int, int], dict[str, TeacherOutput]] = {}  # by view and size

    def __len__(self) -> int:
        return len(self._rows)

    def __call__(self, batch: ViewBatch, image_size: int) -> Targets:
        """Outputs for a batch, float32, on the images' device."""
        if not self._enabled:
            return self._ask(batch, image_size)
        images = batch.images
        numbers = [(number, image_size) for number in batch.numbers.tolist()]
        if all(number in self._rows for number in numbers):
            rows = [self._rows[number] for number in numbers]
            return {name: _stack([row[name] for row in rows], images.device) for name in rows[0]}
        # Always the whole batch: a teacher's rounding may depend on the batch size.
        rounded = {name: _half(output) for name, output in self._ask(batch, image_size).items()}
        for position, number in enumerate(numbers):
            self._remember(number, {name: _row(output, position) for name, output in rounded.items()})
        return {name: _float(output, images.device) for name, output in rounded.items()}

    def _remember(self, number: tuple[int, int], row: dict[str, TeacherOutput]) -> None:
        size = sum(
            part.nbytes for output in row.values() for part in (output.summary, output.dense) if part is not None
        )
        held_out = number[0] < 0  # asked once by whoever measures
        if not held_out and number not in self._rows and size <= self._free:
            self._rows[number] = row
            self._free -= size


def _map(output: TeacherOutput, change: Callable[[Tensor], Tensor]) -> TeacherOutput:
    summary = None if output.summary is None else change(output.summary)
    dense = None if output.dense is None else change(output.dense)
    return TeacherOutput(summary=summary, dense=dense)


def _half(output: TeacherOutput) -> TeacherOutput:
    # Clamped, because a value beyond 65504 would become infinite.
    limit = torch.finfo(torch.float16).max
    return _map(output, lambda part: part.clamp(-limit, limit).to("cpu", torch.float16))


def _float(output: TeacherOutput, device: torch.device) -> TeacherOutput:
    return _map(output, lambda part: part.to(device, torch.float32))


def _row(output: TeacherOutput, position: int) -> TeacherOutput:
    # Cloned: a slice would keep the whole batch alive.
    return _map(output, lambda part: part[position].clone())


def _stack(rows: list[TeacherOutput], device: torch.device) -> TeacherOutput:
    def join(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.stack(present).to(device, torch.float32) if present else None

    return TeacherOutput(summary=join([row.summary for row in rows]), dense=join([row.dense for row in rows]))
