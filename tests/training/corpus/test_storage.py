"""Folders and URLs: the same corpus from both, ranges instead of files, and no credentials in messages."""

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from training.corpus import Corpus
from training.corpus import storage as storage_module
from training.corpus.masks import make_mask
from training.corpus.storage import Storage
from training.errors import UserError
from training.loader import DataConfig, TrainingViews, training_batches


@pytest.fixture
def remote(write_corpus, write_duplicates, tmp_path):
    """A local corpus with mask and duplicates, and its URL in fsspec's memory."""
    mask = make_mask("v", np.arange(24 * 32).reshape(24, 32) > 300)
    clips = [{"num_frames": 6, "mask": mask.mask_id}, {"num_frames": 5}, {"num_frames": 3, "split": "held_out"}]
    folder = write_corpus(tmp_path / "corpus", clips, [mask], clips_per_shard=2)
    write_duplicates(folder, [("clip1", 2, False)])
    memory = MemoryFileSystem()
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe(f"/bucket/corpus/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield folder, "memory://bucket/corpus"
    memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_url_gives_what_the_folder_gives(remote, workers):
    folder, url = remote
    local, far = Corpus.open(folder), Corpus.open(url + "/")
    assert far.manifest == local.manifest
    assert (far.fingerprint, far.name) == (local.fingerprint, local.name)
    config = DataConfig(corpus=url, workers=workers)
    batches = [list(training_batches(TrainingViews(each, config, 16, 0), 0, 4, 2, 0, 1)) for each in (local, far)]
    for a, b in zip(*batches, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.valid, b.valid)
    assert any(batch.mask is not None for batch in batches[1])


def test_a_clip_is_read_by_ranges(remote, monkeypatch):
    _, url = remote
    corpus = Corpus.open(url)
    asked = []
    real = MemoryFileSystem.open

    def watched(self, path, *arguments, **options):
        file = real(self, path, *arguments, **options)
        read = file.read
        monkeypatch.setattr(file, "read", lambda size=-1: asked.append((path, size)) or read(size), raising=False)
        return file

    monkeypatch.setattr(MemoryFileSystem, "open", watched)
    corpus.read(corpus.manifest[0], [0])
    assert {path for path, _ in asked} == {"/bucket/corpus/shards/shard-00000.parquet"}
    asked.clear()  # footer and first row group are there
    corpus.read(corpus.manifest[1], [0, 1])
    [(_, length)] = asked
    frames = sum(len(image) for _, image in corpus.encoded(corpus.manifest[1], range(5)))
    assert frames < length < 1.5 * frames  # the row group with its ids, in one request
    corpus.read(corpus.manifest[1], [2, 0])
    assert len(asked) == 1  # it is kept


def test_missing_remote_files(remote):
    _, url = remote
    with pytest.raises(UserError, match=r"corpus 'memory://bucket/nowhere' has no curation.json"):
        Corpus.open("memory://bucket/nowhere")
    MemoryFileSystem().rm("/bucket/corpus/shards/shard-00001.parquet")
    with pytest.raises(UserError, match=r"corpus 'memory://bucket/corpus' lacks shards/shard-00001.parquet"):
        Corpus.open(url)
    MemoryFileSystem().pipe("/bucket/corpus/manifest.parquet", b"garbage")
    with pytest.raises(UserError, match=r"'memory://bucket/corpus/manifest.parquet' cannot be read \(ArrowInvalid\)"):
        Corpus.open(url)


class Failing(fsspec.AbstractFileSystem):
    """A storage whose errors quote a signed URL, as several real ones do."""

    protocol = "failing"

    def info(self, path):
        raise ConnectionError("403 for https://host/corpus?X-Amz-Signature=SECRET")


def test_credentials_never_show(monkeypatch):
    fsspec.register_implementation("failing", Failing, clobber=True)
    url = "failing://me:SECRET@host/corpus?token=SECRET"
    with pytest.raises(UserError) as caught:
        Corpus.open(url)
    assert str(caught.value).startswith(
        "'failing://host/corpus' cannot be reached (ConnectionError): check the address"
    )
    assert "SECRET" not in repr(Storage.at(url))
    # Nor in a traceback that a loader worker sends home.
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_an_unknown_protocol_and_a_missing_package(monkeypatch):
    with pytest.raises(UserError, match=r"'nothing://x' cannot be reached \(ValueError\)"):
        Corpus.open("nothing://x")

    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UserError, match=r"'s3://x/y' needs a package that is not installed: Install s3fs to access S3"):
        Corpus.open("s3://x/y")


def test_the_hub_is_a_protocol_of_fsspec():
    assert fsspec.get_filesystem_class("hf").__name__ == "HfFileSystem"
    storage = Storage.at("hf://datasets/ORG/NAME@abc123")
    assert (storage.name, storage.shown) == ("NAME", "hf://datasets/ORG/NAME@abc123")
    assert not storage.is_local
    assert storage_module.Storage.at("filecache::s3://k:s@b/c").shown == "filecache::s3://b/c"


def test_plain_http_lists_nothing():
    assert Storage.at("https://host/corpus").file_names("shards") is None


def test_a_url_is_no_folder():
    with pytest.raises(ValueError, match="a URL is not a local folder"):
        _ = Storage.at("memory://x").folder
