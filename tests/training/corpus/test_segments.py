"""Runs of frames: cut where duplicates are left out."""

import numpy as np
import pytest

from training.corpus import Corpus
from training.corpus.segments import LeftOut, cut_segments
from training.errors import UserError
from training.export import describe_corpus


def cut(lengths, left_out):
    rows, positions = zip(*left_out, strict=True) if left_out else ((), ())
    out = LeftOut(np.array(rows, np.int64), np.array(positions, np.int64))
    made = cut_segments(np.array(lengths), np.arange(1.0, len(lengths) + 1), out)
    return list(zip(made.clips.tolist(), made.starts.tolist(), made.lengths.tolist(), strict=True)), made


def test_clips_without_duplicates_are_one_run_each():
    runs, made = cut([3, 1], [])
    assert runs == [(0, 0, 3), (1, 0, 1)]
    assert made.num_frames == 4
    assert made.locate(np.array([0, 2, 3])) == [(0, 0), (0, 2), (1, 0)]


def test_duplicates_cut_by_hand():
    runs, made = cut([6, 2, 4, 1], [(0, 0), (0, 3), (2, 1), (2, 2), (3, 0)])
    assert runs == [(0, 1, 2), (0, 4, 2), (1, 0, 2), (2, 0, 1), (2, 3, 1)]
    assert made.weights.tolist() == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert made.locate(np.arange(8)) == [(0, 1), (0, 2), (0, 4), (0, 5), (1, 0), (1, 1), (2, 0), (2, 3)]


def test_against_a_list_of_frames():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 12, 50)
    frames = [(clip, position) for clip, length in enumerate(lengths) for position in range(length)]
    out = [frame for frame, dropped in zip(frames, rng.random(len(frames)) < 0.3, strict=True) if dropped]
    _, made = cut(lengths, out)
    assert made.locate(np.arange(made.num_frames)) == [frame for frame in frames if frame not in set(out)]


@pytest.fixture
def folder(write_corpus, tmp_path):
    splits = ["train", "held_out", "train"]
    return write_corpus(tmp_path / "corpus", [{"num_frames": 4, "split": split} for split in splits])


def test_a_corpus_leaves_out_all_but_representatives(folder, write_duplicates):
    write_duplicates(folder, [("clip2", 1, False), ("clip0", 2, True), ("clip1", 3, False), ("clip2", 1, False)])
    corpus = Corpus.open(folder)
    assert corpus.segments("train").locate(np.arange(7)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)]
    assert corpus.segments("held_out").locate(np.arange(3)) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("clip7", 0, False), r"duplicates.parquet of corpus .* names clip clip7, which the manifest lacks: find the"),
        (("clip0", 4, False), r"names frame 4 of clip clip0, which has 4 frames: find the duplicates of this corpus"),
    ],
)
def test_duplicates_of_another_corpus(folder, write_duplicates, row, message):
    write_duplicates(folder, [row])
    with pytest.raises(UserError, match=message):
        Corpus.open(folder).segments("train")


def test_broken_duplicates(folder):
    (folder / "duplicates.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match=r"duplicates.parquet' cannot be read \(ArrowInvalid: .*: find the duplicates"):
        Corpus.open(folder).segments("train")


def test_a_run_knows_its_duplicates(folder, write_duplicates):
    before = describe_corpus(Corpus.open(folder))
    assert before["splits"]["train"] == {"cases": 1, "videos": 1, "clips": 2, "frames": 8}
    assert before["duplicates_sha256"] is None
    digests = set()
    for position in (0, 1):
        write_duplicates(folder, [("clip0", position, False)])
        digests.add(describe_corpus(Corpus.open(folder))["duplicates_sha256"])
    assert len(digests) == 2
    assert describe_corpus(Corpus.open(folder))["fingerprint"] == before["fingerprint"]
