"""Deduplication of small corpora, through the true entry where that is what a user types."""

import errno
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from training import deduplicate as entry
from training.corpus import Corpus, publication
from training.corpus.curation import curate
from training.corpus.duplicates import deduplication, evaluation_frames
from training.corpus.duplicates.deduplication import deduplicate
from training.corpus.duplicates.settings import DeduplicationSettings
from training.corpus.duplicates.table import DUPLICATE_SCHEMA
from training.corpus.manifest import read_drops
from training.corpus.removal import remove_case
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
    curate([data], tmp_path / "out", settings(licence="CC0"))
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
    curate([data], corpus, settings(licence="CC0"))
    assert (corpus / "duplicates.parquet").read_bytes() == first["duplicates.parquet"]  # still valid
    Corpus.open(corpus).segments("train")
    deduplicate(corpus, DEFAULT)
    assert listed(corpus)[2:4] == [(1, "b", 0, True, "hash"), (1, "z", 0, False, "hash")]
    grown = contents(corpus)
    assert curate([data], corpus, settings(licence="CC0")).nothing_new
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
    assert curate([data], corpus, settings(licence="CC0")).nothing_new
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
    curate([data], corpus, settings(licence="CC0"))
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
        ({"against_fps": float("inf")}, "setting against_fps=inf must be at least 0.001, and finite"),
        ({"min_cosine": float("nan")}, "setting min_cosine=nan must be above 0 and at most 1"),
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
    assert not list((corpus / "journal" / "evaluation").iterdir())
    with pytest.raises(UserError, match="is no corpus"):
        deduplicate(data, DEFAULT)
    (corpus / "curation.json").unlink()
    with pytest.raises(
        UserError, match=r"has no readable curation.json: complete it with python -m training.curate first"
    ):
        deduplicate(corpus, DEFAULT)


class Kill(BaseException):
    """Stands for a process that ends here: nothing catches it."""


@pytest.mark.parametrize("call", [0, 1])
def test_killed_between_its_tables_and_started_again(
    corpus, data, evaluation, tmp_path, settings, scene, write_still, monkeypatch, call
):
    """Scene 5 is in b, which is dropped for it, and in z, which would be listed as its duplicate."""
    write_still(data / "z_0000.png", coded(scene(5)))
    curate([data], corpus, settings(licence="CC0"))
    shutil.copytree(corpus, tmp_path / "whole")
    drop = DeduplicationSettings(benchmark_clips="drop")
    deduplicate(tmp_path / "whole", drop, against=[evaluation])
    real, calls = deduplication.publish, [0]

    def killed(*args, **more):
        calls[0] += 1
        if calls[0] == call + 1:
            raise Kill
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(deduplication, "publish", killed)
        with pytest.raises(Kill):
            deduplicate(corpus, drop, against=[evaluation])
    deduplicate(corpus, drop)
    assert contents(corpus) == contents(tmp_path / "whole")
    assert Corpus.open(corpus).segments("train").num_frames > 0


@pytest.mark.parametrize("call", [0, 1, 2, 3])  # masks, manifest, drops, and the masks of the second time
def test_killed_while_it_publishes_and_started_again(corpus, evaluation, tmp_path, monkeypatch, call):
    shutil.copytree(corpus, tmp_path / "whole")
    deduplicate(tmp_path / "whole", DEFAULT, against=[evaluation])
    real, calls = publication.write_rows, [0]

    def killed(*args):
        calls[0] += 1
        if calls[0] == call + 1:
            raise Kill
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(publication, "write_rows", killed)
        with pytest.raises(Kill):
            deduplicate(corpus, DEFAULT, against=[evaluation])
    with pytest.raises(UserError, match=r"has no curation.json"):
        Corpus.open(corpus)
    case = Corpus.open(tmp_path / "whole").clips("train")[0].case_id
    shutil.copytree(corpus, tmp_path / "removed")
    remove_case(tmp_path / "removed", case)
    facts = [
        json.loads((folder / "curation.json").read_text()) for folder in (tmp_path / "whole", tmp_path / "removed")
    ]
    assert facts[0]["settings"] == facts[1]["settings"]  # licence=CC0 among them, which only the run of curation knew
    assert facts[0]["settings"]["licence"] == "CC0"
    deduplicate(corpus, DEFAULT, against=[evaluation])
    assert contents(corpus) == contents(tmp_path / "whole")
    assert not (corpus / "journal" / "curation.json").exists()


