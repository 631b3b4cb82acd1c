"""What a step of distillation costs in time and memory, measured on a few frames before step 0."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from training.allocation import AllocationMeter
from training.diagnostics.agreement import AgreementMeter
from training.loader import ViewBatch
from training.objectives.distillation import DistillationObjective
from training.teachers.encoding import TeacherOutput
from training.teachers.ensemble import TeacherEnsemble
from training.views import all_valid

_ROUNDS = 3  # the fastest counts: in the others something else ran
_ENOUGH_SECONDS = 0.5  # after which no further round is begun: a slow pass is known well enough from one


@dataclass(frozen=True)
class Line:
    """Bytes as a function of frames: `fixed + per_frame * frames`."""

    fixed: float
    per_frame: float

    def at(self, frames: int) -> float:
        """Bytes for so many frames."""
        return self.fixed + self.per_frame * frames

    @classmethod
    def through(cls, measure: Callable[[int], float], frames: int) -> "Line":
        """The line through what is measured at `frames` and at twice as many."""
        one, two = measure(frames), measure(2 * frames)
        return cls(2 * one - two, (two - one) / frames)


@dataclass(frozen=True)
class TeacherCost:
    """One teacher."""

    parameters: int
    weights_bytes: int
    seconds_per_frame: float
    target_bytes: int  # of one frame, float32
    passing: Line  # most bytes alive while it is asked about one portion, its answer included


@dataclass(frozen=True)
class StepCosts:
    """One process's share of a step; the optimiser is not in it."""

    frames: int  # that it was measured on
    on_cpu: bool  # then the loader's views and parked teachers lie in the same memory
    teachers: dict[str, TeacherCost]
    student_seconds_per_frame: float  # forward and backward, heads and losses included
    forward: Line  # most bytes alive in the student's forward pass: activations
    backward: Line  # and until the end of its backward pass; of few frames more is gradients than activations
    weights_bytes: int  # student, heads and normalisers
    student_bytes: int  # the student alone
    gradient_bytes: int  # of student and heads; float32, so 4 for each parameter that is trained
    image_bytes: int  # of one frame's main view

    def learning_bytes(self, frames: int) -> float:
        """Most bytes alive in forward and backward pass: many frames have their peak between them, few at the end."""
        return max(self.forward.at(frames), self.backward.at(frames))

    @property
    def target_bytes(self) -> int:
        """What all teachers say of one frame, float32."""
        return sum(teacher.target_bytes for teacher in self.teachers.values())

    @property
    def teachers_seconds_per_frame(self) -> float:
        """Time of all teachers."""
        return sum(teacher.seconds_per_frame for teacher in self.teachers.values())


