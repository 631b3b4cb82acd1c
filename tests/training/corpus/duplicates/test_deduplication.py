"""Deduplication of small corpora, through the true entry where that is what a user types."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from training import deduplicate as entry
from training.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.duplicates.deduplication import deduplicate
from training.corpus.duplicates.settings import DeduplicationSettings
from training.corpus.duplicates.table import DUPLICATE_SCHEMA
from training.corpus.manifest import read_drops
from training.errors import UserError

DEFAULT = DeduplicationSettings()


def coded(frame: np.ndarray) -> np.ndarray:
    """The frame through a poor JPEG: another file, the same picture."""
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


@pytest.fixture
def data(tmp_path, scene, write_still) -> Path:
    """Frames of scene s are its columns rolled. Train a, b: 3 scenes each, one in common; held-out t: one of a's."""
    for path, scenes in (("a", [1, 2, 3]), ("b", [4, 2, 5]), ("test/t", [6, 3])):
        for number, seed in enumerate(scenes):
            frame = scene(seed) if path == "a" else coded(scene(seed))
            write_still(tmp_path / "data" / f"{path}_{250 * number:04d}.png", frame)
    return tmp_path / "data"


@pytest.fixture
def corpus(data, tmp_path, settings) -> Path:
    curate([data], tmp_path / "out", settings())
    return tmp_path / "out"


def listed(corpus: Path) -> list[tuple[int, str, int, bool, str]]:
    rows = pq.read_table(corpus / "duplicates.parquet").to_pylist()
    return [
        (row["cluster"], row["video_id"].removeprefix("data__"), _number(row), row["representative"], row["method"])
        for row in rows
    ]


def _number(row: dict) -> int:
    """Which still of its video a row is: every one is a clip here, because they lie ten seconds apart."""
    assert row["position"] == 0
    return int(row["clip_id"][-6:])


def contents(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.iterdir() if path.is_file()}


def test_one_of_each_cluster_is_kept_and_a_held_out_frame_goes_before_a_train_frame(corpus):
    found = deduplicate(corpus, DEFAULT)
    assert listed(corpus) == [
        (0, "a", 1, True, "hash"),
        (0, "b", 1, False, "hash"),
        (1, "test__t", 1, True, "hash"),
        (1, "a", 2, False, "hash"),
    ]
    assert pq.read_schema(corpus / "duplicates.parquet").remove_metadata() == DUPLICATE_SCHEMA
    assert found.summary["left_out"] == {"hash": {"train": 2, "held_out": 0}}
    assert (found.summary["clusters"], found.summary["across_splits"], found.summary["frames"]) == (2, 1, 8)
    facts = json.loads((corpus / "curation.json").read_text())
    assert facts["duplicates"] == found.summary
    assert facts["fingerprint"] == found.fingerprint == Corpus.open(corpus).fingerprint
    assert Corpus.open(corpus).segments("train").num_frames == 4
    assert Corpus.open(corpus).segments("held_out").num_frames == 2


def test_the_same_twice_and_after_growth_as_in_one_go(corpus, data, tmp_path, settings, scene, write_still):
    deduplicate(corpus, DEFAULT)
    first = contents(corpus)
    deduplicate(corpus, DEFAULT)
    assert contents(corpus) == first
    write_still(data / "z_0000.png", coded(scene(4)))
    curate([data], corpus, settings())
    assert (corpus / "duplicates.parquet").read_bytes() == first["duplicates.parquet"]  # still valid
    Corpus.open(corpus).segments("train")
    deduplicate(corpus, DEFAULT)
    assert listed(corpus)[2:4] == [(1, "b", 0, True, "hash"), (1, "z", 0, False, "hash")]
    grown = contents(corpus)
    assert curate([data], corpus, settings()).nothing_new
    assert contents(corpus) == grown


@pytest.fixture
def evaluation(tmp_path, scene, write_still) -> Path:
    """Two cases of Cholec80, of which video 41 is a test case; it shows scene 5, as frame 2 of b does."""
    for video, seeds in (("video41", [11, 5]), ("video50", [12])):
        for number, seed in enumerate(seeds):
            write_still(tmp_path / "cholec80" / "frames" / video / f"{number:05d}.png", coded(scene(seed)))
    return tmp_path / "cholec80"


def overlaps(corpus: Path) -> dict[str, tuple[str, ...]]:
    return {
        clip.clip_id.removeprefix("data__"): clip.overlaps for clip in Corpus.open(corpus).manifest if clip.overlaps
    }


def test_clips_that_show_evaluation_data_are_flagged_and_stay_so(corpus, data, evaluation, tmp_path, settings):
    found = deduplicate(corpus, DEFAULT, against=[evaluation])
    assert overlaps(corpus) == {"b-000002": ("cholec80/video41",)}
    assert [(row.case, row.frames, row.dropped) for row in found.seen] == [("cholec80/video41", 1, False)]
    facts = json.loads((corpus / "curation.json").read_text())
    assert facts["overlaps"]["seen"] == {"cholec80/video41": {"train": 1, "held_out": 0}}
    before = contents(corpus)
    evaluation.rename(tmp_path / "gone")  # it is remembered
    deduplicate(corpus, DEFAULT)
    assert curate([data], corpus, settings()).nothing_new
    assert contents(corpus) == before


