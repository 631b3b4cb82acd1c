from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.bootstrap import per_case, point
from evaluation.features import extract_features
from evaluation.tasks import TASKS, Sources
from evaluation.tasks.teacher_agreement import AgreementTask, measured_r2, spread_frames
from training.corpus import Corpus
from training.errors import UserError


def test_prediction_by_hand() -> None:
    prediction = measured_r2("summary", ("a", "b"), np.array([1.0, 3.0]), np.array([4.0, 4.0]), 10)
    assert point(prediction) == pytest.approx(0.5)
    assert per_case(prediction) == {"a": 0.75, "b": 0.25}


def test_frames_are_spread_evenly_over_cases(corpus_folder: Path) -> None:
    corpus = Corpus.open(corpus_folder)
    frames = spread_frames(corpus, "train", 9)
    assert [position for _, position in frames] == [1, 3, 5] * 3
    assert len({clip.clip_id for clip, _ in frames}) == 3
    assert len(spread_frames(corpus, "train", 1000)) == 18
    empty = Corpus(corpus.storage, corpus.clips("train"), corpus.fingerprint)
    assert spread_frames(empty, "held_out", 9) == []


def test_r2_of_itself_is_one_and_of_noise_is_none(corpus_folder: Path, mean_color: Any) -> None:
    class Noise(mean_color):  # type: ignore[misc, valid-type]
        role = "random_init"

        def extract(self, images: np.ndarray) -> Any:
            plain = super().extract(images)
            rng = np.random.default_rng(0)
            return type(plain)(
                *(rng.standard_normal(part.shape).astype(np.float32) for part in (plain.summary, plain.dense))
            )

    backbones = [mean_color("teacher"), Noise("noise")]
    task = AgreementTask(corpus_folder)
    store = extract_features(backbones, task.frames, task.dense_frames, 64, memory_limit=1)
    aims = task.aims(backbones)
    assert [(aim.teacher, aim.tokens) for aim in aims] == [("teacher", "summary"), ("teacher", "dense")]
    for aim in aims:
        itself = task.predict(aim, "linear", store, "teacher", 0)
        assert point(itself.measures[0]) > 0.95
        assert itself.chosen.chosen_on == "train folds by case"
        assert point(task.predict(aim, "linear", store, "noise", 0).measures[0]) < 0.2
        assert point(task.constant(aim, store).measures[0]) == 0
    assert task.split.train == ("corpus0", "corpus1", "corpus2")
    assert task.split.test == ("corpus3", "corpus4")


def test_a_teacher_without_summary_has_dense_tokens_only(corpus_folder: Path, mean_color: Any) -> None:
    teacher = mean_color("dense only")
    teacher.summary_width = 0
    assert [aim.tokens for aim in AgreementTask(corpus_folder).aims([teacher])] == ["dense"]


def test_needs_a_corpus() -> None:
    with pytest.raises(UserError, match="task 'teacher_agreement' needs a pretraining corpus; give its folder"):
        TASKS.get("teacher_agreement").load(Sources((), None), None)
