"""Agreement with a teacher, without labels: how much of its tokens a linear map reads out of a frozen backbone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from evaluation.backbones import Backbone
from evaluation.features import FeatureStore
from evaluation.frames import AnyFrame, CorpusFrame
from evaluation.protocols.ridge import fit_ridge
from evaluation.scoring import Measured
from evaluation.scoring.measured import ratio
from evaluation.tasks.problems import CONSTANT
from evaluation.tasks.task import TASKS, Aim, LoadedTask, Outcome, Sources, SplitCases, Task
from training.corpus import Clip, Corpus
from training.errors import UserError

METRIC = "r2"
TRAIN_FRAMES = 256  # frames the ridge probe is fitted on: 12,500 tokens on a 7 x 7 grid, 50,000 on a 14 x 14 one
TEST_FRAMES = 192  # frames it is scored on, spread evenly over the held-out cases


class AgreementTask:
    """R² of a fresh ridge probe from a frozen backbone to each teacher's tokens on held-out cases of a corpus.

    Summary tokens are predicted from summary and mean dense token together, dense tokens cell by cell: the backbone's
    grid is resampled to the teacher's (bilinear with antialiasing, so a finer grid is averaged).
    """

    def __init__(self, folder: Path) -> None:
        corpus = Corpus.open(folder)
        self._corpus = corpus
        self.dataset = folder.resolve().name
        self.data_sha256 = corpus.fingerprint
        train, test = spread_frames(corpus, "train", TRAIN_FRAMES), spread_frames(corpus, "held_out", TEST_FRAMES)
        for side, frames in (("train", train), ("held_out", test)):
            if not frames:
                raise UserError(f"corpus {str(folder)!r} has no {side} clip; teacher_agreement needs both sides")
        self._train = [CorpusFrame(folder, clip.clip_id, position) for clip, position in train]
        self._test = [CorpusFrame(folder, clip.clip_id, position) for clip, position in test]
        self._cases = {clip.clip_id: clip.case_id for clip, _ in [*train, *test]}
        self.split = SplitCases(
            tuple(sorted({self._cases[frame.clip_id] for frame in self._train})),
            (),
            tuple(sorted({self._cases[frame.clip_id] for frame in self._test})),
            "manifest",
            "split of the corpus manifest: train, held_out",
        )
        self.frames: Sequence[AnyFrame] = [*self._train, *self._test]
        self.dense_frames = self.frames
        self._teachers: dict[str, str] = {}

    def aims(self, backbones: Sequence[Backbone]) -> list[Aim]:
        """Dense tokens of every teacher, and summaries of those that have one."""
        teachers = [backbone for backbone in backbones if backbone.role == "teacher"]
        kinds = [
            (b.name, kind) for b in teachers for kind in ("summary", "dense") if kind == "dense" or b.summary_width
        ]
        return [Aim(f"{kind} tokens of {name}, over the mean of the train side", name, kind) for name, kind in kinds]

    def predict(self, aim: Aim, probe: str, store: FeatureStore, backbone: str, seed: int) -> Outcome:
        """Fit on the train side, sum squared errors per held-out case."""
        inputs, targets, owners = self._tokens(aim, store, backbone, self._train)
        fitted, chosen = fit_ridge(inputs, targets, owners)
        inputs, wanted, owners = self._tokens(aim, store, backbone, self._test)
        errors = ((fitted(inputs) - wanted) ** 2).sum(axis=1)
        return Outcome([self._measured(aim, errors, wanted, targets, owners)], chosen)

    def constant(self, aim: Aim, store: FeatureStore) -> Outcome:
        """The mean of the train side: R² is 0 by definition."""
        name = str(aim.teacher)
        _, targets, _ = self._tokens(aim, store, name, self._train)
        _, wanted, owners = self._tokens(aim, store, name, self._test)
        errors = ((targets.mean(axis=0) - wanted) ** 2).sum(axis=1)
        return Outcome([self._measured(aim, errors, wanted, targets, owners)], CONSTANT)

    def test_digests(self) -> Mapping[str, Sequence[str]]:
        """SHA-256 of the sources of each held-out case, as the manifest has them."""
        digests: dict[str, dict[str, None]] = defaultdict(dict)
        for clip in self._corpus.clips("held_out"):
            digests[clip.case_id][clip.sha256] = None
        return {case: list(found) for case, found in digests.items()}

    def _measured(
        self, aim: Aim, errors: np.ndarray, wanted: np.ndarray, targets: np.ndarray, owners: Sequence[str]
    ) -> Measured:
        """The measure from squared errors of each token (N,)."""
        positions = np.searchsorted(np.array(self.split.test), np.array(owners))
        constant = ((targets.mean(axis=0) - wanted) ** 2).sum(axis=1)
        sums = [np.bincount(positions, weights=rows, minlength=len(self.split.test)) for rows in (errors, constant)]
        return measured_r2(aim.name, self.split.test, sums[0], sums[1], len(self._test))

    def _tokens(
        self, aim: Aim, store: FeatureStore, backbone: str, frames: Sequence[CorpusFrame]
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Inputs (N, D), targets (N, T), float32, and the case of each row."""
        teacher = str(aim.teacher)
        cases = [self._cases[frame.clip_id] for frame in frames]
        if aim.tokens == "summary":
            return store.pooled(backbone, frames), store.summary(teacher, frames), cases
        targets = store.dense(teacher, frames)
        h, w = targets.shape[2:]
        inputs = torch.from_numpy(store.dense(backbone, frames))
        if inputs.shape[2:] != (h, w):
            inputs = F.interpolate(inputs, size=(h, w), mode="bilinear", align_corners=False, antialias=True)
        owners = [case for case in cases for _ in range(h * w)]
        return _rows(inputs.numpy()), _rows(targets), owners


