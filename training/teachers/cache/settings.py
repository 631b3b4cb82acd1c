"""Settings of the feature cache."""

from dataclasses import dataclass

from training.errors import UserError
from training.teachers.cache.codecs import CODECS


@dataclass(frozen=True)
class CacheConfig:
    """Teachers' features on disk; training reads `folder`, `training.cache_teachers` writes it and needs the rest."""

    folder: str | None = None  # where the cache is; null asks the teachers live
    form: str = "fp16"  # fp16 | int8 | phi_s: how dense tokens are kept; summaries, a hundredth of the size, are fp16
    components: int = 256  # of phi_s: principal components kept; the cache states their share of the variance
    calibration_frames: int = 512  # fix ranges and components, spread over the corpus; phi_s needs 2 tokens per width
    shard_mb: int = 256  # megabytes of a shard; unfinished ones are what a kill loses

    def __post_init__(self) -> None:
        """Refuse an unknown form and counts below one."""
        CODECS.get(self.form)
        for name in ("components", "calibration_frames", "shard_mb"):
            if getattr(self, name) < 1:
                raise UserError(f"cache.{name} must be at least 1, got {getattr(self, name)}")
