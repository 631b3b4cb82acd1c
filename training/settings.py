"""All settings of a pretraining run; every room brings its own dataclass."""

from dataclasses import dataclass, field

from training.errors import UserError
from training.loader import DataConfig
from training.objectives import STRATEGIES
from training.objectives.dino import DinoConfig
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.objectives.ijepa import IjepaConfig
from training.objectives.mae import MaeConfig
from training.objectives.moco import MocoConfig
from training.objectives.supervised import SupervisedConfig
from training.optimization import OptimizerConfig
from training.stages import Resolutions, StageConfig
from training.student import StudentConfig
from training.teachers.cache.settings import CacheConfig


@dataclass(frozen=True)
class LogConfig:
    """How often the run says, measures and saves something; changes nothing that is learned."""

    every: int = 20  # steps between log rows
    eval_every: int = 100  # steps between measurements on held-out cases
    diagnose_every: int = 0  # steps between label-free measures of the student (training/diagnostics); 0: never
    save_every: int = 100  # steps between checkpoints
    keep_last: int = 2  # checkpoints kept
    plan: bool = True  # measure and print before step 0 what a distillation step will cost; takes some seconds

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        for name in ("every", "eval_every", "save_every", "keep_last"):
            if getattr(self, name) < 1:
                raise UserError(f"log.{name} must be at least 1, got {getattr(self, name)}")
        if self.diagnose_every < 0:
            raise UserError(f"log.diagnose_every must not be negative, got {self.diagnose_every}")


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of `training.pretrain`."""

    output_dir: str = "???"  # run folder; an unfinished run inside is continued
    strategy: str = "distillation"  # or dino | ijepa | mae | moco | supervised; its settings: the field of that name
    seed: int = 0  # of weights, order and views
    max_steps: int = 10_000  # where to stop
    batch_size: int = 32  # groups of data.frames_per_clip frames per process, step and accumulated part
    accumulate: int = 1  # parts of a step whose gradients are averaged before the optimiser moves
    num_processes: int = 1  # what accelerate launch must have started
    mixed_precision: str = "no"  # no | bf16 | fp16; on CPUs without AMX bf16 is slower
    ema_decay: float = 0.0  # of a moving average of the student, which is then what is exported; 0 keeps none
    stages: list[StageConfig] = field(default_factory=list)  # resolutions of later steps; none: student.image_size
    student: StudentConfig = field(default_factory=StudentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    dino: DinoConfig = field(default_factory=DinoConfig)
    ijepa: IjepaConfig = field(default_factory=IjepaConfig)
    mae: MaeConfig = field(default_factory=MaeConfig)
    moco: MocoConfig = field(default_factory=MocoConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is loaded."""
        for name in ("max_steps", "batch_size", "num_processes", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise UserError(f"mixed_precision must be no, bf16 or fp16, got {self.mixed_precision!r}")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        self.check_sizes()
        self.check_teachers()
        temporal = [name for name, teacher in self.teachers.items() if teacher.temporal_gram_weight]
        if temporal and self.data.frames_per_clip < 2:
            raise UserError(
                f"teachers.{temporal[0]}.temporal_gram_weight compares frames of a clip: set data.frames_per_clip to 2 "
                "or more"
            )
        if self.cache.folder and not self.data.views_per_frame:
            raise UserError("cache.folder holds features of fixed views: set data.views_per_frame to their number")
        if self.cache.folder and not STRATEGIES.get(self.strategy).needs_teachers:
            raise UserError(f"cache.folder is for teachers' features, but strategy={self.strategy} asks none")
        if self.max_steps > self.schedule_steps:
            raise UserError(
                f"max_steps={self.max_steps} goes past optimizer.schedule_steps={self.schedule_steps}, where the "
                f"learning rate has reached its floor; set optimizer.schedule_steps={self.max_steps} as well"
            )

    @property
    def schedule_steps(self) -> int:
        """Length of the learning rate schedule in steps."""
        return self.optimizer.schedule_steps or self.max_steps

    @property
    def frames_per_step(self) -> int:
        """Frames of all processes that one step sees."""
        return self.batch_size * self.data.frames_per_clip * self.num_processes * self.accumulate

    @property
    def resolutions(self) -> Resolutions:
        """The student's input size of every step."""
        return Resolutions(self.student.image_size, self.stages, self.seed)

    def check_teachers(self) -> None:
        """Refuse an unknown strategy, one that lacks teachers, and teachers that nobody would ask."""
        needed = STRATEGIES.get(self.strategy).needs_teachers
        if needed and not self.teachers:
            raise UserError("no teacher: name at least one, such as teachers.dino.repo=dinov2-small")
        if self.teachers and not needed:
            raise UserError(
                f"strategy={self.strategy} has no teachers, but {', '.join(sorted(self.teachers))} would teach: leave "
                "teachers out, or choose strategy=distillation"
            )

    def check_sizes(self) -> None:
        """Refuse stages that the student's patch does not fit, and stages that never begin."""
        patch = self.student.build().patch_size
        wrong = [size for size in self.resolutions.sizes if size % patch]
        if wrong:
            raise UserError(f"stages: {wrong[0]} pixels are no multiple of the student's patch, {patch}")
        late = [stage.from_step for stage in self.stages if stage.from_step >= self.schedule_steps]
        if late:
            raise UserError(f"stages: one begins at step {late[0]}, but the schedule ends at {self.schedule_steps}")
