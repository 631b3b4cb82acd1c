"""A run folder is read into typed facts; what is missing or broken is named."""

import pytest

from hub_cards.run_records import read_run
from training.errors import UserError


def test_reads_a_finished_run(files):
    run = read_run(files.run)
    assert [teacher.key for teacher in run.teachers] == ["lite", "dino"]
    assert run.teachers[1].revision == "f" * 40
    assert run.teachers[0].tokens == ("summary", "dense")
    assert {(point.step, point.split) for point in run.agreement()} == {(100, "held_out")}
    assert run.fact("hardware", "device") == "CPU (x86_64)"


@pytest.mark.parametrize("name", ["run.json", "teachers.json", "corpus.json", "config.yaml", "hub/config.json"])
def test_a_missing_file_is_named(files, name):
    (files.run / name).unlink()
    with pytest.raises(UserError, match=f"{name}' does not exist"):
        read_run(files.run)


def test_an_unfinished_run_is_said_to_be_one(files):
    (files.run / "hub" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no finished run"):
        read_run(files.run)
    with pytest.raises(UserError, match=r"run folder .* does not exist"):
        read_run(files.run / "elsewhere")


def test_broken_files_are_named(files):
    (files.run / "hub" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"model.safetensors' is not a valid safetensors file"):
        read_run(files.run)


def test_a_missing_key_is_named(files):
    files.edit(files.run / "run.json", seconds=...)
    with pytest.raises(UserError, match=r"run.json has no 'seconds'; the card shows only what is recorded"):
        read_run(files.run).fact("seconds")
    with pytest.raises(UserError, match=r"run.json has no 'hardware.color'"):
        read_run(files.run).fact("hardware", "color", "depth")
