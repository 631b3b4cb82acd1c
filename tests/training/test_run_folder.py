import json
from dataclasses import replace
from pathlib import Path

import pytest

from training.config import load_config
from training.errors import UserError
from training.run_folder import RunFolder
from training.settings import PretrainConfig


def settings(folder: Path, *overrides: str) -> PretrainConfig:
    words = [f"output_dir={folder}", "data.corpus=c", "teachers.t.repo=r", "max_steps=10", *overrides]
    return load_config(PretrainConfig, None, words)


def test_new_folder_then_continued(tmp_path: Path) -> None:
    config = settings(tmp_path / "run")
    run = RunFolder.open(config)
    assert not run.resuming
    assert not (tmp_path / "run").exists()
    run.begin(config, {"teachers.json": [{"id": "a"}]})
    again = RunFolder.open(config)
    assert again.resuming
    again.begin(config, {"teachers.json": [{"id": "a"}]})


def test_of_many_processes_one_writes_and_all_refuse(tmp_path: Path) -> None:
    config = settings(tmp_path / "run")
    RunFolder.open(config).begin(config, {"teachers.json": [{"id": "a"}]}, write=False)
    assert not (tmp_path / "run").exists()
    RunFolder.open(config).begin(config, {"teachers.json": [{"id": "a"}]})
    with pytest.raises(UserError, match=r"began with another teachers\.json: 0\.id: a -> b"):
        RunFolder.open(config).begin(config, {"teachers.json": [{"id": "b"}]}, write=False)


def test_changed_settings_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    config = settings(tmp_path)
    RunFolder.open(config).begin(config, {})
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(UserError, match=r"other settings: optimizer\.lr: 0\.0003 -> 0\.001; seed: 0 -> 1"):
        RunFolder.open(settings(tmp_path, "seed=1", "optimizer.lr=0.001"))
    assert (tmp_path / "config.yaml").read_text() == before


def test_what_does_not_change_the_weights_may_differ(tmp_path: Path) -> None:
    config = settings(tmp_path)
    RunFolder.open(config).begin(config, {})
    RunFolder.open(settings(tmp_path, "log.every=3", "data.workers=1"))


def test_max_steps_is_part_of_the_schedule_unless_that_is_given(tmp_path: Path) -> None:
    config = settings(tmp_path / "a")
    RunFolder.open(config).begin(config, {})
    with pytest.raises(UserError, match=r"optimizer\.schedule_steps: 10 -> 20"):
        RunFolder.open(settings(tmp_path / "a", "max_steps=20"))
    config = settings(tmp_path / "b", "optimizer.schedule_steps=40")
    RunFolder.open(config).begin(config, {})
    RunFolder.open(settings(tmp_path / "b", "optimizer.schedule_steps=40", "max_steps=20"))


def test_other_teachers_are_refused(tmp_path: Path) -> None:
    config = settings(tmp_path)
    RunFolder.open(config).begin(config, {"teachers.json": [{"weights_sha256": "aa"}]})
    with pytest.raises(UserError, match=r"began with another teachers\.json: 0\.weights_sha256: aa -> bb"):
        RunFolder.open(config).begin(config, {"teachers.json": [{"weights_sha256": "bb"}]})


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no run \(no config\.yaml\)"):
        RunFolder.open(settings(tmp_path))
    with pytest.raises(UserError, match=r"output_dir '.*thesis\.txt' is a file"):
        RunFolder.open(replace(settings(tmp_path), output_dir=str(tmp_path / "thesis.txt")))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_log_is_rewound_past_half_lines(tmp_path: Path) -> None:
    config = settings(tmp_path)
    run = RunFolder.open(config)
    run.begin(config, {})
    run.append_log([{"step": step, "split": "train"} for step in (1, 2, 3)])
    with run.log_file.open("a") as file:
        file.write('{"step": 3, "spl')
    run.rewind_log(2)
    assert [json.loads(line)["step"] for line in run.log_file.read_text().splitlines()] == [1, 2]


def test_a_run_goes_on_with_the_commits_it_began_with(tmp_path: Path) -> None:
    named = ("teachers.a.repo=org/a@v1", "teachers.b.repo=/folder", "data.corpus=hf://datasets/org/frames@v2/part")
    config = settings(tmp_path, *named)
    run = RunFolder.open(config)
    assert run.as_begun(config) is config
    commits = {key: letter * 40 for key, letter in (("a", "a"), ("corpus", "c"))}
    rows = [{"key": "a", "revision": commits["a"]}, {"key": "b", "revision": None}]
    run.begin(config, {"teachers.json": rows, "corpus.json": {"revision": commits["corpus"]}})
    again = RunFolder.open(config).as_begun(config)
    assert (again.teachers["a"].repo, again.teachers["a"].revision) == ("org/a", commits["a"])
    assert again.teachers["b"] == config.teachers["b"]
    assert again.data.corpus == f"hf://datasets/org/frames@{commits['corpus']}/part"
