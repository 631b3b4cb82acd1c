"""The store in a folder: what is found again, what is computed anew, what damage does."""

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.backbones import Features
from evaluation.datasets import FrameReference
from evaluation.feature_store import collector
from evaluation.feature_store.folder import LEFT_BEHIND, BackboneFolder
from evaluation.feature_store.part import Part, write_part
from evaluation.features import FeatureStore, extract_features
from tests.evaluation.feature_store.extraction_process import ColorBackbone, extract, references
from training.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(collector, "PART_FRAMES", 4)
    monkeypatch.setattr(collector, "BATCH_SIZE", 2)
    return tmp_path / "features"


class Counting(ColorBackbone):
    """Counts the frames it sees."""

    frames = 0

    def extract(self, images: np.ndarray) -> Features:
        self.frames += len(images)
        return super().extract(images)


def check_equal(store: FeatureStore, other: FeatureStore, frames: list[FrameReference]) -> None:
    """Bit for bit."""
    np.testing.assert_array_equal(store.pooled("color", frames), other.pooled("color", frames))
    np.testing.assert_array_equal(store.coarse("color", frames), other.coarse("color", frames))
    np.testing.assert_array_equal(store.dense("color", frames[::2]), other.dense("color", frames[::2]))


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.rglob(f"*{suffix}"))


def test_a_second_run_computes_nothing_and_reads_the_same(images: Path, folder: Path) -> None:
    first, again, memory = extract(images, folder), extract(images, folder), extract(images, None)
    assert (first.computed, first.decoded) == ({"color": 11}, 11)
    assert (again.computed, again.decoded) == ({"color": 0}, 0)
    check_equal(first, memory, references(images))
    check_equal(again, memory, references(images))
    assert again.grid("color") == (2, 2)
    assert again.backbones["color"].seconds == pytest.approx(first.backbones["color"].seconds) != 0
    assert len(files(folder, ".parquet")) == len(files(folder, ".safetensors")) == 3


def test_only_what_is_new_is_computed(images: Path, folder: Path) -> None:
    frames = references(images)
    one = Counting()
    run = {"memory_limit": 1.0, "folder": folder}
    assert extract_features([one], frames[:4], [], 32, coarse_frames=[], **run).computed == {"color": 4}
    more = extract_features([one], frames[2:8], [], 32, coarse_frames=[], **run)
    assert (more.computed, one.frames) == ({"color": 4}, 8)
    places = extract_features([one], frames[:8], frames[:1], 32, coarse_frames=frames[1:3], **run)
    assert places.computed == {"color": 3}  # the first lacked dense, two lacked coarse tokens
    assert extract_features([one], frames[:8], frames[:1], 32, coarse_frames=frames[1:3], **run).decoded == 0
    with pytest.raises(KeyError, match="no dense features were asked for of frame 1"):
        places.dense("color", frames[:2])


def test_each_backbone_sees_what_it_lacks_in_one_pass(
    images: Path, folder: Path, mean_color: Callable[..., Any]
) -> None:
    frames = references(images)
    one, two = mean_color("one"), mean_color("two")
    run = {"memory_limit": 1.0, "folder": folder}
    extract_features([one], frames[:5], [], 32, **run)
    extract_features([two], frames[5:8], [], 32, **run)
    store = extract_features([one, two], frames, [], 32, **run)
    assert (store.computed, store.decoded) == ({"one": 6, "two": 8}, 11)
    assert (one.frames, two.frames) == (11, 11)


def test_other_weights_preprocessing_or_size_are_other_features(
    images: Path, folder: Path, mean_color: Callable[..., Any]
) -> None:
    frames = references(images)
    run = {"memory_limit": 1.0, "folder": folder}
    assert extract_features([mean_color("one")], frames, [], 32, **run).computed == {"one": 11}
    assert extract_features([mean_color("one")], frames, [], 48, **run).computed == {"one": 11}
    assert extract_features([mean_color("other weights")], frames, [], 32, **run).decoded == 11
    renamed = mean_color("one")
    renamed.name = "another name"
    assert extract_features([renamed], frames, [], 32, **run).decoded == 0
    renamed.identity = replace(renamed.identity, preprocessing_sha256="1" * 64)
    assert extract_features([renamed], frames, [], 32, **run).decoded == 11


