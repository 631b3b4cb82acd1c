"""Settings of distillation: of the objective, and of each teacher."""

from dataclasses import dataclass, field

from training.errors import UserError
from training.losses import DENSE_LOSSES, SUMMARY_LOSSES
from training.teachers.precision import check_dtype


@dataclass(frozen=True)
class TeacherConfig:
    """One teacher of a run; its key in `teachers` is its name in every log."""

    repo: str = "???"  # registry name, Hub id or local folder
    revision: str | None = None  # commit, tag or branch; null: the registry's, or the newest; the commit is recorded
    dtype: str = "auto"  # auto | float32 | bfloat16; auto is bfloat16 on GPUs that have it; CPUs stay float32
    input_size: int | None = None  # pixels of its square input; null matches its grid to the student's
    summary_weight: float = 1.0  # weight of the summary loss; 0 leaves the summary out
    dense_weight: float = 1.0  # weight of the dense loss; 0 leaves the dense tokens out
    summary_normalizer: str = "center"  # none | center | standardize | phi_s; angles need no more than a centre
    dense_normalizer: str = "phi_s"  # none | center | standardize | phi_s; keeps angles and evens out teachers (PHI-S)
    summary_loss: str = "angle"  # angle | cosine | cosine_smooth_l1 | mse; the angle evens out narrow and wide teachers
    dense_loss: str = "mse"  # mse | cosine | cosine_smooth_l1 | token_similarity_kl; mse fits PHI-S targets
    relational_weight: float = 0.0  # of the gated distances between summaries (ARKD)
    gram_weight: float = 0.0  # of the Gram matrices of dense tokens, up to 2 in DINOv3
    temporal_gram_weight: float = 0.0  # of the Gram matrices over the frames of a clip; data.frames_per_clip >= 2
    head_block: bool = False  # a transformer block before its dense head, for a teacher unlike the others (DUNE)
    sources: list[str] = field(default_factory=list)  # of the corpus that it teaches on; empty: all
    trust_remote_code: bool = False  # only with a pinned revision

    def __post_init__(self) -> None:
        """Refuse losses and types that do not exist, and negative weights."""
        check_dtype("teachers.*.dtype", self.dtype)
        SUMMARY_LOSSES.get(self.summary_loss)
        DENSE_LOSSES.get(self.dense_loss)
        for name in ("summary_weight", "dense_weight", "relational_weight", "gram_weight", "temporal_gram_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"teachers.*.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class DistillationConfig:
    """The objective's own settings."""

    head_width: int | None = None  # hidden width of the heads; null means max(1536, 2 x student width), as in EUPE
    calibration_frames: int = 2048  # frames that fix the normalisers; aim at 50 dense tokens per dimension
    teacher_chunk: int = 0  # images per forward pass of a teacher; 0 is the whole batch. Only speed and memory change
    park_teachers: bool = False  # keep teachers on the CPU, one at a time on the GPU: slower, saves their memory
    # Probability with which every teacher but the hardest of an image is left out for it; 0.5 in UNIC, 0 hears all.
    drop_teacher: float = 0.0
    # Shift the inputs of student and teachers apart by whole cells, normal with this deviation, and compare where they
    # overlap: teachers' artefacts at fixed positions cannot be copied (0.5 in C-RADIOv4). 0 shifts nothing.
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Refuse sizes below one."""
        if self.head_width is not None and self.head_width < 1:
            raise UserError(f"distillation.head_width must be positive, got {self.head_width}")
        if self.calibration_frames < 2:
            raise UserError(f"distillation.calibration_frames must be at least 2, got {self.calibration_frames}")
        if self.teacher_chunk < 0:
            raise UserError(f"distillation.teacher_chunk must not be negative, got {self.teacher_chunk}")
        if not 0 <= self.drop_teacher < 1:
            raise UserError(f"distillation.drop_teacher must lie in [0, 1), got {self.drop_teacher}")
        if self.shift < 0:
            raise UserError(f"distillation.shift must not be negative, got {self.shift}")
