"""A task's outcome: where it goes, that two may make it at once, and a unit that no worker survives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.corpus.curation import curate
from training.corpus.manifest import read_drops
from training.corpus.sources import group, scan
from training.corpus.work.task import Task, task_folder


@pytest.fixture
def source(tmp_path, scene, write_still, write_video, moving) -> Path:
    for frame in range(3):
        write_still(tmp_path / "data" / f"s_{frame:03d}.png", np.roll(scene(1), 7 * frame, axis=1))
    write_video(tmp_path / "data" / "v.mp4", moving(3, seed=2))
    return tmp_path / "data"


def units_of(source: Path, settings) -> list:
    found = scan([source])
    return group(found.videos, found.stills, settings())


def test_another_label_or_case_is_another_outcome(source, settings):
    unit = units_of(source, settings)[0]
    plain = task_folder(Path("work"), unit, settings())
    assert plain == task_folder(Path("work"), unit, settings(workers=7, engine="local", fps=2.0))
    file = unit.files[0]
    labeled = replace(unit, files=(replace(file, labels=replace(file.labels, licence="CC0")), *unit.files[1:]))
    others = [
        task_folder(Path("work"), unit, settings(procedure="sleeve")),
        task_folder(Path("work"), replace(unit, case_id="x"), settings()),
        task_folder(Path("work"), replace(unit, folder_split="held_out"), settings()),
        task_folder(Path("work"), labeled, settings()),
    ]
    assert len({plain, *others}) == 5


def test_two_workers_may_finish_the_same_unit(source, settings, tmp_path):
    unit = units_of(source, settings)[0]
    assert unit.kind == "stills"
    task = Task(unit, settings(), tmp_path / "work" / "unit", replaced=False)
    task.run(None, lambda *_: None)  # type: ignore[arg-type]
    first = {path.name: path.read_bytes() for path in task.folder.iterdir()}
    assert task.finished
    assert task.num_bytes == len(first["frames.bin"])
    task.run(None, lambda *_: None)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in task.folder.iterdir()} == first
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["unit"]


def test_a_unit_that_nobody_survives_has_rows_and_is_tried_again_by_the_next_run(
    source, settings, tmp_path, monkeypatch
):
    real = Task.run
    fatal = [""]

    def deadly(task: Task, *rest) -> None:
        if task.unit.kind == fatal[0]:
            task.give_up("the worker process was ended by SIGKILL, 3 times")
        else:
            real(task, *rest)

    monkeypatch.setattr(Task, "run", deadly)
    for kind, rows, frames in (("stills", 3, 3), ("video", 1, 0)):  # of a video that was not opened no frame is sampled
        out = tmp_path / kind
        fatal[0] = kind
        counts = curate([source], out, settings()).counts
        assert counts["dropped"] == {"worker_died": {"rows": rows, "frames": frames}}
        assert counts["frames_sampled"] == counts["frames_kept"] + frames
        drops = read_drops(out / "drops.parquet")
        assert {drop.detail for drop in drops} == {"the worker process was ended by SIGKILL, 3 times"}
        fatal[0] = ""
        again = curate([source], out, settings())
        assert again.counts["dropped"] == {}
        assert again.counts["frames_kept"] == again.counts["frames_sampled"] == 6
        assert curate([source], out, settings()).nothing_new


def test_how_the_work_was_done_is_in_no_file(source, settings, tmp_path):
    curate([source], tmp_path / "out", settings())
    facts = json.loads((tmp_path / "out" / "curation.json").read_text())
    known = json.loads((tmp_path / "out" / "journal" / "settings.json").read_text())
    for name in ("engine", "workers", "ray_address"):
        assert name not in facts["settings"]
        assert name not in known
