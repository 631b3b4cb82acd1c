"""Killed at any moment: the next run ends with the same corpus, byte by byte."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from training.corpus import Corpus, publication
from training.corpus import journal as journal_module
from training.corpus.curation import curate
from training.corpus.journal import Journal
from training.corpus.removal import remove_case
from training.corpus.work import task as task_module
from training.errors import UserError

RESULT = ("manifest.parquet", "drops.parquet", "curation.json", "shards")


class Kill(BaseException):
    """Stands for a process that ends here: nothing catches it."""


def result(out: Path) -> dict[str, bytes]:
    files = [path for name in RESULT for path in ([out / name] if (out / name).is_file() else (out / name).iterdir())]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture
def source(tmp_path, scene, write_still) -> Path:
    """Six stills videos of two frames each."""
    for video in range(6):
        for frame in range(2):
            write_still(tmp_path / "data" / f"v{video}_{frame:03d}.png", np.roll(scene(video), 7 * frame, axis=1))
    return tmp_path / "data"


@pytest.fixture
def small(settings):
    return settings(shard_megabytes=0.013)  # several shards


@pytest.fixture(scope="module")
def known_results() -> dict[str, dict[str, bytes]]:
    """Room for what an undisturbed run gives: the same for every test."""
    return {}


@pytest.fixture
def expected(source, small, tmp_path, known_results) -> dict[str, bytes]:
    if not known_results:
        curate([source], tmp_path / "whole", small)
        assert len(list((tmp_path / "whole" / "shards").iterdir())) > 1
        known_results["whole"] = result(tmp_path / "whole")
    return known_results["whole"]


def kill_at(monkeypatch, owner, name: str, call: int, *, after: bool) -> None:
    """Let the `call`-th call (from 0) of `owner.name` end the process, before or after doing its work."""
    real, calls = getattr(owner, name), [0]

    def wrapped(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call + 1 and not after:
            raise Kill
        answer = real(*args, **kwargs)
        if calls[0] == call + 1:
            raise Kill
        return answer

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (task_module, "curate_unit", 0),
        (task_module, "curate_unit", 3),
        (Path, "rename", 0),  # the first unit's folder
        (Path, "rename", 3),
        (journal_module, "open_shard", 0),
        (journal_module, "write_rows", 0),  # a commit's tables: clips
        (journal_module, "write_rows", 2),  # files
        (journal_module, "write_rows", 5),  # of a later commit
        (shutil, "rmtree", 0),  # the committed unit's frames
        (publication, "write_rows", 0),  # the public tables: manifest
        (publication, "write_rows", 1),
        (Path, "replace", 0),
        (Path, "replace", 4),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_killed_and_started_again(source, small, expected, tmp_path, monkeypatch, owner, name, call, after):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, call, after=after)
        with pytest.raises(Kill):
            curate([source], out, small)
    assert not (out / "curation.json").exists() or Corpus.open(out)
    outcome = curate([source], out, small)
    assert result(out) == expected
    assert outcome.counts["frames_kept"] == 12
    assert {path.name for path in (out / "journal" / "work").iterdir()} == set()
    assert curate([source], out, small).nothing_new


def test_an_unfinished_corpus_is_not_read(source, small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at(patch, publication, "write_rows", 1, after=False)
        with pytest.raises(Kill):
            curate([source], tmp_path / "out", small)
    with pytest.raises(UserError, match=r"has no curation.json: run the same python -m training.curate command again"):
        Corpus.open(tmp_path / "out")


def test_finished_units_are_not_curated_again(source, small, expected, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at(patch, task_module, "curate_unit", 2, after=False)
        with pytest.raises(Kill):
            curate([source], tmp_path / "out", small)
    done = len(list((tmp_path / "out" / "journal" / "work").iterdir()))
    assert done == 2
    assert curate([source], tmp_path / "out", small).resumed_units == 2
    assert result(tmp_path / "out") == expected


def test_a_finished_unit_whose_file_changed_is_done_anew(source, small, tmp_path, scene, write_still, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at(patch, task_module, "curate_unit", 2, after=False)
        with pytest.raises(Kill):
            curate([source], tmp_path / "out", small)
    write_still(source / "v0_000.png", scene(99))
    curate([source], tmp_path / "new", small)
    assert curate([source], tmp_path / "out", small).resumed_units == 1
    assert result(tmp_path / "out") == result(tmp_path / "new")


def test_a_corpus_that_another_run_began_meanwhile_is_not_given_other_settings(settings, tmp_path):
    late = Journal(tmp_path / "out", settings(fps=2.0))
    with Journal(tmp_path / "out", settings(fps=1.0)) as first:
        assert first.created
    with pytest.raises(UserError, match=r"other settings \(fps=1.0 there, 2.0 now\)"), late:
        pass
    assert json.loads((tmp_path / "out" / "journal" / "settings.json").read_text())["fps"] == 1.0


def test_a_corpus_that_another_run_took_back_meanwhile_is_not_written(settings, tmp_path):
    late = Journal(tmp_path / "out", settings())
    with Journal(tmp_path / "out", settings()) as first:
        first.remove()
    with pytest.raises(UserError, match=r"another curation has just removed .*out', .*: run the same command"), late:
        pass
    assert not (tmp_path / "out").exists()


def test_a_worker_that_outlived_its_run_makes_no_half_unit(source, small, expected, tmp_path, monkeypatch):
    """While the next run removes what a killed one left, a worker of that is still there and finishes its unit."""
    with monkeypatch.context() as patch:
        kill_at(patch, task_module, "curate_unit", 2, after=False)
        with pytest.raises(Kill):
            curate([source], tmp_path / "out", small)
    work = tmp_path / "out" / "journal" / "work"
    own = work / f"{'a' * 24}.0123abcd.tmp"
    own.mkdir()
    (own / "frames.bin").write_bytes(b"x")
    remove, tried = shutil.rmtree, []

    def removed_under_its_hands(folder: Path, *rest, **more) -> None:
        if not tried:
            tried.append(folder)
            (Path(folder) / "frames.bin").unlink()
            if own.exists():
                own.rename(work / ("a" * 24))
        remove(folder, *rest, **more)

    monkeypatch.setattr(shutil, "rmtree", removed_under_its_hands)
    curate([source], tmp_path / "out", small)
    assert tried
    assert result(tmp_path / "out") == expected
    assert list(work.iterdir()) == []


def test_a_case_can_be_removed_after_a_kill_amid_the_clearing_up_of_a_commit(source, small, tmp_path, monkeypatch):
    def half(folder: Path, *_: object) -> None:
        (folder / "unit.json").unlink()
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", half)
        with pytest.raises(Kill):
            curate([source], tmp_path / "out", small)
    remove_case(tmp_path / "out", "data__v0")
    curate([source], tmp_path / "out", small)
    assert {clip.case_id for clip in Corpus.open(tmp_path / "out").manifest} == {f"data__v{n}" for n in range(1, 6)}
    assert list((tmp_path / "out" / "journal" / "work").iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_damaged_settings_are_named(source, small, tmp_path, content):
    curate([source], tmp_path / "out", small)
    (tmp_path / "out" / "journal" / "settings.json").write_text(content)
    for act in (lambda: curate([source], tmp_path / "out", small), lambda: remove_case(tmp_path / "out", "data__v1")):
        with pytest.raises(UserError, match=r"journal/settings.json' is damaged: restore it from a copy"):
            act()


@pytest.mark.parametrize("name", ["clips", "drops", "files", "masks"])
def test_a_damaged_commit_is_named(source, small, tmp_path, name):
    curate([source], tmp_path / "out", small)
    table = tmp_path / "out" / "journal" / "00000" / f"{name}.parquet"
    content = table.read_bytes()
    for damage in (lambda: table.write_bytes(content[:-9]), table.unlink):
        damage()
        with pytest.raises(UserError, match=rf"journal/00000/{name}.parquet' cannot be read \(\w+\): restore it"):
            curate([source], tmp_path / "out", small)


@pytest.mark.parametrize("name", ["unit.json", "frames.bin"])
def test_a_damaged_unit_is_named(source, small, tmp_path, monkeypatch, name):
    with monkeypatch.context() as patch:
        kill_at(patch, task_module, "curate_unit", 2, after=False)
        with pytest.raises(Kill):
            curate([source], tmp_path / "out", small)
    unit = min((tmp_path / "out" / "journal" / "work").iterdir())
    (unit / name).write_bytes((unit / name).read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"{unit.name}/{name}' is (damaged|cut short).*: remove that folder and run"):
        curate([source], tmp_path / "out", small)
    shutil.rmtree(unit)
    curate([source], tmp_path / "out", small)
