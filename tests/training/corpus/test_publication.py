"""The tables beside the shards: whatever a killed run or a damaged file has left, the next run makes them whole."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.corpus import curation, publication
from training.corpus.balance import BalanceSettings
from training.corpus.curation import curate
from training.corpus.manifest import read_clips, read_drops
from training.corpus.removal import remove_case
from training.errors import UserError


class Kill(BaseException):
    """Stands for a process that ends here: nothing catches it."""


def kill(*_args: object, **_more: object) -> None:
    raise Kill


def published(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.fixture
def data(tmp_path, scene, write_still) -> Path:
    """Four stills videos of two frames each, and notes."""
    for video in range(4):
        for frame in range(2):
            write_still(tmp_path / "data" / f"v{video}_{frame:03d}.png", np.roll(scene(video), 7 * frame, axis=1))
    (tmp_path / "data" / "notes.md").write_text("x")
    return tmp_path / "data"


@pytest.fixture
def made(data, tmp_path, settings) -> Path:
    curate([data], tmp_path / "out", settings())
    return tmp_path / "out"


@pytest.mark.parametrize("kind", ["empty", "cut"])
def test_drops_of_a_run_that_was_killed_before_it_published_them(made, data, settings, scene, monkeypatch, kind):
    """They add no clip, so the manifest tells nothing of them; nor do the counts, when one row replaces another."""
    (data / "more.jpg").write_bytes(b"no picture")
    curate([data], made, settings())
    (data / "more.jpg").write_bytes(b"" if kind == "empty" else cv2.imencode(".jpg", scene(9))[1].tobytes()[:900])
    with monkeypatch.context() as patch:
        patch.setattr(curation, "publish", kill)
        with pytest.raises(Kill):
            curate([data], made, settings())
    curate([data], made, settings())
    row = next(drop for drop in read_drops(made / "drops.parquet") if drop.path == "more.jpg")
    assert row.reason == ("empty_file" if kind == "empty" else "undecodable")
    assert ("0 bytes" if kind == "empty" else "image file is truncated") in row.detail
    assert set(json.loads((made / "curation.json").read_text())["counts"]["dropped"]) == {"not_media", row.reason}
    assert curate([data], made, settings()).nothing_new


@pytest.mark.parametrize("name", ["manifest.parquet", "masks.parquet", "drops.parquet", "curation.json"])
def test_a_table_that_is_gone_comes_back_as_it_was(made, data, settings, name):
    before = published(made)
    (made / name).unlink()
    curate([data], made, settings())
    assert published(made) == before


def test_the_record_of_removals_comes_back_too(made, data, settings):
    remove_case(made, "data__v1")
    curate([data], made, settings())
    before = published(made)
    (made / "removals.json").unlink()
    curate([data], made, settings())
    assert published(made) == before


@pytest.mark.parametrize("name", ["drops.parquet", "curation.json"])
def test_a_broken_table_is_written_anew(made, data, settings, name):
    before = published(made)
    (made / name).write_bytes(b"{broken")
    curate([data], made, settings())
    assert published(made) == before


def test_a_broken_manifest_is_named_because_it_says_what_is_held_out(made, data, settings):
    (made / "manifest.parquet").write_bytes(b"broken")
    with pytest.raises(
        UserError, match=r"manifest.parquet' cannot be read \(ArrowInvalid\), .* restore it, or remove it to have them"
    ):
        curate([data], made, settings())
    (made / "manifest.parquet").unlink()
    curate([data], made, settings())
    assert len(read_clips(made / "manifest.parquet")) == 4


def test_nothing_is_written_when_everything_is_there(made, data, settings, monkeypatch):
    monkeypatch.setattr(publication, "write_rows", kill)
    assert curate([data], made, settings()).nothing_new


def test_the_recorded_balance_is_the_one_in_force(made):
    """As after a kill of `corpus_balance` between its two writes, when another command publishes."""
    facts = json.loads((made / "curation.json").read_text())
    (made / "journal" / "balance.json").write_text(json.dumps(vars(BalanceSettings(procedure_temperature=0.0))))
    remove_case(made, "data__v1")
    assert facts["settings"]["balance"]["procedure_temperature"] == 0.5
    assert json.loads((made / "curation.json").read_text())["settings"] == {
        **facts["settings"],
        "balance": {**facts["settings"]["balance"], "procedure_temperature": 0.0},
    }
