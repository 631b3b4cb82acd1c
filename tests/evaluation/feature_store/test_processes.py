"""Real processes: two at one run, two runs at one time, one killed."""

import json
import multiprocessing
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.feature_store.part import read_index
from evaluation.features import FeatureStore
from tests.evaluation.feature_store.extraction_process import extract, references, run

PROGRAM = "tests.evaluation.feature_store.extraction_process"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([PROGRAM])  # imports take longer than all these tests


def start(*arguments: Any) -> BaseProcess:
    process = CONTEXT.Process(target=run, args=arguments, daemon=True)
    process.start()
    return process


def start_two(images: Path, folder: Path, report: Path) -> list[BaseProcess]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [start(images, folder, report, 0.0, (rank, 2, port)) for rank in range(2)]


def finish(*processes: BaseProcess) -> None:
    for process in processes:
        process.join(timeout=200)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def facts(report: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(report.glob("*.json"))]


def check_equal(report: Path, store: FeatureStore, images: Path) -> None:
    """Every process of a report read the same bits as `store` has."""
    frames = references(images)
    for path in report.glob("*.npz"):
        found = np.load(path)
        np.testing.assert_array_equal(found["pooled"], store.pooled("color", frames))
        np.testing.assert_array_equal(found["coarse"], store.coarse("color", frames))
        np.testing.assert_array_equal(found["dense"], store.dense("color", frames[::2]))


def test_two_processes_share_the_frames_and_both_read_what_one_would_have(images: Path, tmp_path: Path) -> None:
    folder, report = tmp_path / "features", tmp_path / "report"
    finish(*start_two(images, folder, report))
    assert facts(report) == [{"computed": {"color": 11}, "decoded": 11, "processes": 2}] * 2
    parts = [read_index(path) for path in folder.rglob("*.parquet")]
    assert sorted(len(part.keys) for part in parts) == [1, 2, 4, 4]  # 6 and 5 frames in parts of 4
    assert len({key for part in parts for key in part.keys}) == 11
    check_equal(report, extract(images, None), images)
    assert extract(images, folder).computed == {"color": 0}


def test_what_is_wrong_in_one_process_is_said_by_both(images: Path, tmp_path: Path) -> None:
    broken = images / "10.png"
    broken.write_bytes(broken.read_bytes()[:200])
    finish(*start_two(images, tmp_path / "features", tmp_path / "report"))
    assert facts(tmp_path / "report") == [{"processes": 2, "error": "10.png"}] * 2
    broken.unlink()
    assert extract(images, tmp_path / "features").computed == {"color": 0}  # what could be computed is kept


def test_two_runs_at_once_need_no_lock(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    finish(*(start(images, folder, tmp_path / f"report{number}", 0.02) for number in range(2)))
    memory = extract(images, None)
    for number in range(2):
        check_equal(tmp_path / f"report{number}", memory, images)
    assert extract(images, folder).computed == {"color": 0}
    assert not [path for path in folder.rglob("*") if path.suffix not in ("", ".parquet", ".safetensors", ".json")]


def test_a_killed_run_is_completed_by_the_next(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    process = start(images, folder, tmp_path / "report", 0.2)
    deadline = time.monotonic() + 100
    while not list(folder.rglob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    kept = sum(len(read_index(path).keys) for path in folder.rglob("*.parquet"))
    assert 4 <= kept < 11
    store = extract(images, folder)
    assert (store.computed, store.decoded) == ({"color": 11 - kept}, 11 - kept)
    memory = extract(images, None)
    np.testing.assert_array_equal(store.pooled("color", references(images)), memory.pooled("color", references(images)))


def test_processes_without_a_folder_are_refused(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        num_processes = 2

    monkeypatch.setattr("evaluation.features.PartialState", Two)
    with pytest.raises(ValueError, match="features of 2 processes meet in a folder, and none was given; name one"):
        extract(images, None)
