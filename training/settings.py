"""All settings of a pretraining run; every room brings its own dataclass."""

from dataclasses import dataclass, field

from modeling_zen import ZenConfig
from training.errors import UserError
from training.loader import DataConfig
from training.objectives.distillation import DistillationConfig, TeacherConfig
from training.optimization import OptimizerConfig


@dataclass(frozen=True)
class StudentConfig:
    """The model to train."""

    size: str = "small"  # nano | tiny | small | base | large
    image_size: int = 224  # pixels of the square training input; a multiple of the patch
    layerscale_value: float = 0.1  # start of LayerScale; 1.0 learns faster in short runs of shallow students
    initializer_range: float = 0.02  # deviation of the first weights; about 1 / sqrt(width) learns faster in short runs
    drop_path_rate: float = 0.0  # stochastic depth; distillation on much data needs none
    num_summary_tokens: int = 1  # one summary token shared by all teachers

    def __post_init__(self) -> None:
        """Let the model's own config refuse what it cannot be, before anything is loaded."""
        try:
            self.build()
        except ValueError as error:
            raise UserError(f"student: {error}") from error

    def build(self) -> ZenConfig:
        """The configuration of the student."""
        return ZenConfig.from_size(
            self.size,
            image_size=self.image_size,
            layerscale_value=self.layerscale_value,
            initializer_range=self.initializer_range,
            drop_path_rate=self.drop_path_rate,
            num_summary_tokens=self.num_summary_tokens,
        )


@dataclass(frozen=True)
class LogConfig:
    """How often the run says, measures and saves something; changes nothing that is learned."""

    every: int = 20  # steps between log rows
    eval_every: int = 100  # steps between measurements on held-out cases
    save_every: int = 100  # steps between checkpoints
    keep_last: int = 2  # checkpoints kept

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        for name in ("every", "eval_every", "save_every", "keep_last"):
            if getattr(self, name) < 1:
                raise UserError(f"log.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of `training.pretrain`."""

    output_dir: str = "???"  # run folder; an unfinished run inside is continued
    seed: int = 0  # of weights, order and views
    max_steps: int = 10_000  # where to stop
    batch_size: int = 32  # groups of data.frames_per_clip frames per process and step
    num_processes: int = 1  # what accelerate launch must have started
    mixed_precision: str = "no"  # no | bf16 | fp16; on CPUs without AMX bf16 is slower
    student: StudentConfig = field(default_factory=StudentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong before anything is loaded."""
        for name in ("max_steps", "batch_size", "num_processes"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise UserError(f"mixed_precision must be no, bf16 or fp16, got {self.mixed_precision!r}")
        if not self.teachers:
            raise UserError("no teacher: name at least one, such as teachers.dino.repo=dinov2-small")
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
        return self.batch_size * self.data.frames_per_clip * self.num_processes