def test_clips_that_show_evaluation_data_are_dropped_and_counted(
    corpus, data, evaluation, settings, scene, write_still
):
    drop = DeduplicationSettings(benchmark_clips="drop")
    deduplicate(corpus, DEFAULT)
    found = deduplicate(corpus, drop, against=[evaluation])
    manifest = Corpus.open(corpus).manifest
    assert "data__b-000002" not in {clip.clip_id for clip in manifest}
    (row,) = [drop for drop in read_drops(corpus / "drops.parquet") if drop.reason == "benchmark"]
    assert (row.input, row.path, row.num_frames, row.threshold) == ("data", "b_0500.png", 1, 4.0)
    assert row.detail == "the same pictures as cholec80/video41"
    facts = json.loads((corpus / "curation.json").read_text())
    assert facts["counts"]["frames_kept"] == 7 == sum(clip.num_frames for clip in manifest)
    assert facts["counts"]["dropped"]["benchmark"] == {"rows": 1, "frames": 1}
    assert facts["fingerprint"] == found.fingerprint
    write_still(data / "z_0000.png", coded(scene(11)))  # video 41 shows that too
    curate([data], corpus, settings())
    assert "data__b-000002" not in {clip.clip_id for clip in Corpus.open(corpus).manifest}
    deduplicate(corpus, drop)
    assert "data__z-000000" not in {clip.clip_id for clip in Corpus.open(corpus).manifest}
    deduplicate(corpus, DEFAULT)
    assert overlaps(corpus) == {"b-000002": ("cholec80/video41",), "z-000000": ("cholec80/video41",)}


def test_an_evaluation_set_that_nobody_knows_is_named_by_its_folder(corpus, tmp_path, scene, write_still):
    write_still(tmp_path / "mine" / "op7_000.png", coded(scene(4)))
    deduplicate(corpus, DEFAULT, against=[tmp_path / "mine"])
    assert overlaps(corpus) == {"b-000000": ("mine/op7",)}


def test_like_hashes_of_other_pictures_are_no_duplicates(data, tmp_path, settings, monkeypatch):
    monkeypatch.setattr("training.corpus.filters.picture.perceptual_hash", lambda gray: 7)
    curate([data], tmp_path / "out", settings())
    deduplicate(tmp_path / "out", DEFAULT)
    assert len(listed(tmp_path / "out")) == 4
    deduplicate(tmp_path / "out", DeduplicationSettings(min_correlation=0.01))
    assert len(listed(tmp_path / "out")) > 4


def test_the_entry_says_what_was_found(corpus, evaluation, monkeypatch, capsys):
    words = ["deduplicate", str(corpus), "--against", str(evaluation), "benchmark_clips=drop"]
    monkeypatch.setattr(sys, "argv", words)
    entry.main()
    text = capsys.readouterr().out
    assert "benchmark_clips: drop" in text
    assert "2 clusters among 7 frames of 7 clips" in text
    assert "1 train frames are left out because a held-out case shows the same" in text
    assert "shows cholec80/video41" in text
    assert "1 clips that show evaluation data are dropped from the manifest" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_distance": 13}, "setting max_distance=13 must be from 0 to 12 bits"),
        ({"min_cosine": 0.0}, "setting min_cosine=0.0 must be above 0 and at most 1"),
        ({"min_correlation": 1.5}, "setting min_correlation=1.5 must be above 0 and at most 1"),
        ({"batch_size": 0}, "setting batch_size=0 must be at least 1"),
        ({"against_fps": 0.0}, "setting against_fps=0.0 must be at least 0.001"),
        ({"benchmark_clips": "hide"}, "setting benchmark_clips='hide' must be one of flag, drop"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(UserError, match=message):
        DeduplicationSettings(**changes)


def test_mistakes_leave_everything_as_it_was(corpus, data, tmp_path):
    before = contents(corpus)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_text("no picture")
    for folder, message in (("empty", "no video or image in"), ("broken", "no usable frame in"), ("no", "not exist")):
        with pytest.raises(UserError, match=message):
            deduplicate(corpus, DEFAULT, against=[tmp_path / folder])
    with pytest.raises(UserError, match=r"every clip of .* shows evaluation data, so dropping them leaves nothing"):
        deduplicate(corpus, DeduplicationSettings(benchmark_clips="drop"), against=[data])
    assert contents(corpus) == before
    with pytest.raises(UserError, match="is no corpus"):
        deduplicate(data, DEFAULT)
    (corpus / "curation.json").unlink()
    with pytest.raises(UserError, match=r"has no curation.json: complete it with python -m training.curate first"):
        deduplicate(corpus, DEFAULT)


def test_a_short_or_broken_shard_is_named(corpus):
    shard = corpus / "shards" / "shard-00000.parquet"
    pq.write_table(pq.read_table(shard).slice(0, 3), shard)
    with pytest.raises(UserError, match=r"shard shard-00000.parquet of corpus .* has 3 rows, its manifest names row 7"):
        deduplicate(corpus, DEFAULT)
    shard.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"shard-00000.parquet' cannot be read"):
        deduplicate(corpus, DEFAULT)
