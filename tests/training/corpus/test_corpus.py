"""Reading a corpus: frames, processes, and what is refused."""

import dataclasses
import json
import multiprocessing
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch

from training.corpus import Corpus
from training.corpus import corpus as corpus_module
from training.errors import UserError


@pytest.fixture
def copy(mixed_corpus, tmp_path):
    return shutil.copytree(mixed_corpus, tmp_path / "copy")


def sequence(corpus: Corpus):
    return next(clip for clip in corpus.manifest if clip.num_frames == 16)


def test_clips_of_a_split_and_every_frame(mixed_corpus):
    corpus = Corpus.open(mixed_corpus)
    assert len(corpus.clips("train")) + len(corpus.clips("held_out")) == len(corpus.manifest) == 9
    for clip in corpus.manifest:
        frames = corpus.read(clip, range(clip.num_frames))
        assert {(frame.shape, frame.dtype) for frame in frames} == {((clip.height, clip.width, 3), np.dtype(np.uint8))}


def test_positions_in_any_order(mixed_corpus):
    corpus = Corpus.open(str(mixed_corpus))
    clip = sequence(corpus)
    all_frames = corpus.read(clip, range(16))
    for position, frame in zip([7, 0, 15, 7], corpus.read(clip, [7, 0, 15, 7]), strict=True):
        np.testing.assert_array_equal(frame, all_frames[position])
    assert not np.array_equal(all_frames[0], all_frames[15])
    assert corpus.read(clip, []) == []


def test_one_clip_reads_its_row_groups_only(mixed_corpus, monkeypatch):
    read = []
    real = corpus_module.ShardFile.read
    monkeypatch.setattr(corpus_module.ShardFile, "read", lambda self, group: read.append(group) or real(self, group))
    corpus = Corpus.open(mixed_corpus)
    clip = sequence(corpus)
    corpus.read(clip, [0, 5, 15])
    corpus.read(clip, [3])
    assert len(read) == 1


def test_the_caches_stay_small(mixed_corpus, monkeypatch):
    monkeypatch.setattr(corpus_module, "CACHED_BYTES", 1)
    corpus = Corpus.open(mixed_corpus)
    for clip in [*corpus.manifest, *reversed(corpus.manifest)]:
        corpus.read(clip, [0])
    assert len(corpus._groups) == 1


class _Frames(torch.utils.data.Dataset):
    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __len__(self) -> int:
        return len(self.corpus.manifest)

    def __getitem__(self, index: int) -> int:
        return int(self.corpus.read(self.corpus.manifest[index], [0])[0].sum())


@pytest.mark.skipif(sys.platform != "linux", reason="fork")
def test_forked_loader_workers_read_the_same(mixed_corpus):
    data = _Frames(Corpus.open(mixed_corpus))
    wanted = [data[index] for index in range(len(data))]  # the parent has its files open
    context = multiprocessing.get_context("fork")
    loader = torch.utils.data.DataLoader(data, batch_size=3, num_workers=2, multiprocessing_context=context)
    assert torch.cat(list(loader)).tolist() == wanted


def test_a_pickled_corpus_is_its_folder_and_manifest(mixed_corpus):
    corpus = Corpus.open(mixed_corpus)
    corpus.read(corpus.manifest[0], [0])
    again = pickle.loads(pickle.dumps(corpus))
    assert (again.storage, again.fingerprint) == (corpus.storage, corpus.fingerprint)
    assert again.manifest == corpus.manifest
    np.testing.assert_array_equal(again.read(again.manifest[3], [1])[0], corpus.read(corpus.manifest[3], [1])[0])


def test_missing_folder_and_files(copy, tmp_path):
    with pytest.raises(UserError, match=r"nowhere' does not exist: make one with python -m training.curate"):
        Corpus.open(tmp_path / "nowhere")
    shard = copy / "shards" / "shard-00000.parquet"
    shard.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"lacks shards/shard-00000.parquet: copy it completely"):
        Corpus.open(copy)
    (tmp_path / "elsewhere").rename(shard)
    (copy / "manifest.parquet").unlink()
    with pytest.raises(UserError, match=r"has no manifest.parquet: run the same python -m training.curate command"):
        Corpus.open(copy)


def test_files_that_do_not_belong_together(copy):
    facts = json.loads((copy / "curation.json").read_text())
    facts["counts"]["clips"] = 10
    (copy / "curation.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"curation.json counts 10 clips, manifest.parquet holds 9"):
        Corpus.open(copy)


@pytest.mark.parametrize("name", ["manifest.parquet", "curation.json"])
def test_unreadable_files(copy, name):
    (copy / name).write_bytes(b"garbage")
    with pytest.raises(UserError, match=rf"{name}' cannot be read \(\w+: .*: run the same"):
        Corpus.open(copy)


def test_unknown_split(mixed_corpus):
    with pytest.raises(UserError, match=r"unknown split 'val'. Known: held_out, train"):
        Corpus.open(mixed_corpus).clips("val")


def test_rows_must_be_the_clips(mixed_corpus):
    corpus = Corpus.open(mixed_corpus)
    clip = sequence(corpus)
    with pytest.raises(UserError, match="has frames 0 to 15, not 16"):
        corpus.read(clip, [16])
    with pytest.raises(UserError, match="has frames 0 to 15, not -1"):
        corpus.read(clip, [-1])
    with pytest.raises(UserError, match=r"row 0 of shards/shard-00000.parquet belongs to clip 'data__far__10-000000'"):
        corpus.read(dataclasses.replace(clip, shard_row=0), [0])
    with pytest.raises(UserError, match=r"has 34 rows, the manifest of .* points to row 1005"):
        corpus.read(dataclasses.replace(clip, shard_row=1000), [5])
    with pytest.raises(UserError, match=r"shard-9.parquet' cannot be read"):
        corpus.read(dataclasses.replace(clip, shard="shard-9.parquet"), [0])


def test_a_broken_shard(copy):
    corpus = Corpus.open(copy)
    (copy / "shards" / "shard-00000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"shard-00000.parquet' cannot be read"):
        corpus.read(corpus.manifest[0], [0])
