"""Multi-teacher distillation: one student trunk, two heads per teacher, losses in each teacher's normalised space."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from modeling_zen import ZenImageProcessor, ZenModel
from training.diagnostics.agreement import Agreement, AgreementMeter
from training.errors import UserError
from training.licences import meaning, restricts
from training.loader import ViewBatch
from training.losses.shift_equivariant import Shift, shift_images
from training.objectives.branches import Branch, Compared, DenseBranch, SummaryBranch
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.objectives.grids import valid_tokens
from training.objectives.objective import STRATEGIES, Objective, Setup
from training.objectives.plan import Plan, plan_teacher
from training.objectives.teacher_dropping import keep_hardest
from training.objectives.terms import TERMS, compare_between
from training.registry import unknown_name
from training.target_memory import TargetMemory
from training.teachers.cache.reader import FeatureCache
from training.teachers.ensemble import TeacherEnsemble
from training.teachers.teacher import Teacher, TeacherOutput, load_teacher

STUDENT = "student"  # its key among the shifts; no teacher may be called so
BRANCHES: dict[str, type[Branch]] = {"summary": SummaryBranch, "dense": DenseBranch}


@STRATEGIES.register("distillation")
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

    needs_teachers: ClassVar[bool] = True

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
        self._config = config
        self._taught = {name: _source_numbers(name, each.sources, sources) for name, each in configs.items()}
        self._teachers = dict(teachers)
        self._cache: FeatureCache | None = None
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
            heads = {"summary": 0, "dense": student.config.num_attention_heads if configs[name].head_block else 0}
            self.branches[name] = nn.ModuleDict(
                {
                    tokens: BRANCHES[tokens](
                        width, cast(int, widths[tokens]), hidden, modes[tokens], losses[tokens], heads[tokens]
                    )
                    for tokens in self.plans[name].weights
                }
            )
        self._summary_tokens = self._give_summary_tokens()
        self._check_calibration(config.calibration_frames)
        self._check_shift(memory_bytes)

    @classmethod
    def build(cls, setup: Setup) -> Self:
        """See `Objective`: load the teachers and put them on the device, unless they are to be parked."""
        config = setup.config
        teachers = {
            name: load_teacher(
                each.repo, revision=each.revision, trust_remote_code=each.trust_remote_code, dtype=each.dtype
            )
            for name, each in config.teachers.items()
        }
        cached = config.cache.folder is not None  # teachers are then asked about held-out frames only
        if not (config.distillation.park_teachers or cached):
            for teacher in teachers.values():
                teacher.to(setup.device)
        remembers = config.data.views_per_frame and not cached
        return cls(
            setup.student,
            setup.processor,
            teachers,
            config.teachers,
            config.distillation,
            config.student.image_size,
            config.resolutions.sizes,
            round(config.data.target_memory_gb * 1e9) if remembers else 0,
            setup.corpus.sources(),
            config.seed,
        )

    def branch(self, name: str, tokens: str) -> Branch:
        """The branch of teacher `name` for its "summary" or "dense" tokens."""
        return cast(Branch, cast(nn.ModuleDict, self.branches[name])[tokens])

    def _branches(self) -> list[tuple[str, str]]:
        """Teacher and kind of tokens of every branch."""
        return [(name, tokens) for name, plan in self.plans.items() for tokens in plan.weights]

    @property
    def teachers(self) -> Mapping[str, Teacher]:
        """The teachers by name."""
        return self._teachers

    def plans_at(self, image_size: int) -> Mapping[str, Plan]:
        """What each teacher is asked for when the student works at `image_size`."""
        return self._plans[image_size]

    def use_cache(self, cache: FeatureCache) -> None:
        """Read the targets of training views. The teachers, asked about held-out views only, rest on the CPU.

        Raises:
            UserError: views are shifted anew in every step.
        """
        if self._config.shift:
            raise UserError("distillation.shift moves every view anew: set it to 0, or leave cache.folder out")
        self._cache = cache
        self._ensemble = TeacherEnsemble(self._teachers, self._config.teacher_chunk, park=True)

    def view_size(self, image_size: int) -> int:
        """The largest of what the student and the teachers are shown."""
        return max(image_size, *(max(plan.input_size) for plan in self._plans[image_size].values()))

    def facts(self) -> dict[str, Any]:
        """`teachers.json`."""
        return {"teachers.json": self.describe_teachers()}

    def banner(self) -> list[str]:
        """A line per teacher, and one for each whose licence restricts the student."""
        identities = {name: teacher.identity() for name, teacher in self._teachers.items()}
        bound = {name: facts["licence"] for name, facts in identities.items() if restricts(facts["licence"])}
        return (
            [
                f"teacher   {name}: {plan.input_size[0]}x{plan.input_size[1]} px, grid {plan.grid[0]}x{plan.grid[1]}, "
                + ", ".join(
                    f"{tokens} x{weight:g}" for tokens, weight in {**plan.weights, **plan.terms}.items() if weight
                )
                for name, plan in self.plans.items()
            ]
            + [
                f"licence   of {name} binds these weights too: {licence}: {meaning(licence)}"
                for name, licence in bound.items()
            ]
            + ([] if self._cache is None else self._cache.describe())
        )

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
                **({} if self._cache is None else {"cache_sha256": self._cache.sha256}),
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
        """The teachers' answers for a batch, from a cache, or remembered where its views come again."""
        shifts = self._shifts(batch)
        if shifts:
            return self.targets(batch.images, self.student_size(batch), shifts, batch.shared)
        if self._cache is not None and not bool((batch.numbers < 0).any()):
            return self._cache.read(batch, self.student_size(batch))
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
        agreements: dict[tuple[str, str], Agreement] = {}
        for name, plan in self._plans[size].items():
            valid_mask = self._valid_mask(name, plan, batch)
            apart = (shifts[STUDENT], shifts[name]) if shifts else None
            for tokens in plan.weights:
                own = dense if tokens == "dense" else summaries[:, self._summary_tokens[name]]
                found = self.branch(name, tokens)(own, getattr(targets[name], tokens), valid_mask, apart)
                agreements[name, tokens], compared[name, tokens] = found.agreement, found
            for term in plan.terms:
                agreements[name, term] = compare_between(term, compared[name, TERMS[term]], batch.shared)
        if meter is not None:
            for (name, term), agreement in agreements.items():
                meter.add(name, term, agreement)
        return self._weighted(agreements, batch)

    def _weighted(self, agreements: Mapping[tuple[str, str], Agreement], batch: ViewBatch) -> dict[str, Tensor]:
        """The losses of all teachers, each on the images on which it is heard."""
        weights = {
            (name, term): weight
            for name, plan in self.plans.items()
            for term, weight in {**plan.weights, **plan.terms}.items()
            if weight
        }
        kept: dict[str, Tensor] = {}
        if self._config.drop_teacher and self._learns(batch):
            totals = {
                name: torch.stack([w * agreements[name, t].loss.detach() for (n, t), w in weights.items() if n == name])
                for name in self.plans
            }
            kept = keep_hardest(
                {name: parts.sum(dim=0) for name, parts in totals.items()},
                self._config.drop_teacher,
                self.generator(batch),
            )
        return {
            f"{name}/{term}": weight * agreements[name, term].mean_loss(kept.get(name))
            for (name, term), weight in weights.items()
        }

    def _valid_mask(self, name: str, plan: Plan, batch: ViewBatch) -> Tensor | None:
        """Which tokens of a teacher count, bool `(B, H*W)`: of valid pixels, in sources that it teaches on."""
        mask = None if batch.mask is None else valid_tokens(batch.mask, plan.grid)
        if (taught := self._taught[name]) is None:
            return mask
        known = torch.isin(batch.sources, taught.to(batch.sources.device))[:, None]
        whole = torch.ones(len(batch.images), plan.grid[0] * plan.grid[1], dtype=torch.bool, device=known.device)
        return known & (whole if mask is None else mask)

    def _learns(self, batch: ViewBatch) -> bool:
        """Whether a batch is learned from, not measured: only then teachers are dropped and inputs shifted."""
        return self.training and int(batch.numbers[0]) >= 0

    def _shifts(self, batch: ViewBatch) -> dict[str, Shift]:
        """Cells by which the inputs of the student and of each teacher are moved; empty where they are not.

        Calibration sees views as they are: what a shift repeats at the edge is no tissue.
        """
        calibrated = all(self.branch(*each).normalizer.is_frozen for each in self._branches())
        if not (self._config.shift and calibrated and self._learns(batch)):
            return {}
        # Never so far that two inputs share less than half of their rows or columns.
        furthest = self.student_size(batch) // self.student.config.patch_size // 4
        generator = self.generator(batch)
        return {name: self._draw_shift(furthest, generator) for name in (STUDENT, *self._teachers)}

    def _draw_shift(self, furthest: int, generator: torch.Generator) -> Shift:
        drawn = torch.randn(2, generator=generator) * self._config.shift
        down, right = drawn.round().clamp(-furthest, furthest).int().tolist()
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

    def _give_summary_tokens(self) -> dict[str, int]:
        """Which summary token each summary teacher reads: all the same one, or one each in the order of `teachers`."""
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
