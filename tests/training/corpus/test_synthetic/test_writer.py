"""The corpus on disk: round trip, video, resuming, kills, and every error a user can make."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.corpus.synthetic import SyntheticSettings, __main__, read_ground_truth, render_case, write_dataset, writer
from training.corpus.synthetic.vocabulary import CLASSES, TRIPLETS
from training.errors import UserError


def _files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


def test_disk_holds_exactly_the_promised_files(corpus):
    expected = {"dataset.json"}
    for split, case_id in (("train", "case000"), ("test", "case001")):
        expected |= {f"{split}/videos/{case_id}.mp4", f"{split}/ground_truth/{case_id}/frames.parquet"}
        for kind in ("semantic", "instance", "depth"):
            expected |= {f"{split}/ground_truth/{case_id}/{kind}/{index:06d}.png" for index in range(0, 18, 3)}
    assert set(_files(corpus.root)) == expected
    assert not (corpus.root / ".partial").exists()


def test_reading_gives_back_what_was_rendered(settings, corpus):
    for case in corpus.cases:
        rendered = list(render_case(settings, case.split, 0))
        assert case.records == tuple(frame.record for frame in rendered)
        for frame in rendered[::3]:
            index = frame.record.frame_index
            np.testing.assert_array_equal(case.semantic(index), frame.semantic)
            np.testing.assert_array_equal(case.instance(index), frame.instance)
            np.testing.assert_allclose(case.depth(index), frame.depth, atol=0.00501)


def test_dataset_json_has_the_vocabularies(settings, corpus):
    plain = json.loads((corpus.root / "dataset.json").read_text(encoding="utf-8"))
    assert plain["schema_version"] == 1
    assert plain["classes"] == list(CLASSES)
    assert plain["triplets"] == [list(triplet) for triplet in TRIPLETS]
    assert (plain["fps"], plain["width"], plain["height"], plain["annotation_fps"]) == (6, 128, 96, 2)
    assert plain["cases"] == {"train": ["case000"], "test": ["case001"]}
    assert "workers" not in plain["settings"]


def test_video_decodes_to_the_rendered_frames_at_exact_times(settings, corpus):
    decord = pytest.importorskip("decord")
    for case in corpus.cases:
        video = decord.VideoReader(str(case.video))
        assert len(video) == 18
        assert video.get_avg_fps() == pytest.approx(6)
        starts = video.get_frame_timestamp(range(18))[:, 0]
        np.testing.assert_allclose(starts, [record.timestamp for record in case.records], atol=1e-3)
        for frame in render_case(settings, case.split, 0):
            decoded = video[frame.record.frame_index].asnumpy()
            assert decoded.shape == frame.image.shape
            error = np.abs(decoded.astype(float) - frame.image)
            assert error.mean() < 8


def test_a_second_run_does_nothing_and_a_missing_case_is_rendered_again(settings, corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus.root, folder)
    before = _files(folder)
    write_dataset(folder, replace(settings, workers=1))
    assert _files(folder) == before
    (folder / "test/videos/case001.mp4").unlink()
    write_dataset(folder, settings)
    after = _files(folder)
    assert set(after) == set(before)
    changed = {name for name in before if after[name] != before[name]}
    assert changed
    assert all("case001" in name for name in changed)
    assert read_ground_truth(folder).cases[1].records == corpus.cases[1].records


def test_an_error_leaves_no_half_case(settings, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_records", fail)
        with pytest.raises(OSError, match="disk full"):
            write_dataset(tmp_path / "out", replace(settings, workers=1, cases_test=0))
    assert not (tmp_path / "out/train").exists()
    with pytest.raises(UserError, match=r"case000\.mp4 does not exist; the synthetic corpus is incomplete"):
        read_ground_truth(tmp_path / "out")
    assert (
        len(read_ground_truth(write_dataset(tmp_path / "out", replace(settings, workers=1, cases_test=0))).cases) == 1
    )


def test_a_killed_run_leaves_only_whole_cases_and_the_next_run_completes_it(tmp_path):
    folder = tmp_path / "out"
    words = ["cases_train=40", "cases_test=0", "seconds=2", "width=64", "height=64", "workers=1"]
    root = Path(writer.__file__).parents[3]
    command = [sys.executable, "-m", "training.corpus.synthetic", str(folder), *words]
    run = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not list(folder.glob("train/videos/*.mp4")) and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    videos = {path.stem for path in folder.glob("train/videos/*.mp4")}
    assert 1 <= len(videos) < 40
    for case_id in videos:
        truth = folder / "train/ground_truth" / case_id
        assert len(list(truth.glob("*/*.png"))) == 6
        assert (truth / "frames.parquet").is_file()
    # Only the first missing case is rendered here: completing all forty would be slow.
    settings = SyntheticSettings(cases_train=40, cases_test=0, seconds=2, width=64, height=64, workers=1)
    writer.write_case(folder, settings, "train", len(videos))
    assert (folder / f"train/videos/case{len(videos):03d}.mp4").is_file()


def test_other_settings_are_refused_and_nothing_is_written(settings, corpus):
    before = _files(corpus.root)
    with pytest.raises(UserError, match="holds a synthetic corpus with seed=0, asked for seed=3; give another folder"):
        write_dataset(corpus.root, replace(settings, seed=3))
    with pytest.raises(UserError, match="with cases_train=1, asked for cases_train=2"):
        write_dataset(corpus.root, replace(settings, cases_train=2))
    assert _files(corpus.root) == before


def test_another_renderer_version_is_refused(settings, corpus, monkeypatch):
    monkeypatch.setattr(writer, "RENDERER_VERSION", 99)
    with pytest.raises(UserError, match=r"another renderer version \(its renderer_version differs\)"):
        write_dataset(corpus.root, settings)


def test_a_folder_with_other_files_is_refused(settings, tmp_path):
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UserError, match="is not empty and holds no synthetic corpus"):
        write_dataset(tmp_path, settings)
    with pytest.raises(UserError, match="is a file; give the folder"):
        write_dataset(tmp_path / "mine.txt", settings)
    with pytest.raises(UserError, match="cannot be made: Not a directory"):
        write_dataset(tmp_path / "mine.txt" / "out", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_reading_tells_what_is_missing(corpus, tmp_path):
    with pytest.raises(UserError, match=r"is no synthetic corpus: dataset\.json is missing"):
        read_ground_truth(tmp_path)
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"dataset\.json is not valid JSON"):
        read_ground_truth(tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema_version": 2}', encoding="utf-8")
    with pytest.raises(UserError, match=r"is not of schema version 1; expected the keys"):
        read_ground_truth(tmp_path)
    with pytest.raises(UserError, match=r"000001\.png does not exist; annotated frames of case000 are \[0, 3, 6"):
        corpus.cases[0].semantic(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 127}, "width is 127; it must be an even number of at least 64 pixels"),
        ({"height": 32}, "height is 32; it must be an even number of at least 64"),
        ({"fps": 0}, "fps is 0; it must be more than 0"),
        ({"cases_train": -1}, "cases_train is -1; it must be 0 or more"),
        ({"black_cases": 1.5}, "black_cases is 1.5; it is a share of cases from 0 to 1"),
        ({"annotation_fps": 4}, "annotation_fps is 4 with fps 6; fps must be a whole multiple of it"),
        ({"seconds": 1}, "seconds 1 at fps 6 give 6 frames; at least 12"),
    ],
)
def test_settings_that_cannot_be_rendered_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(SyntheticSettings(), **change)


def test_command_renders_and_says_where(settings, corpus, tmp_path, monkeypatch, capsys):
    words = ["cases_train=1", "cases_test=0", "seconds=2", "width=64", "height=64", "workers=1"]
    monkeypatch.setattr(sys, "argv", ["synthetic", str(tmp_path / "out"), *words])
    __main__.main()
    assert f"synthetic corpus: {tmp_path / 'out'} (1 cases, 12 frames)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the output folder is missing; usage"),
        (["seed=1"], "the output folder is missing; usage"),
        (["OUT", "sed=1"], "Key 'sed' not in 'SyntheticSettings'. Did you mean"),
        (["OUT", "seed"], "override 'seed' is not of the form key=value"),
        (["OUT", "width=wide"], "override 'width=wide'"),
        (["OUT", "width=63"], "width is 63; it must be an even number"),
    ],
)
def test_command_refuses_mistakes(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["synthetic", *words])
    with pytest.raises(UserError, match=message):
        __main__.main()
    assert not list(tmp_path.iterdir())