def test_killed_when_everything_is_published_but_the_earlier_record_is_there_still(corpus):
    deduplicate(corpus, DEFAULT)
    before = contents(corpus)
    (corpus / "journal" / "curation.json").write_text("{}")
    deduplicate(corpus, DEFAULT)
    assert contents(corpus) == before
    assert not (corpus / "journal" / "curation.json").exists()


def test_broken_duplicates_are_found_anew(corpus):
    deduplicate(corpus, DEFAULT)
    before = contents(corpus)
    (corpus / "duplicates.parquet").write_bytes(b"PAR1 broken")
    deduplicate(corpus, DEFAULT)
    assert contents(corpus) == before


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_broken_record_is_named(corpus, content):
    (corpus / "curation.json").write_text(content)
    with pytest.raises(UserError, match=r"has no readable curation.json: complete it with python -m training.curate"):
        deduplicate(corpus, DEFAULT)


def test_folders_of_the_same_name_are_both_remembered(corpus, tmp_path, scene, write_still):
    for place, seed in (("one", 4), ("two", 2)):
        write_still(tmp_path / place / "frames" / f"{place}_000.png", coded(scene(seed)))
    folders = [tmp_path / "one" / "frames", tmp_path / "two" / "frames"]
    deduplicate(corpus, DEFAULT, against=folders)
    both = {"a-000001": ("frames/two",), "b-000000": ("frames/one",), "b-000001": ("frames/two",)}
    assert overlaps(corpus) == both
    deduplicate(corpus, DEFAULT, against=folders[:1])
    assert overlaps(corpus) == both


def test_what_is_remembered_and_broken_is_named_and_made_anew_from_its_folder(corpus, evaluation):
    deduplicate(corpus, DEFAULT, against=[evaluation])
    before = contents(corpus)
    (remembered,) = (corpus / "journal" / "evaluation").iterdir()
    assert remembered.name.startswith("cholec80-")
    remembered.write_bytes(b"broken")
    with pytest.raises(
        UserError, match=rf"{remembered.name}' cannot be read \(ArrowInvalid\): remove it, and give its folder with"
    ):
        deduplicate(corpus, DEFAULT)
    deduplicate(corpus, DEFAULT, against=[evaluation])
    assert contents(corpus) == before


def test_evaluation_data_in_many_pieces(corpus, evaluation, monkeypatch):
    whole = [(row.case, row.frames) for row in deduplicate(corpus, DEFAULT, against=[evaluation]).seen]
    assert whole == [("cholec80/video41", 1)]
    (remembered,) = (corpus / "journal" / "evaluation").iterdir()
    remembered.unlink()
    monkeypatch.setattr(evaluation_frames, "ROWS_AT_ONCE", 1)
    assert [(row.case, row.frames) for row in deduplicate(corpus, DEFAULT, against=[evaluation]).seen] == whole
    assert pq.read_metadata(remembered).num_row_groups == 2


def test_an_unknown_evaluation_set_does_not_tell_its_cases_to_a_corpus_with_hashed_names(
    data, evaluation, tmp_path, settings, scene, write_still
):
    """Its folder is named, because the user names it; who is in it may be patients."""
    write_still(tmp_path / "mine" / "Musterfrau" / "op7_000.png", coded(scene(4)))
    curate([data], tmp_path / "out", settings(deidentify=True))
    deduplicate(tmp_path / "out", DEFAULT, against=[tmp_path / "mine", evaluation])
    assert sorted(overlaps(tmp_path / "out").values()) == [("cholec80/video41",), ("mine",)]
    for path in (tmp_path / "out").rglob("*.parquet"):
        assert "Musterfrau" not in str(pq.read_table(path).to_pylist())


def test_a_full_disk_is_one_sentence(corpus, monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(deduplication, "write_duplicates", full)
    with pytest.raises(UserError, match=r"no space left for the corpus .*: free some and run the same command again"):
        deduplicate(corpus, DEFAULT)


def test_a_short_or_broken_shard_is_named(corpus):
    shard = corpus / "shards" / "shard-00000.parquet"
    pq.write_table(pq.read_table(shard).slice(0, 3), shard)
    with pytest.raises(UserError, match=r"shard shard-00000.parquet of corpus .* has 3 rows, its manifest names row 7"):
        deduplicate(corpus, DEFAULT)
    shard.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"shard-00000.parquet' cannot be read"):
        deduplicate(corpus, DEFAULT)
