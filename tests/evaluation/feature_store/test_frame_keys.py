import shutil
from pathlib import Path

import pytest

from evaluation.datasets import FrameReference
from evaluation.feature_store.frame_keys import BLOCK, BLOCKS, STILL, file_digest, frame_keys
from evaluation.frames import CorpusFrame, UnreadableFrameError
from training.errors import UserError


def test_content_counts_and_not_the_place(tmp_path: Path) -> None:
    one, copy, other = tmp_path / "one.png", tmp_path / "elsewhere.png", tmp_path / "other.png"
    one.write_bytes(b"pixels")
    copy.write_bytes(b"pixels")
    other.write_bytes(b"pixelz")
    keys = frame_keys([FrameReference(one), FrameReference(copy), FrameReference(other), FrameReference(one, 3)])
    assert keys[0] == keys[1]
    assert keys[2] != keys[0]
    assert [number for _, number in keys] == [STILL, STILL, STILL, 3]
    assert keys[3][0] == keys[0][0]


def test_a_file_replaced_under_the_same_name_has_another_key(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(b"pixels")
    before = file_digest(path)
    path.write_bytes(b"pixelz")
    assert file_digest(path) != before


@pytest.mark.parametrize("place", [0, BLOCK - 1, 5 * BLOCK * BLOCKS // 2, 5 * BLOCK * BLOCKS - 1])
def test_large_files_are_known_by_blocks_spread_over_them(tmp_path: Path, place: int) -> None:
    content = bytearray(5 * BLOCK * BLOCKS)
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(content)
        start = (len(content) - BLOCK) * 7 // 15  # the block just before the middle
        content[start if place == 5 * BLOCK * BLOCKS // 2 else place] = 1
    assert file_digest(tmp_path / "one") != file_digest(tmp_path / "other")


def test_files_of_different_length_differ(tmp_path: Path) -> None:
    for name, length in (("one", BLOCK * 40), ("other", BLOCK * 41)):
        (tmp_path / name).write_bytes(bytes(length))
    assert file_digest(tmp_path / "one") != file_digest(tmp_path / "other")


def test_clips_of_a_moved_corpus(corpus_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(corpus_folder, moved)
    keys = [
        frame_keys([CorpusFrame(folder, "corpus3-0", 2), CorpusFrame(folder, "corpus4-0", 2)])
        for folder in (corpus_folder, moved)
    ]
    assert keys[0] == keys[1]
    assert keys[0][0] != keys[0][1]
    assert keys[0][0][1] == 2


def test_what_is_not_there(corpus_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableFrameError, match=r"file '.*gone.png' cannot be read \(No such file or directory\); bring"
    ):
        frame_keys([FrameReference(tmp_path / "gone.png")])
    with pytest.raises(UserError, match="has no clip 'unknown'"):
        frame_keys([CorpusFrame(corpus_folder, "unknown", 0)])
