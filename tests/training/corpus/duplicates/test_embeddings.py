"""Embeddings of a corpus by a small AutoModel made here."""

from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from training.corpus.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.duplicates import embeddings as module
from training.corpus.duplicates.deduplication import deduplicate
from training.corpus.duplicates.embeddings import Embedder, embed_corpus
from training.corpus.duplicates.frame_table import read_frames
from training.corpus.duplicates.settings import DeduplicationSettings
from training.errors import UserError


def save_model(folder, seed=0, pooling=True):
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    ViTModel(config, add_pooling_layer=pooling).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def corpus(tmp_path, scene, write_still, settings):
    """Two videos of two stills; the second of b is a's first turned upside down, which a hash does not see."""
    for name, frame in (("a_000", scene(1)), ("a_900", scene(2)), ("b_000", scene(3)), ("b_900", scene(1)[::-1])):
        write_still(tmp_path / "data" / f"{name}.png", np.ascontiguousarray(frame))
    curate([tmp_path / "data"], tmp_path / "out", settings())
    return tmp_path / "out"


def test_lengths_batches_and_what_is_kept(corpus, tmp_path, monkeypatch):
    embedder = Embedder(save_model(tmp_path / "model"), 3)
    frames = read_frames(corpus, list(Corpus.open(corpus).manifest))
    first = embed_corpus(frames, embedder)
    assert (first.shape, first.dtype) == ((4, 16), np.float16)
    np.testing.assert_allclose(np.linalg.norm(first.astype(np.float32), axis=1), 1, atol=1e-3)
    images = [Corpus.open(corpus).read(clip, [0])[0] for clip in Corpus.open(corpus).manifest]
    np.testing.assert_allclose(first, Embedder(str(tmp_path / "model"), 1).embed(images), atol=2e-3)
    monkeypatch.setattr(Embedder, "embed", lambda *_: pytest.fail("embedded again"))
    np.testing.assert_array_equal(embed_corpus(frames, embedder), first)


def test_the_fingerprint_is_of_weights_and_settings(tmp_path):
    one = Embedder(save_model(tmp_path / "one"), 2)
    assert one.fingerprint == Embedder(save_model(tmp_path / "again"), 2).fingerprint
    assert one.fingerprint != Embedder(save_model(tmp_path / "other", seed=1), 2).fingerprint
    assert one.fingerprint != Embedder(str(tmp_path / "one"), 3).fingerprint


def test_similar_embeddings_become_clusters(corpus, tmp_path, monkeypatch):
    """The picture and its mirror image get one embedding here, as a model that learned to ignore flips would give."""

    def unflipped(self, images):
        both = [cv2.resize(frame.astype(np.float32) + frame[::-1], (6, 4)) for frame in images]
        looks = np.stack([(look - look.mean()).ravel() for look in both])
        return looks / np.linalg.norm(looks, axis=1, keepdims=True)

    monkeypatch.setattr(module.Embedder, "embed", unflipped)
    settings = DeduplicationSettings()
    found = deduplicate(corpus, settings, embedding=save_model(tmp_path / "model"))
    rows = pq.read_table(corpus / "duplicates.parquet").to_pylist()
    assert {row["clip_id"] for row in rows} == {"data__a-000000", "data__b-000001"}
    assert {row["method"] for row in rows} == {"embedding"}
    assert max(row["distance"] for row in rows) < 1e-2
    assert sum(found.summary["left_out"]["embedding"].values()) == 1
    assert found.summary["left_out"]["hash"] == {"train": 0, "held_out": 0}
    first = (corpus / "duplicates.parquet").read_bytes()
    deduplicate(corpus, settings, embedding=str(tmp_path / "model"))
    assert (corpus / "duplicates.parquet").read_bytes() == first


def test_a_map_of_features_without_pooling_is_averaged_over_its_places(monkeypatch, tmp_path):
    embedder = Embedder(save_model(tmp_path), 2)
    features = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[0.0, 0.0], [0.0, 12.0]]]])  # (1, 2, 2, 2), means 4 and 3
    monkeypatch.setattr(embedder, "_model", lambda **_: SimpleNamespace(pooler_output=None, last_hidden_state=features))
    np.testing.assert_allclose(embedder.embed([np.zeros((8, 8, 3), np.uint8)]), [[0.8, 0.6]], rtol=1e-6)


def test_what_cannot_be_used(corpus, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"embedding model .*empty' cannot be loaded with its image processor"):
        deduplicate(corpus, DeduplicationSettings(), embedding=str(tmp_path / "empty"))
    for value in (np.nan, 0.0):
        monkeypatch.setattr(Embedder, "embed", lambda self, images, value=value: np.full((len(images), 3), value))
        with pytest.raises(UserError, match=r"gives row 0 of shard-00000.parquet no direction \(zeros or values"):
            deduplicate(corpus, DeduplicationSettings(), embedding=save_model(tmp_path / "model"))
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", lambda *_args, **_more: exec("raise ValueError"))
    with pytest.raises(UserError, match=r"cannot be loaded with its image processor: ValueError"):
        Embedder(save_model(tmp_path / "model"), 1)


def test_kept_embeddings_that_are_broken_are_named(corpus, tmp_path):
    model = save_model(tmp_path / "model")
    deduplicate(corpus, DeduplicationSettings(), embedding=model)
    (kept,) = (corpus / "journal" / "embeddings").rglob("*.npy")
    whole = kept.read_bytes()
    for content in (b"broken", whole[:-20]):
        kept.write_bytes(content)
        with pytest.raises(UserError, match=rf"{kept.name}' is damaged: remove it and run the same command again"):
            deduplicate(corpus, DeduplicationSettings(), embedding=model)
