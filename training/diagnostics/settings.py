"""The settings of a report of a checkpoint."""

from dataclasses import dataclass, field

from training.errors import UserError
from training.objectives.distillation_settings import TeacherConfig


@dataclass(frozen=True)
class DiagnoseSettings:
    """All settings of `python -m training.diagnose`."""

    frames: int = 512  # held-out frames, about as many of every video; ranks are capped by them, so keep them fixed
    run_length: int = 4  # neighboring stored frames taken together: a step in time, and an inside of a clip for LiDAR
    probe_frames: int = 512  # frames of the train split that the ridge probes are fitted on
    warp_frames: int = 48  # of the held-out frames, those that are also warped and shown at other sizes
    match_grid: int = 20  # cells per side on which tokens are matched, for every model alike; near the grid of 320 px
    scales: tuple[float, ...] = (0.75, 1.5, 2.0)  # sizes beside the model's own, in shares of it; 224 px: 168, 336, 448
    neighbors: int = 10  # k of mutual nearest neighbors
    tau_seconds: float = 30.0  # frames of a video within this time are what retrieval should find; as long as a step
    recall_at: tuple[int, ...] = (1, 5)  # k of retrieval
    resamples: int = 200  # of the bootstrap over videos; 2.5 % of them are 5 draws
    batch_size: int = 16  # frames per forward pass
    pictures: int = 4  # frames whose dense tokens are shown
    seed: int = 0  # of the random student, of the drawn tokens and of the resamples
    # Teachers of a model without a run, or other places of a run's teachers: teachers.NAME.repo=FOLDER.
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name in ("run_length", "match_grid", "neighbors", "resamples", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("frames", "probe_frames", "warp_frames"):
            if getattr(self, name) < 8:
                raise UserError(f"{name} must be at least 8, got {getattr(self, name)}")
        for name in ("scales", "recall_at"):
            if not getattr(self, name) or min(getattr(self, name)) <= 0:
                raise UserError(f"{name} needs numbers above 0, got {list(getattr(self, name))}")
        if self.tau_seconds <= 0 or self.pictures < 0:
            raise UserError(
                f"tau_seconds must be above 0 and pictures not negative, got {self.tau_seconds} and {self.pictures}"
            )
