"""Hundreds of broken files in one run: nothing crashes, and every file and frame is kept or has its row."""

import io
import json
import os
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.decoder_process import DecodingSettings
from training.corpus.manifest import read_clips, read_drops
from training.corpus.source_manifest import read_source_manifest
from training.corpus.state import read_state
from training.errors import UserError

Mutation = Callable[[bytes, np.random.Generator], bytes]


def cut(data: bytes, chance: np.random.Generator) -> bytes:
    return data[: int(chance.integers(len(data)))]


def without_start(data: bytes, chance: np.random.Generator) -> bytes:
    return data[int(chance.integers(1, len(data))) :]


def with_a_hole(data: bytes, chance: np.random.Generator) -> bytes:
    place = int(chance.integers(len(data)))
    return data[:place] + data[place + int(chance.integers(1, 400)) :]


def flipped(data: bytes, chance: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    changed[chance.integers(0, len(data), 20)] ^= chance.integers(1, 256, 20).astype(np.uint8)
    return changed.tobytes()


def zeroed(data: bytes, chance: np.random.Generator) -> bytes:
    place, length = int(chance.integers(len(data))), int(chance.integers(1, 600))
    return data[:place] + bytes(min(length, len(data) - place)) + data[place + length :]


def stuffed(data: bytes, chance: np.random.Generator) -> bytes:
    place = int(chance.integers(len(data)))
    return data[:place] + chance.bytes(200) + data[place:]


def doubled(data: bytes, chance: np.random.Generator) -> bytes:
    return data + data


def noise(data: bytes, chance: np.random.Generator) -> bytes:
    return chance.bytes(int(chance.integers(1, 3000)))


MUTATIONS: list[Mutation] = [cut, without_start, with_a_hole, flipped, zeroed, stuffed, doubled, noise]


@pytest.fixture
def whole_files(tmp_path, write_video, moving, scene) -> dict[str, bytes]:
    """One good small file per format."""
    frames = moving(1, seed=3, height=48, width=64)
    videos = {
        "mp4": write_video(tmp_path / "seed.mp4", frames).read_bytes(),
        "mkv": write_video(tmp_path / "seed.mkv", frames).read_bytes(),
        "avi": write_video(tmp_path / "seed.avi", frames, codec="MJPG").read_bytes(),
    }
    picture = scene(5, 48, 64)
    return videos | {
        suffix: cv2.imencode(f".{suffix}", picture)[1].tobytes() for suffix in ("jpg", "png", "bmp", "tif", "webp")
    }


def odd_files(root: Path, whole: dict[str, bytes], write_video, moving, write_still, scene) -> None:
    """Files that are unlike their name, or of an odd kind."""
    for suffix, data in whole.items():
        for other in ("mp4", "avi", "jpg", "png"):
            if other != suffix:
                (root / f"really_{suffix}.{other}").write_bytes(data)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(8000))
    for suffix in ("mp4", "avi", "mkv", "mov", "jpg"):
        (root / f"sound.{suffix}").write_bytes(sound.getvalue())
        (root / f"text.{suffix}").write_text("This is not a video.\n" * 20)
        (root / f"empty.{suffix}").write_bytes(b"")
    write_video(root / "one_frame.mp4", moving(0.1, height=48, width=64))
    for height, width in ((33, 47), (17, 16), (50, 300)):
        write_video(root / f"odd_{height}.avi", moving(1, height=height, width=width), codec="MJPG")
    for height, width in ((1, 1), (1, 300), (300, 2), (17, 31)):
        write_still(root / f"size{height}.png", scene(1, 48, 64)[:1, :1].repeat(height, 0).repeat(width, 1))
    cv2.imwrite(str(root / "deep.png"), np.zeros((20, 20), np.uint16))
    cv2.imwrite(str(root / "gray.png"), np.full((40, 40), 90, np.uint8))
    cv2.imwrite(str(root / "alpha.png"), np.full((40, 40, 4), 90, np.uint8))
    (root / "loop_a.mp4").symlink_to(root / "loop_b.mp4")
    (root / "loop_b.mp4").symlink_to(root / "loop_a.mp4")
    (root / "nowhere.jpg").symlink_to(root / "missing.jpg")
    (root / "up").symlink_to(root)
    os.mkfifo(root / "pipe.mp4")
    (root / "folder.mp4").mkdir()
    for name in ("späte Naht (1).jpg", "a\nb.jpg", "'; --.png", "x" * 200 + ".jpg", os.fsdecode(b"\xff\xfe.jpg")):
        (root / name).write_bytes(whole["jpg"])
    (root / "locked.jpg").write_bytes(whole["jpg"])
    if os.geteuid() != 0:  # root may read everything
        (root / "locked.jpg").chmod(0)


