"""New weights for a corpus that is there, and what later runs of curation make of them."""

import fcntl
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training import corpus_balance as entry
from training.corpus import Corpus
from training.corpus import rebalance as rebalance_module
from training.corpus.balance import BalanceSettings
from training.corpus.curation import curate
from training.corpus.manifest import fingerprint, read_clips
from training.corpus.rebalance import balance_table, rebalance
from training.errors import UserError

FLAT = BalanceSettings(procedure_temperature=0.0)


def write_videos(root: Path, scene, write_still, videos: range) -> Path:
    for video in videos:
        for frame in range(2):
            write_still(root / f"v{video}_{frame:03d}.png", np.roll(scene(video), 7 * frame, axis=1))
    return root


@pytest.fixture
def made(tmp_path, scene, write_still, settings) -> Path:
    """Three train cases of "a" and one of "b", two frames each, no case held out."""
    write_videos(tmp_path / "many", scene, write_still, range(3))
    write_videos(tmp_path / "few", scene, write_still, range(3, 4))
    out = tmp_path / "out"
    curate([tmp_path / "many"], out, settings(procedure="a", held_out_fraction=0.0))
    curate([tmp_path / "few"], out, settings(procedure="b", held_out_fraction=0.0))
    return out


def weights(out: Path) -> dict[str, float]:
    return {clip.procedures[0]: clip.weight for clip in read_clips(out / "manifest.parquet")}


def test_curation_weighs_by_its_settings(made):
    # 6 frames of a, 2 of b; t = 0.5
    share = 6**0.5 / (6**0.5 + 2**0.5)
    assert weights(made) == pytest.approx({"a": share * 8 / 6, "b": (1 - share) * 8 / 2})
    facts = json.loads((made / "curation.json").read_text())
    assert facts["settings"]["balance"]["procedure_temperature"] == 0.5
    assert not (made / "journal" / "balance.json").exists()


def test_new_weights_without_curating_again(made):
    shards = {path.name: path.read_bytes() for path in (made / "shards").iterdir()}
    before = json.loads((made / "curation.json").read_text())
    result = rebalance(made, ["balance.procedure_temperature=0"])
    assert weights(made) == pytest.approx({"a": 4 / 6, "b": 4 / 2})
    assert {path.name: path.read_bytes() for path in (made / "shards").iterdir()} == shards
    facts = json.loads((made / "curation.json").read_text())
    assert facts["fingerprint"] == fingerprint(read_clips(made / "manifest.parquet")) != before["fingerprint"]
    assert facts["counts"] == before["counts"]
    assert facts["settings"]["balance"]["procedure_temperature"] == 0.0
    assert Corpus.open(made).fingerprint == facts["fingerprint"]
    assert result.changed
    assert balance_table(result).splitlines()[1:] == [
        f"{'procedure a':<44}{6:>12}{4:>12}",
        f"{'procedure b':<44}{2:>12}{4:>12}",
        f"{'source few':<44}{2:>12}{4:>12}",
        f"{'source many':<44}{6:>12}{4:>12}",
    ]


def test_what_is_not_given_stays_as_it_is(made):
    rebalance(made, ["balance.procedure_temperature=0"])
    result = rebalance(made, ["balance.max_frames_per_case=1"])
    assert result.settings == BalanceSettings(procedure_temperature=0.0, max_frames_per_case=1)
    assert weights(made) == pytest.approx({"a": 0.5, "b": 0.5})
    files = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert not rebalance(made, []).changed
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == files


def test_the_next_curation_keeps_the_choice(made, tmp_path, scene, write_still, settings):
    rebalance(made, ["balance.procedure_temperature=0"])
    write_videos(tmp_path / "few", scene, write_still, range(4, 5))
    curate([tmp_path / "few"], made, settings(procedure="b", held_out_fraction=0.0))
    assert weights(made) == pytest.approx({"a": 5 / 6, "b": 5 / 4})
    assert json.loads((made / "curation.json").read_text())["settings"]["balance"]["procedure_temperature"] == 0


