"""Multi-teacher distillation: one student trunk, two heads per teacher, losses in each teacher's normalised space."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from modeling_zen import ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives.branches import Branch, DenseBranch, SummaryBranch
from training.objectives.grids import valid_tokens
from training.objectives.objective import Objective
from training.target_memory import TargetMemory
from training.teachers.teacher import Teacher, TeacherOutput

BRANCHES: dict[str, type[Branch]] = {"summary": SummaryBranch, "dense": DenseBranch}


@dataclass(frozen=True)
class TeacherConfig:
    """One teacher of a run; its key in `teachers` is its name in every log."""

    repo: str = "???"  # registry name, Hub id or local folder
    revision: str | None = None  # commit to pin; null means the registry's
    input_size: int | None = None  # pixels of its square input; null matches its grid to the student's
    summary_weight: float = 1.0  # weight of the summary loss; 0 leaves the summary out
    dense_weight: float = 1.0  # weight of the dense loss; 0 leaves the dense tokens out
    summary_normalizer: str = "center"  # none | center | standardize | phi_s; angles need no more than a centre
    dense_normalizer: str = "phi_s"  # none | center | standardize | phi_s; keeps angles and evens out teachers (PHI-S)
    trust_remote_code: bool = False  # only with a pinned revision


@dataclass(frozen=True)
class DistillationConfig:
    """The objective's own settings."""

    head_width: int | None = None  # hidden width of the heads; null means max(1536, 2 x student width), as in EUPE
    calibration_frames: int = 2048  # frames that fix the normalisers; aim at 50 dense tokens per dimension

    def __post_init__(self) -> None:
        """Refuse sizes below one."""
        if self.head_width is not None and self.head_width < 1:
            raise UserError(f"distillation.head_width must be positive, got {self.head_width}")
        if self.calibration_frames < 2:
            raise UserError(f"distillation.calibration_frames must be at least 2, got {self.calibration_frames}")


@dataclass(frozen=True)
class Plan:
    """What one teacher is asked for: input size and grid in pixels and cells, which tokens count and how much."""

    input_size: tuple[int, int]
    grid: tuple[int, int]
    weights: Mapping[str, float] = field(default_factory=dict)