def measured_r2(
    variant: str, cases: tuple[str, ...], errors: np.ndarray, constant_errors: np.ndarray, frames: int
) -> Measured:
    """R² = 1 - Σ||y - ŷ||² / Σ||y - mean of the train side||² from sums of squares of each case, float64 (cases,)."""
    share = ratio(errors, constant_errors, np.arange(len(cases)))
    detail = {"test_frames": frames}
    return Measured(METRIC, variant, cases, lambda weights: 1 - share(weights), primary=True, detail=detail)


def spread_frames(corpus: Corpus, split: str, most: int) -> list[tuple[Clip, int]]:
    """At most about `most` frames: every case gives the same number, evenly spaced over its frames (at least one).

    Returns:
        Clip and position in it, cases in the order of their names.
    """
    clips, cases = corpus.clips(split), corpus.cases(split)
    share = -(-most // max(len(cases), 1))
    chosen = []
    for frames in cases:
        count = min(share, len(frames))
        places = [frames.locate(int((i + 0.5) * len(frames) / count)) for i in range(count)]
        chosen += [(clips[clip], position) for clip, position in places]
    return chosen


def _rows(dense: np.ndarray) -> np.ndarray:
    """(N, D, h, w) -> (N * h * w, D)."""
    return dense.transpose(0, 2, 3, 1).reshape(-1, dense.shape[1])


def _find(sources: Sources) -> Path | None:
    return sources.corpus


def _load(sources: Sources, split: str | None) -> LoadedTask:
    if split is not None:
        raise UserError("task 'teacher_agreement' takes the split of the corpus manifest, no other")
    if sources.corpus is None:
        raise UserError("task 'teacher_agreement' needs a pretraining corpus; give its folder with --corpus")
    return AgreementTask(sources.corpus)


TASKS.register("teacher_agreement")(
    Task(
        "teacher_agreement",
        "agreement",
        ("linear",),
        "corpus (--corpus)",
        "that of the corpus",
        "python -m training.corpus",
        _find,
        _load,
    )
)
