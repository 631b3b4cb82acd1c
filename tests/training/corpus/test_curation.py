"""Curation end to end: what is kept, what is dropped, and that nothing disappears."""

import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from training.corpus import Corpus
from training.corpus.curation import curate, summary_table
from training.corpus.field_of_view import CropBox
from training.corpus.journal import Journal
from training.corpus.manifest import Clip, Drop, read_clips, read_drops
from training.errors import UserError


def tables(out: Path) -> tuple[list[Clip], list[Drop], dict]:
    facts = json.loads((out / "curation.json").read_text())
    return read_clips(out / "manifest.parquet"), read_drops(out / "drops.parquet"), facts


def assert_nothing_disappeared(source: Path, out: Path) -> None:
    """Per file and in total: sampled = kept + dropped, and a file of which nothing was kept has its row."""
    clips, drops, facts = tables(out)
    counts = facts["counts"]
    assert counts["frames_kept"] == sum(clip.num_frames for clip in clips)
    assert counts["frames_sampled"] == counts["frames_kept"] + sum(drop.num_frames for drop in drops)
    present = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts)
    }
    records: dict[str, dict] = {}
    for commit in sorted((out / "journal").glob("0*")):
        records.update({row["path"]: row for row in pq.read_table(commit / "files.parquet").to_pylist()})
    assert set(records) == present
    for path, record in records.items():
        mine = [drop for drop in drops if drop.path == path]
        assert record["frames_sampled"] == record["frames_kept"] + sum(drop.num_frames for drop in mine), path
        assert mine or record["frames_kept"], path
    assert sum(record["frames_kept"] for record in records.values()) == counts["frames_kept"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stills_input(root: Path, scene, write_still, videos: int = 4, frames: int = 3) -> Path:
    for video in range(videos):
        for frame in range(frames):
            write_still(root / f"v{video}_{frame:03d}.png", np.roll(scene(video), 7 * frame, axis=1))
    return root


def test_files_left_behind(mixed_corpus):
    assert {path.name for path in mixed_corpus.iterdir()} == {
        "shards",
        "manifest.parquet",
        "masks.parquet",
        "drops.parquet",
        "curation.json",
        "journal",
    }
    assert [path.name for path in (mixed_corpus / "shards").iterdir()] == ["shard-00000.parquet"]
    assert {str(path.relative_to(mixed_corpus / "journal")) for path in (mixed_corpus / "journal").rglob("*")} == {
        "settings.json",
        "lock",
        "work",
        "00000",
        "00000/clips.parquet",
        "00000/drops.parquet",
        "00000/files.parquet",
        "00000/masks.parquet",
        "00000/drop_examples.parquet",
    }


def test_kept_clips(mixed_corpus):
    clips, _, _ = tables(mixed_corpus)
    shown = [(clip.video_id, clip.num_frames, clip.t_start, clip.t_end, clip.fps) for clip in clips]
    assert shown == [
        ("data__far__10", 1, 0.0, 0.0, None),
        ("data__far__10", 1, 30.0, 30.0, None),
        ("data__far__10", 1, 60.0, 60.0, None),
        ("data__lap__case1.mp4", 4, 0.0, 3.0, 1.0),
        ("data__lap__case1.mp4", 1, 7.0, 7.0, 1.0),
        ("data__lap__case1.mp4", 2, 10.0, 11.0, 1.0),
        ("data__lap__val__case2.mp4", 4, 0.0, 3.0, 1.0),
        ("data__seq", 16, 0.2, 0.8, 25.0),
        ("data__seq", 4, 0.84, 0.96, 25.0),
    ]
    assert len({clip.clip_id for clip in clips}) == len(clips)
    assert [clip.shard_row for clip in clips] == [0, 1, 2, 3, 7, 8, 10, 14, 30]
    first = clips[3]
    assert (first.source, first.procedures, first.robotic, first.licence) == ("data", (), None, "unknown")
    assert (first.width, first.height) == (85, 64)
    assert (first.path, first.overlaps) == ("lap/case1.mp4", ())


def test_drop_rows(mixed_corpus):
    _, drops, facts = tables(mixed_corpus)
    rows = {(drop.path, drop.reason, drop.num_frames) for drop in drops}
    assert rows == {
        ("lap/case1.mp4", "black", 3),
        ("lap/case1.mp4", "frozen", 2),
        ("broken/empty.mp4", "empty_file", 0),
        ("broken/text.mp4", "undecodable", 0),
        ("broken/empty.jpg", "empty_file", 1),
        ("broken/text.png", "undecodable", 1),
        ("broken/cut.jpg", "undecodable", 1),
        ("far/masks/10_0.png", "label_folder", 0),
        ("far/masks/10_750.png", "label_folder", 0),
        ("far/masks/10_1500.png", "label_folder", 0),
        ("far/labels.json", "not_media", 0),
        ("notes.md", "not_media", 0),
    }
    black = next(drop for drop in drops if drop.reason == "black")
    assert (black.t_start, black.t_end, black.threshold) == (4.0, 6.0, 10.0)
    assert black.score is not None
    assert black.score < 1
    assert facts["counts"]["dropped"]["black"] == {"rows": 1, "frames": 3}
    assert facts["counts"]["frames_sampled"] == 12 + 4 + 20 + 3 + 3


def test_nothing_disappears(mixed_input, mixed_corpus):
    assert_nothing_disappeared(mixed_input, mixed_corpus)


def test_field_of_view_is_cut_and_stored_in_source_pixels(mixed_corpus):
    clips, _, _ = tables(mixed_corpus)
    boxes = {c.video_id: CropBox(c.crop_left, c.crop_top, c.crop_right, c.crop_bottom) for c in clips}
    assert boxes["data__lap__case1.mp4"] == CropBox(0, 0, 128, 96)
    box = boxes["data__lap__val__case2.mp4"]
    assert max(abs(box.left - 24), abs(box.top - 8), abs(box.right - 105), abs(box.bottom - 89)) <= 3
    corpus = Corpus.open(mixed_corpus)
    clip = next(clip for clip in clips if clip.video_id.endswith("case2.mp4"))
    assert corpus.read(clip, [0])[0].shape == (clip.height, clip.width, 3)
    assert min(clip.width, clip.height) == 64


def test_splits_and_record(mixed_corpus):
    clips, _, facts = tables(mixed_corpus)
    assert {clip.video_id for clip in clips if clip.split == "held_out"} == {"data__lap__val__case2.mp4"}
    assert facts["counts"]["splits"]["train"]["cases"] == 3
    assert facts["settings"]["short_side"] == 64
    assert facts["inputs"] == ["data"]
    assert set(facts["code"]) >= {"decord", "pyarrow"}
    assert facts["fingerprint"] == Corpus.open(mixed_corpus).fingerprint


def test_pixels_are_those_of_the_source(mixed_corpus, scene):
    corpus = Corpus.open(mixed_corpus)
    far = [clip for clip in corpus.manifest if clip.video_id == "data__far__10"]
    for clip, seed in zip(far, (0, 750, 1500), strict=True):
        wanted = cv2.resize(scene(seed), (85, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(corpus.read(clip, [0])[0].astype(int) - wanted).mean() < 3


def test_two_runs_give_identical_bytes(mixed_input, mixed_corpus, tmp_path, settings):
    curate([mixed_input], tmp_path / "out", settings())
    for name in ("manifest.parquet", "drops.parquet", "curation.json", "shards/shard-00000.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (mixed_corpus / name).read_bytes(), name


def test_a_second_run_does_nothing(mixed_input, mixed_corpus, settings, monkeypatch):
    before = snapshot(mixed_corpus)
    monkeypatch.setattr("training.corpus.work.task.curate_unit", lambda *_args, **_kwargs: pytest.fail("worked again"))
    outcome = curate([mixed_input], mixed_corpus, settings())
    assert outcome.nothing_new
    assert outcome.new_frames == 0
    assert snapshot(mixed_corpus) == before


def test_added_files_are_appended(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    out = tmp_path / "out"
    curate([root], out, settings())
    clips, _, _ = tables(out)
    shard = (out / "shards" / "shard-00000.parquet").read_bytes()
    write_still(root / "v1_900.png", scene(50))
    write_still(root / "new_001.png", scene(51))
    (root / "new.md").write_text("x")
    outcome = curate([root], out, settings())
    assert (outcome.nothing_new, outcome.new_frames) == (False, 2)
    grown, drops, _ = tables(out)
    assert grown[: len(clips)] == clips
    assert [(clip.clip_id, clip.shard, clip.shard_row) for clip in grown[len(clips) :]] == [
        ("data__new-000000", "shard-00001.parquet", 0),
        ("data__v1-000001", "shard-00001.parquet", 1),
    ]
    assert (out / "shards" / "shard-00000.parquet").read_bytes() == shard
    assert [drop.path for drop in drops] == ["new.md"]
    assert_nothing_disappeared(root, out)


def test_a_touched_file_is_known_by_its_content(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    curate([root], tmp_path / "out", settings())
    before = tables(tmp_path / "out")
    os.utime(root / "v0_000.png", ns=(1, 1))
    assert curate([root], tmp_path / "out", settings()).new_frames == 0
    assert tables(tmp_path / "out") == before
    assert curate([root], tmp_path / "out", settings()).nothing_new


def test_changed_content_is_refused_when_kept_and_taken_when_it_was_broken(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    (root / "v9_001.png").write_text("broken download")
    out = tmp_path / "out"
    curate([root], out, settings())
    assert [drop.path for drop in tables(out)[1]] == ["v9_001.png"]
    write_still(root / "v9_001.png", scene(9))
    assert curate([root], out, settings()).new_frames == 1
    clips, drops, _ = tables(out)
    assert drops == []
    assert clips[-1].video_id == "data__v9"
    assert_nothing_disappeared(root, out)
    write_still(root / "v0_000.png", scene(77))
    before = snapshot(out)
    with pytest.raises(UserError, match=r"is not the file that is in the corpus as data/v0_000.png \(other SHA-256\)"):
        curate([root], out, settings())
    assert snapshot(out) == before


def test_removed_inputs_stay_in_the_corpus(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    curate([root], tmp_path / "out", settings())
    before = tables(tmp_path / "out")
    (root / "v0_000.png").unlink()
    outcome = curate([root], tmp_path / "out", settings())
    assert (outcome.gone, outcome.nothing_new) == (1, True)
    assert tables(tmp_path / "out") == before


def test_changed_settings_are_named(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    curate([root], tmp_path / "out", settings())
    before = snapshot(tmp_path / "out")
    with pytest.raises(UserError, match=r"other settings \(clip_frames=16 there, 8 now; fps=1.0 there, 2.0 now\)"):
        curate([root], tmp_path / "out", settings(fps=2.0, clip_frames=8))
    assert snapshot(tmp_path / "out") == before


def test_labels_belong_to_the_files_of_a_run(tmp_path, scene, write_still, settings):
    one = stills_input(tmp_path / "one", scene, write_still, videos=1)
    two = stills_input(tmp_path / "two", scene, write_still, videos=1)
    out = tmp_path / "out"
    curate([one], out, settings(procedure="cholecystectomy", licence="CC0", robotic=True))
    curate([two], out, settings(procedure="hysterectomy", source="site B"))
    assert [(c.source, c.procedures, c.robotic, c.licence) for c in tables(out)[0]] == [
        ("one", ("cholecystectomy",), True, "CC0"),
        ("site B", ("hysterectomy",), None, "unknown"),
    ]
    with pytest.raises(UserError, match=r"other labels \(procedure='cholecystectomy' there, 'hysterectomy' now"):
        curate([one], out, settings(procedure="hysterectomy", licence="CC0", robotic=True))


def test_shards_are_cut_at_their_size_and_cases_keep_their_split(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still, videos=12)
    small = settings(shard_megabytes=0.02)
    curate([root], tmp_path / "out", small)
    clips, _, facts = tables(tmp_path / "out")
    assert facts["counts"]["shards"] == len({clip.shard for clip in clips}) > 2
    corpus = Corpus.open(tmp_path / "out")
    assert all(len(corpus.read(clip, range(clip.num_frames))) == 3 for clip in clips)
    split = {clip.case_id: clip.split for clip in clips}
    assert Counter(split.values()) == {"train": 11, "held_out": 1}
    for video in range(20, 40):
        write_still(root / f"v{video}_000.png", scene(video))
    curate([root], tmp_path / "out", small)
    grown = {clip.case_id: clip.split for clip in tables(tmp_path / "out")[0]}
    assert {case: grown[case] for case in split} == split
    assert Counter(grown.values()) == {"train": 29, "held_out": 3}


def test_output_inside_the_input_is_not_eaten(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    curate([root], root / "corpus", settings())
    assert curate([root], root / "corpus", settings()).nothing_new
    with pytest.raises(UserError, match="lies inside the output folder"):
        curate([root / "corpus" / "shards"], root / "corpus", settings())


@pytest.mark.parametrize("content", ["nothing", "notes", "broken"])
def test_no_usable_frame(tmp_path, settings, content):
    root = tmp_path / "data"
    root.mkdir()
    message = {"nothing": r"\(no files\)", "notes": r"\(1 not_media\)", "broken": r"\(1 empty_file, 1 undecodable\)"}
    if content == "notes":
        (root / "a.md").write_text("x")
    if content == "broken":
        (root / "a.jpg").write_text("x")
        (root / "b.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"no usable frame in .*" + message[content]):
        curate([root], tmp_path / "out", settings())
    assert not (tmp_path / "out").exists()


def test_foreign_output_is_refused(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"holds other files \(thesis.tex\): give a folder that is new"):
        curate([root], out, settings())
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match=r"thesis.tex' is a file: give a folder"):
        curate([root], out / "thesis.tex", settings())
    (out / "thesis.tex").unlink()
    (out / "shards").mkdir()
    (out / "shards" / "shard-00000.parquet").write_bytes(b"somebody's")
    with pytest.raises(UserError, match=r"holds other files \(shards\)"):
        curate([root], out, settings())
    assert (out / "shards" / "shard-00000.parquet").read_bytes() == b"somebody's"


def test_a_full_disk_is_one_sentence_and_the_next_run_continues(tmp_path, scene, write_still, settings, monkeypatch):
    root = stills_input(tmp_path / "data", scene, write_still)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("training.corpus.journal.write_rows", full)
        with pytest.raises(UserError, match="no space left for the output folder"):
            curate([root], tmp_path / "out", settings())
    outcome = curate([root], tmp_path / "out", settings())
    assert outcome.resumed_units == 4
    assert outcome.counts["frames_kept"] == 12


def test_two_curations_at_once_are_refused(tmp_path, scene, write_still, settings):
    root = stills_input(tmp_path / "data", scene, write_still)
    with (
        Journal(tmp_path / "out", settings()),
        pytest.raises(UserError, match="another curation is writing to"),
    ):
        curate([root], tmp_path / "out", settings())


def test_a_decoder_is_only_needed_for_videos(tmp_path, scene, write_still, settings, monkeypatch, mixed_input):
    monkeypatch.setattr("training.corpus.decoding.importlib.util.find_spec", lambda name: None)
    curate([stills_input(tmp_path / "data", scene, write_still)], tmp_path / "out", settings())
    with pytest.raises(UserError, match="av is needed to read videos and is not installed"):
        curate([mixed_input], tmp_path / "other", settings())
    assert not (tmp_path / "other").exists()


def test_stills_of_two_sizes_are_two_looks(tmp_path, scene, write_still, settings):
    for number in range(6):
        frame = scene(1, 96, 128) if number < 3 else scene(1, 120, 120)
        write_still(tmp_path / "data" / f"v_{number:03d}.png", np.roll(frame, 9 * number, axis=1))
    curate([tmp_path / "data"], tmp_path / "out", settings())
    clips, _, _ = tables(tmp_path / "out")
    assert [(clip.num_frames, clip.width, clip.height) for clip in clips] == [(3, 85, 64), (3, 64, 64)]


def test_a_truncated_video_keeps_its_good_frames(tmp_path, video_bytes, fast_start, write_video, moving, settings):
    root = tmp_path / "data"
    root.mkdir()
    (root / "fast.mp4").write_bytes(fast_start(video_bytes)[: len(video_bytes) * 2 // 3])
    whole = write_video(tmp_path / "whole.mkv", moving(8)).read_bytes()
    (root / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    curate([root], tmp_path / "out", settings())
    clips, drops, _ = tables(tmp_path / "out")
    kept = Counter({clip.path: clip.num_frames for clip in clips})
    lost = {drop.path: drop for drop in drops}
    assert {drop.reason for drop in drops} == {"truncated"}
    assert kept["fast.mp4"] + lost["fast.mp4"].num_frames == 4
    assert kept["cut.mkv"] + lost["cut.mkv"].num_frames == 8
    assert min(kept.values()) >= 1
    assert lost["fast.mp4"].detail == "the container states 4.0 s, the file holds less"
    assert lost["cut.mkv"].t_end == 7.0
    assert_nothing_disappeared(root, tmp_path / "out")


def test_every_mutated_file_is_accounted_for(tmp_path, video_bytes, fast_start, write_video, moving, scene, settings):
    seeds = {
        "mp4": video_bytes,
        "fast.mp4": fast_start(video_bytes),
        "mkv": write_video(tmp_path / "a.mkv", moving(4)).read_bytes(),
        "avi": write_video(tmp_path / "a.avi", moving(4), codec="MJPG").read_bytes(),
        "jpg": cv2.imencode(".jpg", scene(1))[1].tobytes(),
        "png": cv2.imencode(".png", scene(1))[1].tobytes(),
    }
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        name, data = list(seeds.items())[number % len(seeds)]
        data = bytearray(data)
        place = int(rng.integers(len(data)))
        match number // len(seeds) % 5:
            case 0:
                data = data[:place]
            case 1:
                for index in rng.integers(0, len(data), 40):
                    data[index] = rng.integers(256)
            case 2:
                del data[place : place + 500]
            case 3:
                data[place:place] = rng.bytes(300)
            case 4:
                data[place : place + 2000] = bytes(len(data[place : place + 2000]))
        (root / f"m{number:02d}.{name}").write_bytes(data)
    curate([root], tmp_path / "out", settings())
    clips, drops, _ = tables(tmp_path / "out")
    assert_nothing_disappeared(root, tmp_path / "out")
    assert len({drop.path for drop in drops}) > 15
    assert len({clip.video_id for clip in clips}) > 15
    corpus = Corpus.open(tmp_path / "out")
    assert all(corpus.read(clip, [clip.num_frames - 1]) for clip in corpus.manifest)


def test_summary_table(mixed_input, mixed_corpus, settings, tmp_path):
    shutil.copytree(mixed_corpus, tmp_path / "out")
    text = summary_table(curate([mixed_input], tmp_path / "out", settings()))
    lines = {line[:24].strip(): line.split()[-1] for line in text.splitlines()}
    assert lines["kept, train"] == "30"
    assert lines["kept, held_out"] == "4"
    assert lines["dropped, black"] == "3"
    assert lines["sampled"] == "42"
