"""Results of a small benchmark with predictions: phases along videos, presence, skill, few-shot subsets, two files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.backbones import Identity
from evaluation.bootstrap import interval, paired_interval, per_case, point
from evaluation.datasets.samples import Target
from evaluation.predictions import Predictions, write_predictions
from evaluation.records import Floors, Paired, ResultRecord, Shots, Split, append_records
from evaluation.scoring import Measured, score
from evaluation.skips import Skip, append_skips

HOSTILE = "<script>alert(1)</script>|$\\frac{"
PHASES = ("preparation", "dissection", "clipping & cutting", "_retraction")
# Share of the truth in the scores of each model.
SKILLS = {"zen-a": 0.45, "random init": 0.2, HOSTILE: 0.4, "histogram": 0.15, "majority": 0.0}
ROLES = {
    "zen-a": "student",
    "zen-b": "student",
    "random init": "random_init",
    HOSTILE: "teacher",
    "histogram": "histogram",
    "majority": "majority",
}
FLOOR_NAMES = ("majority", "random init", "histogram")
NewRecord = Callable[..., ResultRecord]


def phase_truth(videos: int, samples: int) -> np.ndarray:
    """Phases in order, of other lengths in every video: int64 (videos * samples,)."""
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(videos):
        ends = np.sort(rng.choice(np.arange(2, samples - 1), len(PHASES) - 1, replace=False))
        rows.append(np.searchsorted(ends, np.arange(samples), side="right"))
    return np.concatenate(rows).astype(np.int64)


def make_predictions(task: str, share: float, seed: int, videos: int = 4, samples: int = 30) -> Predictions:
    """Scores that are `share` truth and the rest noise; no truth at all is a constant."""
    rng = np.random.default_rng(seed)
    count = videos * samples
    cases = tuple(f"case {number // samples}" for number in range(count))
    seconds = np.tile(np.arange(samples, dtype=np.float64), videos)
    target, targets, family = _truth(task, videos, samples)
    one_hot = np.eye(len(target.classes))
    clean = one_hot[targets] if target.kind == "single" else np.asarray(targets, dtype=np.float64)
    noise = rng.normal(0.0, 0.4, clean.shape)
    scores = share * clean + (1 - share) * noise if share else np.tile(clean.mean(axis=0), (count, 1))
    if target.kind == "multi":
        scores = scores - 0.5
    if target.kind == "value":
        rows = slice(None, None, samples)  # one sample per video
        cases, seconds, targets, scores = cases[rows], seconds[rows] * 0, targets[rows], scores[rows]
    return Predictions(task, family, target, cases, cases, seconds, targets, scores.astype(np.float32))


def _truth(task: str, videos: int, samples: int) -> tuple[Target, np.ndarray, str]:
    rng = np.random.default_rng(6)
    if task == "phase_made_up":
        return Target("phase", "single", PHASES), phase_truth(videos, samples), "phase"
    if task == "presence_made_up":
        labels = rng.random((videos * samples, 3)) < (0.5, 0.3, 0.2)
        return Target("tool", "multi", ("grasper", "hook", HOSTILE)), labels, "presence"
    rated = np.repeat(rng.integers(1, 6, (videos, 2)), samples, axis=0).astype(np.float32)
    return Target("skill", "value", ("depth", "flow")), rated, "skill"


class Bench:
    """Writes records of made-up models with their predictions, as the benchmark does."""

    def __init__(self, folder: Path, new_record: NewRecord, videos: int = 3, samples: int = 14) -> None:
        self.file = folder / "results.jsonl"
        self._new_record = new_record
        self._size = videos, samples

    def measure(
        self, task: str, probe: str = "linear", skills: dict[str, float] | None = None, **more: Any
    ) -> list[ResultRecord]:
        """Records of all models under one condition; `skills` are shares of truth, the student's first."""
        skills = skills or SKILLS
        shots = more.get("shots")
        seed = 7 + (shots.subset if shots else 0)
        made = {}
        for name, share in skills.items():
            made[name] = make_predictions(task, share, 100 * seed + list(ROLES).index(name), *self._size)
        student = next(iter(skills))
        measured = {name: score(predictions) for name, predictions in made.items()}
        records = []
        for name, predictions in made.items():
            stem = f"{task}-{probe}-{shots.count if shots else 'all'}-{list(ROLES).index(name)}-{seed}"
            path = Path("predictions") / f"{stem}.safetensors"
            write_predictions(self.file.parent / path, predictions)
            for position in range(len(measured[name])):
                of = {model: values[position] for model, values in measured.items()}
                records.append(self._record(task, probe, name, student, of, path.as_posix(), **more))
        append_records(self.file, records)
        return records

    def _record(
        self, task: str, probe: str, name: str, student: str, of: dict[str, Measured], path: str, **more: Any
    ) -> ResultRecord:
        one = of[name]
        role = ROLES[name]
        slow = one.metric == "spearman"  # a thousand of them take seconds
        gap = None if slow else paired_interval(of[student], one, 0)
        value, reference = _or_none(point(one)), _or_none(point(of[student]))
        difference = None if value is None or reference is None else reference - value
        letter = f"{list(ROLES).index(name):x}"
        of_student = f"{list(ROLES).index(student):x}" * 64
        return self._new_record(
            role,
            model=name,
            backbone=Identity(name, None, letter * 64, "f" * 64),
            task=task,
            dataset="made_up",
            split=Split(("train 1",), one.cases, "made up <b>here</b>"),
            probe=probe,
            metric=one.metric,
            variant=one.variant,
            primary=one.primary,
            higher_is_better=one.higher_is_better,
            value=value,
            per_case=per_case(one),
            interval=None if slow else interval(one, 0),
            paired=None if role == "student" else Paired("student", of_student, difference, gap),
            floors=Floors(*(_or_none(point(of[n])) if n in of else None for n in FLOOR_NAMES)),
            predictions=path,
            **more,
        )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def write_benchmark(folder: Path, new_record: NewRecord, videos: int = 3, samples: int = 14) -> tuple[Path, Path]:
    """Two results files of two students; the second is measured on one task only. Returns their paths."""
    bench = Bench(folder / "first", new_record, videos, samples)
    bench.measure("phase_made_up")
    bench.measure("presence_made_up")
    bench.measure("skill_made_up", skills={name: SKILLS[name] for name in ("zen-a", "random init")})
    for count in (1, 2):
        for subset in range(3):
            skills = {name: share * (0.5 + 0.2 * count) for name, share in SKILLS.items()}
            shots = Shots(count, "cases", subset)
            bench.measure("presence_made_up", skills=skills, protocol="few_shot", shots=shots)
    left_out = Skip("phase_made_up", "lora", "", HOSTILE, "has <no> attention layers", "2026-01-01T00:00:00+00:00")
    done = Skip("presence_made_up", "frozen", "linear", "zen-a", "no memory", "2026-01-01T00:00:00+00:00")
    append_skips(bench.file, [left_out, done])
    other = Bench(folder / "second", new_record, videos, samples)
    other.measure("phase_made_up", skills={"zen-b": 0.42, **{n: s for n, s in SKILLS.items() if n != "zen-a"}})
    return bench.file, other.file


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Made once; tests that change it copy it."""
    from ..conftest import make_record

    return write_benchmark(tmp_path_factory.mktemp("benchmark"), make_record)


@pytest.fixture
def bench(tmp_path: Path, new_record: NewRecord) -> Bench:
    """An empty benchmark of three videos."""
    return Bench(tmp_path, new_record)


def without_predictions(records: list[ResultRecord]) -> list[ResultRecord]:
    """The same records of a task that keeps none."""
    return [dataclasses.replace(record, predictions=None) for record in records]
