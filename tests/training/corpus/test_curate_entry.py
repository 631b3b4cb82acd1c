"""The command line of curation."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from training import curate as entry
from training.errors import UserError, run_entry

ROOT = Path(entry.__file__).parents[1]


def call(monkeypatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["curate", *map(str, words)])
    entry.main()


@pytest.fixture
def source(tmp_path, scene, write_still) -> Path:
    for video in range(8):
        for frame in range(5):
            write_still(tmp_path / "data" / f"v{video}_{frame:03d}.png", np.roll(scene(video), 7 * frame, axis=1))
    return tmp_path / "data"


def test_settings_by_file_and_by_word_between_the_paths(source, tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text("clip_frames: 2\nlicence: CC0\n")
    out = tmp_path / "out"
    call(monkeypatch, source, "procedure=sleeve", out, "--config", tmp_path / "c.yaml", "clip_frames=3")
    text = capsys.readouterr().out
    assert "clip_frames: 3" in text
    assert "licence: CC0" in text
    assert "procedure: sleeve" in text
    assert "40 frames sampled" in text
    assert f"corpus: {out}" in text
    call(monkeypatch, source, "procedure=sleeve", out, "--config", tmp_path / "c.yaml", "clip_frames=3")
    assert f"nothing new in these inputs, {out} is unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["IN"], "give at least one input and the output folder"),
        (["IN", "OUT", "fsp=2"], r"fsp.*Did you mean.*fps"),
        (["IN", "OUT", "filters.blakc.min_luma=2"], "blakc"),
        (["IN", "OUT", "fps=0"], "setting fps=0.0 is too small: it must be at least 0.001"),
        (["IN", "OUT", "fps=inf"], "setting fps=inf is too large: it must be finite"),
        (["IN", "OUT", "decoding.stall_seconds=inf"], "setting decoding.stall_seconds=inf is too large"),
        (["IN", "OUT", "image_quality=101"], "setting image_quality=101 is too large"),
        (["IN", "OUT", "image_format=png"], "setting image_format='png' is unknown: it must be jpeg or webp"),
        (["IN", "OUT", "held_out_fraction=1"], "setting held_out_fraction=1.0 must be from 0 to below 1"),
        (["IN", "OUT", "still_pattern=(x"], "setting still_pattern='.x' is not a regular expression"),
        (["IN", "OUT", "case_pattern=x"], r"setting case_pattern='x' has no group \(\?P<case>...\)"),
        (["IN", "OUT", "--config", "none.yaml"], "config file 'none.yaml' does not exist"),
        (["gone", "OUT"], "input 'gone' does not exist"),
    ],
)
def test_mistakes_are_one_sentence_and_touch_nothing(source, tmp_path, monkeypatch, words, message):
    names = {"IN": source, "OUT": tmp_path / "out"}
    with pytest.raises(UserError, match=message) as caught:
        call(monkeypatch, *(names.get(word, word) for word in words))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_exit_code_of_a_mistake(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["curate", str(tmp_path / "gone"), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        run_entry(entry.main)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: input ")


def test_killed_processes_and_a_last_run_give_the_whole_corpus(source, tmp_path, monkeypatch):
    words = [str(source), str(tmp_path / "out"), "short_side=64", "shard_megabytes=0.03", "deidentify=false"]
    for pause in (0.0, 0.05):
        process = subprocess.Popen(
            [sys.executable, "-m", "training.curate", *words], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        give_up = time.monotonic() + 30
        while not (tmp_path / "out" / "journal" / "work").exists() and time.monotonic() < give_up:
            time.sleep(0.005)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    call(monkeypatch, *words)
    call(monkeypatch, str(source), str(tmp_path / "whole"), *words[2:])
    for name in ("manifest.parquet", "drops.parquet", "curation.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    shards = {path.name: path.read_bytes() for path in (tmp_path / "whole" / "shards").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "shards").iterdir()} == shards


def test_help_lists_the_settings(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--help")
    assert "max_gap_seconds: 2.0" in capsys.readouterr().out
