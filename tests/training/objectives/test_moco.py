from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from training.corpus import Corpus
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives import Objective
from training.objectives.moco import NO_CLIP, MocoObjective


@pytest.fixture
def objective(new_strategy: Callable[[str], Objective]) -> MocoObjective:
    made = new_strategy("moco")
    assert isinstance(made, MocoObjective)
    return made


def test_the_queue_holds_the_newest_keys_in_turn(objective: MocoObjective) -> None:
    assert (objective.queue_clips == NO_CLIP).all()
    for first in (0, 30, 60):
        keys = torch.arange(first, first + 30).float()[:, None].expand(-1, 32)
        objective._enqueue(keys, torch.arange(first, first + 30))
    assert int(objective.queue_next) == 90 - 64
    expected = [*range(64, 90), *range(26, 64)]  # the first 26 places for the second time
    assert objective.queue_clips.tolist() == expected
    assert objective.queue[:, 0].tolist() == expected
    objective._enqueue(torch.zeros(100, 32), torch.arange(100))
    assert sorted(objective.queue_clips.tolist()) == list(range(36, 100))


def test_frames_of_one_clip_are_no_negatives(objective: MocoObjective, wave_batch: Callable[..., ViewBatch]) -> None:
    one_clip = wave_batch([3, 3, 3, 3], 1, objective.crops)
    assert float(objective(one_clip)["contrast"].detach()) == 0  # nothing to be told from, also not in the queue now
    assert float(objective(one_clip)["contrast"].detach()) == 0
    other = wave_batch([4, 4], 2, objective.crops)
    assert float(objective(other)["contrast"].detach()) > 0  # 16 keys of clip 3


def test_an_untrained_student_scores_about_chance(
    objective: MocoObjective, wave_batch: Callable[..., ViewBatch]
) -> None:
    loss = float(objective(wave_batch(range(16), 1, objective.crops))["contrast"].detach())
    assert loss == pytest.approx(np.log(1 + 2 * 15), rel=0.3)


def test_it_needs_two_clips(objective: MocoObjective, write_corpus: Callable[..., Path], tmp_path: Path) -> None:
    corpus = Corpus.open(write_corpus(tmp_path / "corpus", [{"num_frames": 3}]))
    setup = cast(Any, SimpleNamespace(config=None, corpus=corpus))
    with pytest.raises(UserError, match=r"tells frames of different clips apart, but corpus 'corpus' has 1 training"):
        MocoObjective.build(setup)