def test_moved_data_is_found_and_a_replaced_file_is_not(images: Path, folder: Path) -> None:
    extract(images, folder)
    moved = images.rename(images.with_name("moved"))
    assert extract(moved, folder).decoded == 0
    shutil.copy(moved / "02.png", moved / "04.png")
    assert extract(moved, folder).decoded == 0  # its content is known
    (moved / "05.png").write_bytes((moved / "05.png").read_bytes() + b"0")
    store = extract(moved, folder)
    assert (store.decoded, store.computed) == (1, {"color": 1})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_last(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "damage", "reason"),
    [
        (".safetensors", truncate, r"safetensors' is damaged \(.*\)"),
        (".safetensors", flip_last, r"safetensors' is damaged \(the bytes of '\w+' have changed\)"),
        (".safetensors", Path.unlink, r"safetensors' is damaged \(it is missing beside its table\)"),
        (".parquet", truncate, r"parquet' is damaged \(.*\)"),
    ],
)
def test_a_damaged_part_is_named_and_computed_anew(
    images: Path,
    folder: Path,
    suffix: str,
    damage: Callable[[Path], None],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    extract(images, folder)
    victim = files(folder, suffix)[0]
    lines = pq.read_metadata(victim.with_suffix(".parquet")).num_rows
    damage(victim)
    store = extract(images, folder)
    assert store.computed == {"color": lines}
    [line] = [line for line in capsys.readouterr().out.splitlines() if line]
    assert line.startswith(f"computed anew: feature part '{victim.parent}")
    assert re.search(reason, line)
    check_equal(store, extract(images, None), references(images))
    assert extract(images, folder).decoded == 0
    assert not victim.exists()
    assert not victim.with_suffix(".parquet").exists()


def test_a_changed_table_is_noticed(images: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = references(images)
    extract(images, folder)
    index = files(folder, ".parquet")[0]
    table = pq.read_table(index)
    sources = table["source"].to_pylist()
    pq.write_table(table.set_column(0, table.schema.field(0), [sources[::-1]]), index)
    store = extract(images, folder)
    assert store.computed == {"color": len(sources)}
    assert "its lines have changed" in capsys.readouterr().out
    check_equal(store, extract(images, None), frames)


def test_a_part_of_another_backbone_is_not_used(
    images: Path, folder: Path, mean_color: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    frames = references(images)
    run = {"memory_limit": 1.0, "folder": folder}
    extract_features([mean_color("one")], frames, [], 32, **run)
    [own] = folder.iterdir()
    extract_features([mean_color("two")], frames, [], 32, **run)
    [other] = set(folder.iterdir()) - {own}
    for path in own.glob("*.*"):
        if path.suffix != ".json":
            shutil.copy(path, other)
    store = extract_features([mean_color("two")], frames, [], 32, **run)
    assert store.decoded == 0
    assert capsys.readouterr().out.count("it was written for another backbone or image size") == 3


def test_what_killed_processes_left_is_removed_after_a_day(images: Path, folder: Path) -> None:
    extract(images, folder)
    [home] = folder.iterdir()
    old, new = home / "0.safetensors", home / "1.safetensors.tmp"
    for path in (old, new):
        path.write_bytes(b"cut")
    long_ago = time.time() - LEFT_BEHIND - 60
    os.utime(old, (long_ago, long_ago))
    assert extract(images, folder).decoded == 0
    assert not old.exists()
    assert new.exists()  # another process may be writing it


def test_order_of_the_frames_changes_nothing(images: Path, folder: Path) -> None:
    frames = references(images)
    for part in (frames[7:], frames[:2], frames[::-1]):
        dense = [frame for frame in part if frame in frames[::2]]
        store = extract_features([ColorBackbone()], part, dense, 32, memory_limit=1.0, folder=folder)
    check_equal(store, extract(images, None), frames)


def test_dense_tokens_are_guarded(images: Path, folder: Path) -> None:
    message = (
        r"the dense tokens of 'color' take 0.0 GB when a probe reads them, more than --memory-limit 1e-07; raise it"
    )
    for _ in range(2):  # while they are computed, and when they are there
        with pytest.raises(UserError, match=message):
            extract(images, folder, memory_limit=1e-7)
        extract(images, folder)
    with pytest.raises(UserError, match=message):
        extract(images, folder, memory_limit=1e-7)


def test_folders_that_cannot_be_used(images: Path, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(
        UserError, match=r"feature folder '.*features/deep' cannot be made, '.*features' is a file; choose"
    ):
        extract(images, folder / "deep")


def test_a_full_disk(images: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evaluation.feature_store.part.pq.write_table", full)
    with pytest.raises(
        UserError, match=r"no space left in '.*': free some and run the same command again, complete parts"
    ):
        extract(images, folder)
    monkeypatch.undo()
    assert extract(images, folder).computed == {"color": 11}


def test_files_that_vanish_are_said(images: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_and_lose(home: BackboneFolder, part: Part) -> None:
        write_part(home.path, part, home.key)
        shutil.rmtree(home.path)
        home.path.mkdir()

    monkeypatch.setattr(BackboneFolder, "write", write_and_lose)
    with pytest.raises(UserError, match=r"11 frames of 'color' were just written to .* and are not there anymore"):
        extract(images, folder)