def test_a_curation_with_a_choice_of_its_own_is_remembered(made, tmp_path, settings):
    run = settings(procedure="b", held_out_fraction=0.0, balance=FLAT)
    assert not curate([tmp_path / "few"], made, run).nothing_new  # the weights are
    assert curate([tmp_path / "few"], made, run).nothing_new
    assert weights(made) == pytest.approx({"a": 4 / 6, "b": 4 / 2})
    curate([tmp_path / "few"], made, settings(procedure="b", held_out_fraction=0.0))
    assert weights(made) == pytest.approx({"a": 4 / 6, "b": 4 / 2})


def test_duplicates_count_as_absent(made):
    first = read_clips(made / "manifest.parquet")[0]
    assert (first.procedures, first.num_frames) == (("a",), 2)
    rows = {
        "cluster": [0, 0, 0],
        "clip_id": [first.clip_id, first.clip_id, first.clip_id],
        "position": pa.array([0, 1, 1], pa.int32()),
        "representative": [True, False, False],
    }
    pq.write_table(pa.table(rows), made / "duplicates.parquet")
    result = rebalance(made, ["balance.procedure_temperature=0"])
    assert sum(result.left_out) == 1
    assert weights(made) == pytest.approx({"a": 3.5 / 5, "b": 3.5 / 2})


def test_broken_duplicates(made):
    (made / "duplicates.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"duplicates.parquet' cannot be read \(ArrowInvalid\): find the duplicates"):
        rebalance(made, [])


def test_a_corpus_without_journal(made):
    shutil.rmtree(made / "journal")
    rebalance(made, ["balance.procedure_temperature=0"])
    assert weights(made) == pytest.approx({"a": 4 / 6, "b": 4 / 2})
    assert not (made / "journal").exists()


class Kill(BaseException):
    """Stands for a process that ends here: nothing catches it."""


@pytest.mark.parametrize("after", [False, True])
def test_killed_while_it_writes(made, tmp_path, settings, monkeypatch, after):
    def die(*args: object) -> None:
        if after:
            real(*args)
        raise Kill

    real = rebalance_module.write_rows
    with monkeypatch.context() as patch:
        patch.setattr(rebalance_module, "write_rows", die)
        with pytest.raises(Kill):
            rebalance(made, ["balance.procedure_temperature=0"])
    with pytest.raises(UserError, match=r"has no curation.json"):
        Corpus.open(made)
    with pytest.raises(UserError, match=r"has no curation.json: give the folder of a corpus; an interrupted one is"):
        rebalance(made, [])
    curate([tmp_path / "few"], made, settings(procedure="b", held_out_fraction=0.0))
    assert weights(made) == pytest.approx({"a": 4 / 6, "b": 4 / 2})
    assert Corpus.open(made).count("train").frames == 8


def test_not_while_a_curation_writes(made):
    with (made / "journal" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"a curation is writing to .*: wait for it to end"):
            rebalance(made, [])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("balance.procedure_temprature=0", "procedure_temprature.*Did you mean.*procedure_temperature"),
        ("fps=2", "fps"),
        ("balance.procedure_temperature=2", "balance.procedure_temperature=2.0 must be from 0"),
    ],
)
def test_mistakes_touch_nothing(made, word, message):
    before = (made / "manifest.parquet").read_bytes()
    with pytest.raises(UserError, match=message):
        rebalance(made, [word])
    assert (made / "manifest.parquet").read_bytes() == before


def test_command_line(made, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["corpus_balance", str(made), "balance.procedure_temperature=0"])
    entry.main()
    text = capsys.readouterr().out
    assert "procedure_temperature: 0.0" in text
    assert f"{'procedure b':<44}{2:>12}{4:>12}" in text
    assert "its manifest has new weights" in text
    entry.main()
    assert "nothing has changed" in capsys.readouterr().out
