from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from training.corpus import Corpus
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives import Objective
from training.objectives.supervised import SupervisedObjective


def setup_of(corpus: Path, objective: Objective) -> Any:
    config = SimpleNamespace(supervised=None, student=SimpleNamespace(image_size=32), seed=0)
    processor = SimpleNamespace(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return cast(
        Any,
        SimpleNamespace(config=config, student=objective.student, processor=processor, corpus=Corpus.open(corpus)),
    )


@pytest.mark.parametrize(
    ("procedures", "message"),
    [
        ([(), ()], r"those of corpus '.*' state none: curate their sources with procedure=NAME"),
        ([("hernia_repair",), ("hernia_repair",)], r"state only 'hernia_repair': curate"),
        ([("hernia_repair",), ("hernia_repair", "cholecystectomy")], r"state only 'hernia_repair': curate"),
    ],
)
def test_it_needs_two_procedures_to_tell_apart(
    procedures: list[tuple[str, ...]],
    message: str,
    write_corpus: Callable[..., Path],
    new_strategy: Callable[[str], Objective],
    tmp_path: Path,
) -> None:
    clips = [{"num_frames": 2, "procedures": each} for each in procedures]
    # what only held-out cases show cannot be learned
    clips.append({"num_frames": 2, "procedures": ("gastrectomy",), "split": "held_out"})
    corpus = write_corpus(tmp_path / "corpus", clips)
    with pytest.raises(UserError, match=message):
        SupervisedObjective.build(setup_of(corpus, new_strategy("supervised")))


def test_it_has_a_class_for_every_procedure(
    write_corpus: Callable[..., Path], new_strategy: Callable[[str], Objective], tmp_path: Path
) -> None:
    clips = [{"num_frames": 2, "procedures": (name,)} for name in ("a", "b")]
    corpus = write_corpus(tmp_path / "corpus", clips)
    built = SupervisedObjective.build(setup_of(corpus, new_strategy("supervised")))
    assert built.classifier.out_features == 2


def test_frames_without_a_label_do_not_count(
    new_strategy: Callable[[str], Objective], wave_batch: Callable[..., ViewBatch]
) -> None:
    objective = new_strategy("supervised").eval()
    batch = wave_batch(range(4), 1)
    expected = objective(batch.split(3)[0])["procedure"]
    labels = batch.procedures.clone()
    labels[3] = -1
    torch.testing.assert_close(objective(batch._replace(procedures=labels))["procedure"], expected)