def test_every_file_and_frame_is_kept_or_has_its_row(
    tmp_path, whole_files, write_video, moving, write_still, scene, settings
):
    root = tmp_path / "data"
    root.mkdir()
    chance = np.random.default_rng(2026)
    for suffix, data in whole_files.items():
        for number in range(34):
            mutated = MUTATIONS[number % len(MUTATIONS)](data, chance)
            (root / f"{suffix}{number:02d}x.{suffix}").write_bytes(mutated)
    odd_files(root, whole_files, write_video, moving, write_still, scene)
    present = {path for path in root.rglob("*") if not (path.is_dir() and not path.is_symlink())}
    assert len(present) >= 300
    patience = DecodingSettings(threads=1, stall_seconds=5)
    counts = curate([root], tmp_path / "out", settings(decoding=patience)).counts

    files = read_state(tmp_path / "out" / "journal").files.values()
    clips, drops = (
        read_clips(tmp_path / "out" / "manifest.parquet"),
        read_drops(tmp_path / "out" / "drops.parquet"),
    )
    assert len(files) == len(present)
    dropped, rows = Counter[str](), Counter[str]()
    for drop in drops:
        dropped[drop.path] += drop.num_frames
        rows[drop.path] += 1
    for file in files:
        assert file.frames_sampled == file.frames_kept + dropped[file.path], file.path
        assert file.frames_kept or rows[file.path], file.path
    assert sum(file.frames_sampled for file in files) == counts["frames_sampled"]
    assert sum(clip.num_frames for clip in clips) == counts["frames_kept"] > 50
    assert {"undecodable", "not_media", "unreadable", "empty_file", "linked_folder"} <= counts["dropped"].keys()
    assert not any("\n" in drop.detail or str(tmp_path) in drop.detail for drop in drops)
    corpus = Corpus.open(tmp_path / "out")
    for clip in clips:
        assert len(corpus.read(clip, range(clip.num_frames))) == clip.num_frames


def test_mutated_manifests_are_read_or_refused_in_one_sentence(tmp_path, whole_files):
    rows = [
        {"path": f"v{number}.jpg", "case_id": f"c{number}", "procedure": "sleeve", "robotic": number % 2 == 0}
        for number in range(6)
    ]
    for row in rows:
        (tmp_path / str(row["path"])).write_bytes(whole_files["jpg"])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "good.parquet")
    whole = {
        "csv": (
            "path,case_id,procedure,robotic\n" + "".join(f"{','.join(map(str, r.values()))}\n" for r in rows)
        ).encode(),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "parquet": (tmp_path / "good.parquet").read_bytes(),
    }
    chance = np.random.default_rng(11)
    read, refused = 0, []
    for suffix, data in whole.items():
        for number in range(48):
            path = tmp_path / f"list{number}.{suffix}"
            path.write_bytes(MUTATIONS[number % len(MUTATIONS)](data, chance))
            try:
                found = read_source_manifest(path, None, allow_urls=False)
            except UserError as error:
                refused.append(str(error))
                continue
            read += 1
            assert len(found.files()) <= 2 * len(rows)
    assert read > 10
    assert len(refused) > 50
    assert not any("\n" in message for message in refused)
