"""The catalog: splits by name, and what each entry says."""

from pathlib import Path

import pytest

from evaluation.datasets import endoscapes
from evaluation.datasets.dataset import read_json
from evaluation.datasets.samples import SAMPLE_DATASETS
from evaluation.datasets.workflow import WORKFLOW_DATASETS
from evaluation.protocols.probe import PROBES
from evaluation.scoring import SCORERS
from evaluation.tasks import TASKS, Sources
from evaluation.tasks.catalog import SAMPLE_TASKS, WORKFLOW_TASKS, _split
from training.errors import UserError


def test_every_dataset_and_every_track_has_a_task() -> None:
    tracks = {(row[2], row[3]) for row in WORKFLOW_TASKS}
    for name in WORKFLOW_DATASETS.names():
        assert {(name, track) for track in WORKFLOW_DATASETS.get(name).tracks} <= tracks
    assert {row[2] for row in SAMPLE_TASKS} == set(SAMPLE_DATASETS.names())


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_says_what_it_is(name: str) -> None:
    task = TASKS.get(name)
    assert task.family in {*SCORERS, "segmentation", "agreement"}
    assert all(probe in PROBES for probe in task.probes)
    assert task.licence
    assert task.obtain


def test_splits_by_rule_go_by_number(tmp_path: Path) -> None:
    reader = SAMPLE_DATASETS.get("lapgyn4")
    assert _split("action_lapgyn4", reader, tmp_path, None) is None
    with pytest.raises(UserError, match="task 'action_lapgyn4' has no split 'official'; its splits are called fold_1"):
        _split("action_lapgyn4", reader, tmp_path, "official")


def test_an_unknown_split_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown split of autolaparo_motion 'fold'"):
        _split("motion_autolaparo", SAMPLE_DATASETS.get("autolaparo_motion"), tmp_path, "fold")


def test_a_dataset_is_scanned_once_for_all_its_tasks(endoscapes_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = []
    sources = Sources((endoscapes_folder,), None)
    monkeypatch.setattr(endoscapes, "read_json", lambda *words: scans.append(words) or read_json(*words))
    TASKS.get("presence_endoscapes").load(sources, None)
    once = len(scans)
    assert once > 0
    for name in ("cvs_endoscapes", "segmentation_endoscapes"):
        TASKS.get(name).load(sources, None)
    assert len(scans) == once
    TASKS.get("cvs_endoscapes").load(Sources((endoscapes_folder,), None), None)  # another run looks for itself
    assert len(scans) == 2 * once