class StepMeter:
    """Measures an objective whose normalisers are frozen; leaves it, and all generators, as they were.

    Args:
        objective: on its device.
        chunk: images per forward pass of a teacher in the run, 0 for the whole batch.
        park: whether the run's teachers rest on the CPU.
        frames_per_clip: frames that share a view.
        autocast: makes the context in which the run's forward pass is computed.
    """

    def __init__(
        self,
        objective: DistillationObjective,
        chunk: int,
        park: bool,
        frames_per_clip: int,
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._objective, self._autocast, self._clip = objective, autocast, frames_per_clip
        self._ensemble = TeacherEnsemble(objective.teachers, chunk, park)
        self._one_portion = TeacherEnsemble(objective.teachers, 0, park)
        self._device = objective.mean.device

    def measure(self, size: int, largest: int, frames: int) -> StepCosts:
        """Costs of a step.

        Args:
            size: side of the student's input in pixels, for the times.
            largest: side at which memory is measured.
            frames: whole clips, on which all is measured; memory on half of them too, so that a line goes through.
        """
        half = max(frames // 2 // self._clip, 1) * self._clip
        objective = self._objective
        with self._as_it_was():
            batch = self._batch(size, frames)
            targets = {name: self._ask(self._ensemble, name, batch) for name in objective.teachers}
            return StepCosts(
                frames=frames,
                on_cpu=self._device.type == "cpu",
                teachers={name: self._teacher_cost(name, batch, largest, half) for name in objective.teachers},
                student_seconds_per_frame=self._seconds(partial(self._learn, batch, targets)) / frames,
                forward=Line.through(partial(self._peak_of_learning, largest, False), half),
                backward=Line.through(partial(self._peak_of_learning, largest, True), half),
                weights_bytes=_num_bytes(*objective.parameters(), *objective.buffers()),
                student_bytes=_num_bytes(*objective.student.parameters()),
                gradient_bytes=_num_bytes(*(each for each in objective.parameters() if each.requires_grad)),
                image_bytes=3 * objective.view_size(largest) ** 2 * 4,
            )

    def _teacher_cost(self, name: str, batch: ViewBatch, largest: int, half: int) -> TeacherCost:
        teacher = self._objective.teachers[name]
        clip = self._batch(largest, self._clip)
        return TeacherCost(
            parameters=teacher.num_parameters,
            weights_bytes=teacher.num_bytes,
            seconds_per_frame=self._seconds(partial(self._ask, self._ensemble, name, batch)) / len(batch.images),
            target_bytes=_num_bytes(*_parts(self._ask(self._one_portion, name, clip))) // self._clip,
            passing=Line.through(partial(self._peak_of_asking, name, largest), half),
        )

    def _batch(self, size: int, frames: int) -> ViewBatch:
        """Smooth random views of whole clips, numbered as training views are."""
        edge = self._objective.view_size(size)
        coarse = torch.rand(frames, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        images = F.interpolate(coarse, size=(edge, edge), mode="bilinear").to(self._device)
        numbers = torch.arange(frames)
        zeros = torch.zeros(frames, dtype=torch.int64, device=self._device)
        return ViewBatch(
            images=images,
            numbers=numbers,
            valid=all_valid(frames, edge, self._device),
            clips=zeros,
            sources=zeros,
            procedures=zeros,
            shared=(numbers // self._clip).to(self._device),
            image_size=size,
        )

    def _ask(self, ensemble: TeacherEnsemble, name: str, batch: ViewBatch) -> TeacherOutput:
        plan = self._objective.plans_at(self._objective.student_size(batch))[name]
        return ensemble.ask(name, batch.images, plan.input_size, batch.shared)

    def _learn(self, batch: ViewBatch, targets: dict[str, TeacherOutput]) -> None:
        """Forward and backward, as the loop does it."""
        self._loss(batch, targets).backward()

    def _loss(self, batch: ViewBatch, targets: dict[str, TeacherOutput]) -> Tensor:
        with self._autocast():
            losses = self._objective(batch, targets, AgreementMeter())
        return torch.stack(list(losses.values())).sum()

    def _peak_of_asking(self, name: str, size: int, frames: int) -> int:
        """Most bytes alive while a teacher is asked about so many frames at once."""
        batch = self._batch(size, frames)
        with AllocationMeter(self._device, self._known(batch)) as meter:
            self._ask(self._one_portion, name, batch)
        return meter.peak

    def _peak_of_learning(self, size: int, backward: bool, frames: int) -> int:
        """Most bytes alive in the student's pass forward, or in that and backward, without images and targets."""
        batch = self._batch(size, frames)
        targets = {name: self._ask(self._ensemble, name, batch) for name in self._objective.teachers}
        self._objective.zero_grad()
        given = [part for output in targets.values() for part in _parts(output)]
        with AllocationMeter(self._device, [*self._known(batch), *given]) as meter:
            loss = self._loss(batch, targets)
            if backward:
                loss.backward()
        return meter.peak

    def _known(self, batch: ViewBatch) -> list[Tensor]:
        networks = [tensor for teacher in self._objective.teachers.values() for tensor in teacher.tensors()]
        return [*self._objective.parameters(), *self._objective.buffers(), *networks, batch.images, batch.valid]

    def _seconds(self, run: Callable[[], object]) -> float:
        """Of the fastest of some runs, after one that warms up."""
        run()
        seconds: list[float] = []
        while len(seconds) < _ROUNDS and sum(seconds) < _ENOUGH_SECONDS:
            self._wait()
            started = time.perf_counter()
            run()
            self._wait()
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    def _wait(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)

    @contextmanager
    def _as_it_was(self) -> Iterator[None]:
        """Put buffers and generators back, and drop gradients: training forward passes move both."""
        kept = [(buffer, buffer.clone()) for buffer in self._objective.buffers()]
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            yield
        self._objective.zero_grad()
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def _parts(output: TeacherOutput) -> list[Tensor]:
    return [part for part in (output.summary, output.dense) if part is not None]


def _num_bytes(*tensors: Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)
