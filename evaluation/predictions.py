"""Predictions of the test side as files beside the records: what reports plot and compare models by."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from evaluation.datasets.samples import Target
from training.errors import UserError


@dataclass(frozen=True)
class Predictions:
    """Scores of a problem's test side.

    Attributes:
        task: name of the task.
        family: of the task, which says how it is scored (`evaluation.scoring`).
        target: what was predicted.
        cases: of each of N samples.
        videos: of each sample; those of one video follow each other in time.
        seconds: float64 (N,), time in the video; 0 where samples are not in time.
        targets: the truth, as `Target.check` wants it.
        scores: float32 (N, C), as `Problem` has them: the highest class counts, columns above 0 count, or values.
    """

    task: str
    family: str
    target: Target
    cases: tuple[str, ...]
    videos: tuple[str, ...]
    seconds: np.ndarray
    targets: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        self.target.check(self.targets)
        if self.scores.shape != (len(self.targets), len(self.target.classes)):
            raise ValueError(
                f"scores of {self.task} have shape {self.scores.shape} for {len(self.targets)} samples and "
                f"{len(self.target.classes)} classes"
            )

    def sequences(self) -> list[slice]:
        """The rows of each video."""
        return runs(self.videos)

    @property
    def predicted(self) -> np.ndarray:
        """The class with the highest score, int64 (N,); of single-class targets only."""
        return self.scores.argmax(axis=1)


def runs(names: Sequence[str]) -> list[slice]:
    """The rows of each run of equal names."""
    edges = [row for row in range(1, len(names)) if names[row] != names[row - 1]]
    starts = [0, *edges] if names else []
    return [slice(start, end) for start, end in zip(starts, [*edges, len(names)], strict=True)]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a safetensors file (arrays, and names in its metadata) under a temporary name, then rename it."""
    facts = {
        "task": predictions.task,
        "family": predictions.family,
        "target": {
            "name": predictions.target.name,
            "kind": predictions.target.kind,
            "classes": predictions.target.classes,
        },
        "cases": predictions.cases,
        "videos": predictions.videos,
    }
    arrays = {
        "seconds": predictions.seconds.astype(np.float64),
        "targets": predictions.targets,
        "scores": predictions.scores.astype(np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, temporary, {"facts": json.dumps(facts)})
    temporary.replace(path)


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote; `UserError` for a file that is missing or is something else."""
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["facts"])
            arrays = {name: file.get_tensor(name) for name in ("seconds", "targets", "scores")}
        target = Target(facts["target"]["name"], facts["target"]["kind"], tuple(facts["target"]["classes"]))
        cases, videos = tuple(facts["cases"]), tuple(facts["videos"])
        return Predictions(facts["task"], facts["family"], target, cases, videos, **arrays)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"predictions {str(path)!r} cannot be read ({error}); run the benchmark anew") from error
