"""Tasks that are problems: samples with a target, which every protocol can be given."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.backbones import Backbone
from evaluation.datasets import FrameReference
from evaluation.datasets.samples import SampleDataset, Target
from evaluation.datasets.workflow import SIDES, UNLABELED, LabeledVideo, Track, WorkflowDataset
from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame, CorpusFrame
from evaluation.predictions import Predictions
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.probe import PROBES
from evaluation.protocols.problem import Problem, Samples
from evaluation.protocols.selection import Chosen
from evaluation.scoring import score
from evaluation.tasks.task import Aim, Outcome, SplitCases
from training.errors import UserError

CONSTANT = Chosen({}, "fixed before the run", "the constant predictor has nothing to choose")
_RARE = 1e-6  # share from which log odds are taken: those of a column without positives would be infinite


class ProblemTask:
    """A problem with its name, scored as its family says."""

    def __init__(
        self, name: str, family: str, dataset: str, fingerprint: str, problem: Problem, split: str, split_source: str
    ) -> None:
        self.name, self.family, self.dataset, self.problem = name, family, dataset, problem
        self.data_sha256 = fingerprint
        train, val, test = (tuple(sorted(set(side.cases))) for side in (problem.train, problem.val, problem.test))
        self.split = SplitCases(train, val, test, split, split_source)
        for noun, side in (("train", problem.train), ("test", problem.test)):
            if not len(side):
                raise UserError(f"task {name!r}: no sample on the {noun} side of {dataset} has a {problem.target.name}")
        if problem.target.kind == "multi" and not problem.test.targets.any():
            raise UserError(f"task {name!r}: no test sample of {dataset} has any {problem.target.name}")
        everything = (problem.train, problem.val, problem.test)
        self.frames: Sequence[AnyFrame] = [frame for side in everything for frames in side.frames for frame in frames]
        self.dense_frames: Sequence[AnyFrame] = []

    def aims(self, backbones: Sequence[Backbone]) -> list[Aim]:
        """One, whatever the backbones."""
        return [Aim()]

    def predict(self, aim: Aim, probe: str, store: FeatureStore, backbone: str, seed: int) -> Outcome:
        """Scores of the test samples by the probe fitted on the training samples."""
        scores, chosen = PROBES.get(probe).fit(Inputs(store, backbone), self.problem, seed)
        return self.outcome(scores, chosen)

    def constant(self, aim: Aim, store: FeatureStore) -> Outcome:
        """Class frequencies of the train side, as log odds where columns are apart, or its mean."""
        target, truth = self.problem.target, self.problem.train.targets
        if target.kind == "single":
            row = np.bincount(truth, minlength=len(target.classes)) / len(truth)
        elif target.kind == "multi":
            share = truth.mean(axis=0).clip(_RARE, 1 - _RARE)
            row = np.log(share / (1 - share))
        else:
            row = truth.mean(axis=0)
        return self.outcome(np.repeat(row[None], len(self.problem.test), axis=0), CONSTANT)

    def outcome(self, scores: np.ndarray, chosen: Chosen) -> Outcome:
        """Measures of scores (N_test, C)."""
        test = self.problem.test
        predictions = Predictions(
            self.name,
            self.family,
            self.problem.target,
            test.cases,
            test.videos,
            test.seconds,
            test.targets,
            np.asarray(scores, dtype=np.float32),
        )
        return Outcome(score(predictions), chosen, predictions)

    def with_train(self, rows: Sequence[int] | np.ndarray) -> "ProblemTask":
        """The same task with some of the training samples only, and without validation: few labels are few."""
        problem = Problem(
            self.problem.target, self.problem.train.take(rows), self.problem.val.take([]), self.problem.test
        )
        split = self.split
        return ProblemTask(self.name, self.family, self.dataset, self.data_sha256, problem, split.name, split.source)

    def test_digests(self) -> Mapping[str, Sequence[str]]:
        """SHA-256 of the image or video files of each test case, in frame order."""
        files: dict[str, dict[Path, None]] = {}
        for case, frames in zip(self.problem.test.cases, self.problem.test.frames, strict=True):
            paths = [frame.path for frame in frames if not isinstance(frame, CorpusFrame)]
            files.setdefault(case, {}).update(dict.fromkeys(paths))
        return {case: [sha256_of_file(path) for path in paths] for case, paths in files.items()}


@functools.cache  # several tasks of one run share their files
def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def from_workflow(task: str, family: str, dataset: WorkflowDataset, track: str) -> ProblemTask:
    """Frames of videos with one track of a workflow dataset; frames without a label of it are left out."""
    kind = next(each for each in dataset.tracks if each.name == track)
    target = target_of(kind)
    sides = [
        video_samples([video for video in dataset.videos if video.side == side], kind, dataset.root) for side in SIDES
    ]
    return ProblemTask(
        task, family, dataset.name, dataset.fingerprint(), Problem(target, *sides), dataset.split, dataset.split_source
    )


def target_of(track: Track) -> Target:
    """A track as a target."""
    return Target(track.name, "multi" if track.several else "single", track.classes)


def video_samples(videos: Sequence[LabeledVideo], track: Track, root: Path) -> Samples:
    """The labeled frames of videos, one sample each, in the order of the videos."""
    frames: list[tuple[AnyFrame, ...]] = []
    cases: list[str] = []
    names: list[str] = []
    seconds, targets = [], []
    for video in videos:
        labels = video.labels[track.name]
        kept = np.flatnonzero(~(labels == UNLABELED).any(axis=1) if track.several else labels != UNLABELED)
        frames += [(_reference(video, int(row)),) for row in kept]
        cases += [video.case_id] * len(kept)
        names += [video.video.relative_to(root).as_posix()] * len(kept)
        seconds.append(video.seconds[kept])
        targets.append(labels[kept])
    empty = np.zeros((0, len(track.classes)) if track.several else (0,))
    joined = np.concatenate([*targets, empty.astype(np.int64)])
    return Samples(
        tuple(frames),
        tuple(cases),
        tuple(names),
        np.concatenate([*seconds, np.zeros(0)]),
        joined.astype(bool) if track.several else joined.astype(np.int64),
    )


def _reference(video: LabeledVideo, row: int) -> FrameReference:
    if video.files:
        return FrameReference(video.files[row])
    return FrameReference(video.video, int(video.frames[row]))


def from_samples(task: str, family: str, dataset: SampleDataset) -> ProblemTask:
    """The samples of a dataset; each is a video of its own."""
    sides = [_labeled_samples(dataset, side) for side in SIDES]
    return ProblemTask(
        task,
        family,
        dataset.name,
        dataset.fingerprint(),
        Problem(dataset.target, *sides),
        dataset.split,
        dataset.split_source,
    )


def _labeled_samples(dataset: SampleDataset, side: str) -> Samples:
    samples = [sample for sample in dataset.samples if sample.side == side]
    kind, classes = dataset.target.kind, len(dataset.target.classes)
    dtype: Any = {"single": np.int64, "multi": bool, "value": np.float32}[kind]
    targets = np.array([sample.label for sample in samples], dtype=dtype)
    if not samples:
        targets = np.zeros((0,) if kind == "single" else (0, classes), dtype=dtype)
    names = [_sample_name(sample.frames[0], dataset.root) for sample in samples]
    return Samples(
        tuple(sample.frames for sample in samples),
        tuple(sample.case_id for sample in samples),
        tuple(names),
        np.zeros(len(samples)),
        targets,
    )


def _sample_name(first: FrameReference, root: Path) -> str:
    """Path within the dataset, with the frame number in a video: the same on every machine, as few-shot draws by it."""
    place = first.path.relative_to(root).as_posix()
    return place if first.frame_index is None else f"{place} {first.frame_index}"
