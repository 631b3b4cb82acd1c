"""Multi-teacher distillation: one student trunk, two heads per teacher, losses in each teacher's normalised space."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from modeling_zen import ZenImageProcessor, ZenModel
from training.diagnostics.agreement import AgreementMeter
from training.errors import UserError
from training.loader import ViewBatch
from training.losses import gram, relational, shift_images, temporal_gram
from training.losses.shift_equivariant import Shift
from training.objectives.branches import Branch, Compared, DenseBranch, SummaryBranch
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.objectives.grids import valid_tokens
from training.objectives.objective import Objective
from training.objectives.plan import Plan, plan_teacher
from training.registry import unknown_name
from training.target_memory import TargetMemory
from training.teachers.ensemble import TeacherEnsemble
from training.teachers.teacher import Teacher, TeacherOutput

STUDENT = "student"  # its key among the shifts; no teacher may be called so
BRANCHES: dict[str, type[Branch]] = {"summary": SummaryBranch, "dense": DenseBranch}


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
        sources: names of the corpus's sources, `Corpus.sources`.
        seed: of the run.

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
        sources: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(student, processor, image_size, seed)
        self.calibration_frames = config.calibration_frames
        self._config, self._configs = config, dict(configs)
        self._taught = {name: _source_numbers(name, each.sources, sources) for name, each in configs.items()}
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
        self._ensemble = TeacherEnsemble(teachers, config.teacher_chunk, config.park_teachers)
        self._memory = TargetMemory(
            lambda batch, size: self.targets(batch.images, size, shared=batch.shared), memory_bytes
        )
        width = student.config.hidden_size
        hidden = config.head_width or max(1536, 2 * width)
        self.branches = nn.ModuleDict()
        for name, teacher in teachers.items():
            modes = {"summary": configs[name].summary_normalizer, "dense": configs[name].dense_normalizer}
            losses = {"summary": configs[name].summary_loss, "dense": configs[name].dense_loss}
            widths = {"summary": teacher.summary_width, "dense": teacher.dense_width}
            self.branches[name] = nn.ModuleDict(
                {
                    tokens: BRANCHES[tokens](width, cast(int, widths[tokens]), hidden, modes[tokens], losses[tokens])
                    for tokens in self.plans[name].weights
                }
            )
        self._summary_tokens = self._give_summary_tokens()
        self._check_calibration(config.calibration_frames)
        self._check_shift(memory_bytes)

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

    def targets(
        self,
        images: Tensor,
        image_size: int | None = None,
        shifts: Mapping[str, Shift] | None = None,
        shared: Tensor | None = None,
    ) -> dict[str, TeacherOutput]:
        """What every teacher says about `images` `(B, 3, V, V)` in [0, 1].

        Args:
            images: views.
            image_size: side at which the student works; `None`: its own.
            shifts: cells by which each teacher's input is moved.
            shared: which frames are of one clip, see `ViewBatch.shared`; `None`: each is alone.
        """
        plans = self._plans[image_size or self.image_size]
        return {
            name: self._ensemble.ask(
                name,
                shift_images(images, shifts[name], plans[name].grid[0]) if shifts else images,
                plans[name].input_size,
                shared,
            )
            for name in self._teachers
        }

    def prepare(self, batch: ViewBatch) -> Mapping[str, TeacherOutput]:
        """The teachers' answers for a batch, remembered where its views come again."""
        shifts = self._shifts(batch)
        if shifts:
            return self.targets(batch.images, self.student_size(batch), shifts, batch.shared)
        return self._memory(batch, self.student_size(batch))

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
        size, shifts = self.student_size(batch), self._shifts(batch)
        images = batch.images
        if shifts:
            images = shift_images(images, shifts[STUDENT], size // self.student.config.patch_size)
        output = self.student(pixel_values=self.pixels(images, size))
        dense = self.student.dense_tokens(output.last_hidden_state, size, size)
        summaries = self.student.summary_tokens(output.last_hidden_state)  # (B, S, W)
        compared: dict[tuple[str, str], Compared] = {}
        for name, plan in self._plans[size].items():
            valid_mask = self._valid_mask(name, plan, batch)
            for tokens in plan.weights:
                target = getattr(targets[name], tokens)
                if tokens == "summary":
                    own = summaries[:, self._summary_tokens[name]]
                    compared[name, tokens] = self.branch(name, tokens)(own, target, valid_mask)
                else:
                    apart = (shifts[STUDENT], shifts[name]) if shifts else None
                    compared[name, tokens] = self.branch(name, tokens)(dense, target, valid_mask, apart)
                if meter is not None:
                    meter.add(name, tokens, compared[name, tokens].agreement)
        kept = self._kept(compared, batch) if self.training and self._config.drop_teacher else {}
        losses: dict[str, Tensor] = {}
        for name, plan in self._plans[size].items():
            for tokens, weight in plan.weights.items():
                losses[f"{name}/{tokens}"] = weight * compared[name, tokens].agreement.mean_loss(kept.get(name))
            losses |= self._extra_losses(name, plan, compared, batch)
        return losses

    def _extra_losses(
        self, name: str, plan: Plan, compared: Mapping[tuple[str, str], Compared], batch: ViewBatch
    ) -> dict[str, Tensor]:
        """The terms of one teacher that compare tokens with each other."""
        config, losses = self._configs[name], dict[str, Tensor]()
        valid_mask = self._valid_mask(name, plan, batch)
        if config.relational_weight and (name, "summary") in compared:
            own = compared[name, "summary"]
            counted = own.agreement.counted
            values = relational(own.prediction, own.target, counted)
            losses[f"{name}/relational"] = config.relational_weight * _mean(values, counted)
        if (name, "dense") in compared:
            own = compared[name, "dense"]
            if config.gram_weight:
                values = gram(own.prediction, own.target, valid_mask)
                losses[f"{name}/gram"] = config.gram_weight * _mean(values, own.agreement.counted)
            if config.temporal_gram_weight:
                values, counted = temporal_gram(own.prediction, own.target, valid_mask, clips=batch.shared)
                losses[f"{name}/temporal_gram"] = config.temporal_gram_weight * _mean(values, counted)
        return losses

    def _valid_mask(self, name: str, plan: Plan, batch: ViewBatch) -> Tensor | None:
        """Which tokens of a teacher count, bool `(B, H*W)`: of valid pixels, in sources that it teaches on."""
        mask = None if batch.mask is None else valid_tokens(batch.mask, plan.grid)
        if (taught := self._taught[name]) is None:
            return mask
        known = torch.isin(batch.sources, taught.to(batch.sources.device))[:, None]
        whole = torch.ones(len(batch.images), plan.grid[0] * plan.grid[1], dtype=torch.bool, device=known.device)
        return known & (whole if mask is None else mask)

    def _kept(self, compared: Mapping[tuple[str, str], Compared], batch: ViewBatch) -> dict[str, Tensor]:
        """Which images each teacher is heard on: all on which it is the hardest, others by chance.

        The draw is a function of the batch, so that no state of it has to be saved. Source: UNIC, arXiv 2408.05088.
        """
        names = list(self.plans)
        totals = []
        for name in names:
            own = [w * compared[name, tokens].agreement.loss for tokens, w in self.plans[name].weights.items()]
            totals.append(torch.stack(own).sum(dim=0).detach())
        total = torch.stack(totals)  # (T, B)
        generator = self.generator(batch)
        lucky = torch.rand(total.shape, generator=generator).to(total.device) >= self._config.drop_teacher
        hardest = total == total.amax(dim=0)
        return dict(zip(names, hardest | lucky, strict=True))

    def _shifts(self, batch: ViewBatch) -> dict[str, Shift]:
        """Cells by which the inputs of the student and of each teacher are moved in training; empty without."""
        if not (self._config.shift and self.training and not bool((batch.numbers < 0).any())):
            return {}
        generator = self.generator(batch)
        return {name: self._draw_shift(generator) for name in (STUDENT, *self._teachers)}

    def _draw_shift(self, generator: torch.Generator) -> Shift:
        down, right = (torch.randn(2, generator=generator) * self._config.shift).round().clamp(-2, 2).int().tolist()
        return down, right

    def _check_shift(self, memory_bytes: int) -> None:
        """Refuse shifts where targets are remembered or grids differ."""
        if not self._config.shift:
            return
        if memory_bytes:
            raise UserError("distillation.shift moves every view anew: set data.views_per_frame=0")
        for size, plans in self._plans.items():
            cells = size // self.student.config.patch_size
            for name, plan in plans.items():
                if plan.grid != (cells, cells):
                    raise UserError(
                        f"distillation.shift needs equal grids, but teacher {name!r} has {plan.grid[0]}x{plan.grid[1]} "
                        f"cells where the student has {cells}x{cells}: leave its input_size out"
                    )
                if self._configs[name].dense_loss != "mse":
                    raise UserError(f"distillation.shift needs teachers.{name}.dense_loss=mse")

    def _give_summary_tokens(self) -> dict[str, Any]:
        """Which summary token each summary teacher reads: all their mean of one, or one each."""
        names = [name for name, plan in self.plans.items() if "summary" in plan.weights]
        count = self.student.config.num_summary_tokens
        if count not in (1, len(names)):
            raise UserError(
                f"student.num_summary_tokens={count}, but {len(names)} teachers teach summaries: set 1, which they "
                f"share, or {len(names)}"
            )
        return {name: number if count > 1 else 0 for number, name in enumerate(names)}

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
            valid_mask = self._valid_mask(name, plan, batch)
            for tokens in plan.weights:
                self.branch(name, tokens).observe(getattr(prepared[name], tokens), valid_mask)

    @torch.no_grad()
    def freeze(self) -> None:
        """Fix every normaliser, before the first step of a new run."""
        for name, plan in self.plans.items():
            for tokens in plan.weights:
                self.branch(name, tokens).freeze()


def _source_numbers(teacher: str, wanted: Sequence[str], sources: Sequence[str]) -> Tensor | None:
    """Positions of the wanted sources; `None` for all. `UserError` for one that the corpus does not have."""
    for name in wanted:
        if name not in sources:
            raise unknown_name(f"source of teachers.{teacher}.sources", name, sources)
    return torch.tensor([sources.index(name) for name in wanted]) if wanted else None


def _mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of `(B,)` over the images that count; 0 when none does."""
    return values.mean() if counted is None else values.sum() / counted.sum().clamp(min=1)