class DistillationObjective(Objective):
    """Losses "<teacher>/<tokens>" of a batch; `prepare` asks the teachers.

    The teachers are held outside the module tree on purpose: they have no entry in any state dict and no parameter of
    theirs can reach an optimiser.

    Args:
        student: the model to train.
        processor: its image processor; only mean and standard deviation are used.
        teachers: frozen teachers by name.
        configs: their settings by the same names.
        config: the objective's own settings.
        image_size: side of the student's square input in pixels.
        sizes: further sides at which the student will work; every teacher must have a legal size for each.
        memory_bytes: main memory for targets of views that come again; see `TargetMemory`.

    Raises:
        UserError: a size no multiple of a patch, a token kind the teacher does not give, or nothing to learn from.
    """

    def __init__(
        self,
        student: ZenModel,
        processor: ZenImageProcessor,
        teachers: Mapping[str, Teacher],
        configs: Mapping[str, TeacherConfig],
        config: DistillationConfig,
        image_size: int,
        sizes: Sequence[int] = (),
        memory_bytes: int = 0,
    ) -> None:
        super().__init__(student, processor, image_size)
        self.calibration_frames = config.calibration_frames
        self._teachers = dict(teachers)
        patch = student.config.patch_size
        self._plans = {
            size: {
                name: plan_teacher(name, teacher, configs[name], image_size, size, patch)
                for name, teacher in teachers.items()
            }
            for size in {image_size, *sizes}
        }
        self.plans = self._plans[image_size]
        self._memory = TargetMemory(self.targets, memory_bytes)
        width = student.config.hidden_size
        hidden = config.head_width or max(1536, 2 * width)
        self.branches = nn.ModuleDict()
        for name, teacher in teachers.items():
            modes = {"summary": configs[name].summary_normalizer, "dense": configs[name].dense_normalizer}
            widths = {"summary": teacher.summary_width, "dense": teacher.dense_width}
            self.branches[name] = nn.ModuleDict(
                {
                    tokens: BRANCHES[tokens](width, cast(int, widths[tokens]), hidden, modes[tokens])
                    for tokens in self.plans[name].weights
                }
            )
        self._check_calibration(config.calibration_frames)

    def branch(self, name: str, tokens: str) -> Branch:
        """The branch of teacher `name` for its "summary" or "dense" tokens."""
        return cast(Branch, cast(nn.ModuleDict, self.branches[name])[tokens])

    def view_size(self, image_size: int) -> int:
        """The largest of what the student and the teachers are shown."""
        return max(image_size, *(max(plan.input_size) for plan in self._plans[image_size].values()))

    def facts(self) -> dict[str, Any]:
        """`teachers.json`."""
        return {"teachers.json": self.describe_teachers()}

    def banner(self) -> list[str]:
        """A line per teacher."""
        return [
            f"teacher   {name}: {plan.input_size[0]}x{plan.input_size[1]} px, grid {plan.grid[0]}x{plan.grid[1]}, "
            + ", ".join(f"{tokens} x{weight:g}" for tokens, weight in plan.weights.items())
            for name, plan in self.plans.items()
        ]

    def describe_teachers(self) -> list[dict[str, Any]]:
        """Who teaches what at which size, as JSON-able dictionaries: the identity a resumed run must find again."""
        return [
            {
                "key": name,
                **self._teachers[name].identity(),
                "dense_layer": self._teachers[name].spec.dense_layer,
                "input_size": list(plan.input_size),
                "grid": list(plan.grid),
                "weights": dict(plan.weights),
            }
            for name, plan in self.plans.items()
        ]

    def targets(self, images: Tensor, image_size: int | None = None) -> dict[str, TeacherOutput]:
        """What every teacher says about `images` `(B, 3, H, W)` in [0, 1] when the student works at `image_size`."""
        plans = self._plans[image_size or self.image_size]
        return {name: teacher(images, size=plans[name].input_size) for name, teacher in self._teachers.items()}

    def prepare(self, batch: ViewBatch) -> Mapping[str, TeacherOutput]:
        """The teachers' answers for a batch, remembered where its views come again."""
        return self._memory(batch.images, batch.numbers, self.student_size(batch))

    def forward(
        self,
        batch: ViewBatch,
        prepared: Mapping[str, TeacherOutput] | None = None,
        meter: AgreementMeter | None = None,
    ) -> dict[str, Tensor]:
        """See `Objective`. Tokens of pixels that do not count are not learned.

        Images without a valid token do not enter the mean.
        """
        targets = self.prepare(batch) if prepared is None else prepared
        size = self.student_size(batch)
        output = self.student(pixel_values=self.pixels(batch.images, size))
        dense = self.student.dense_tokens(output.last_hidden_state, size, size)
        inputs = {"summary": output.pooler_output, "dense": dense}
        losses: dict[str, Tensor] = {}
        for name, plan in self._plans[size].items():
            valid_mask = None if batch.mask is None else valid_tokens(batch.mask, plan.grid)
            for tokens, weight in plan.weights.items():
                target = getattr(targets[name], tokens)
                agreement = self.branch(name, tokens)(inputs[tokens], target, valid_mask)
                losses[f"{name}/{tokens}"] = weight * agreement.mean_loss()
                if meter is not None:
                    meter.add(name, tokens, agreement)
        return losses

    def _check_calibration(self, frames: int) -> None:
        """Refuse a calibration that would turn out too small, before the teachers have seen a frame."""
        for name, plan in self.plans.items():
            for tokens in plan.weights:
                per_frame = plan.grid[0] * plan.grid[1] if tokens == "dense" else 1
                needed = self.branch(name, tokens).normalizer.min_count
                if frames * per_frame < needed:
                    raise UserError(
                        f"distillation.calibration_frames={frames} gives the {tokens} normalizer of teacher {name!r} "
                        f"{frames * per_frame} vectors, but it needs {needed}: "
                        f"set it to {-(-needed // per_frame)} or more"
                    )

    def calibrate(self, batches: Iterable[ViewBatch]) -> None:
        """`observe` some batches, then `freeze`."""
        for batch in batches:
            self.observe(batch, self.prepare(batch))
        self.freeze()

    @torch.no_grad()
    def observe(self, batch: ViewBatch, prepared: Mapping[str, TeacherOutput]) -> None:
        """Calibrate every normaliser on the valid tokens of one batch at the student's own size."""
        for name, plan in self.plans.items():
            valid_mask = None if batch.mask is None else valid_tokens(batch.mask, plan.grid)
            for tokens in plan.weights:
                self.branch(name, tokens).observe(getattr(prepared[name], tokens), valid_mask)

    @torch.no_grad()
    def freeze(self) -> None:
        """Fix every normaliser, before the first step of a new run."""
        for name, plan in self.plans.items():
            for tokens in plan.weights:
                self.branch(name, tokens).freeze()


def plan_teacher(
    name: str, teacher: Teacher, config: TeacherConfig, base_size: int, image_size: int, patch: int
) -> Plan:
    """Decide a teacher's input size, grid and token kinds.

    Args:
        name: of the teacher in messages.
        teacher: what is planned.
        config: its settings.
        base_size: side in pixels of the student's input for which `config.input_size` is meant.
        image_size: side in pixels at which the student works.
        patch: of the student.

    Raises:
        UserError: no legal input size, or no token kind left to learn.
    """
    weights = {
        tokens: weight
        for tokens, weight in (("summary", config.summary_weight), ("dense", config.dense_weight))
        if weight and tokens in teacher.spec.roles
    }
    if not weights:
        raise UserError(
            f"teacher {name!r} teaches nothing: the weights of its roles ({', '.join(teacher.spec.roles)}) are all 0"
        )
    if config.input_size is None:
        cells = image_size // patch
        size = teacher.input_size_for_grid(cells, cells)
    else:
        edge = config.input_size
        if image_size != base_size and teacher.spec.fixed_size is None:
            scaled = edge * image_size / base_size
            edge = min(teacher.spec.nearest_sizes(round(scaled)), key=lambda legal: abs(legal - scaled))
        size = (edge, edge)
    return Plan(input_size=size, grid=teacher.grid_of(size), weights=weights)
