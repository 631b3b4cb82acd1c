"""Embeddings of all frames of a corpus by any AutoModel, kept in the journal shard by shard.

    OUT/journal/embeddings/<fingerprint of the model>/<shard>-<digest of its hashes>.npy    float16 (rows, D)

A shard that has its file is not embedded again, so an interrupted run goes on and a grown corpus pays for what is new.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

import modeling_zen  # noqa: F401  # so that AutoModel knows ZEN
from training.corpus.atomic import replacing
from training.corpus.duplicates.frame_table import FrameTable, decode, read_hashes, read_images, where_in
from training.corpus.manifest import SHARD_FOLDER
from training.errors import UserError

FOLDER = "embeddings"


class Embedder:
    """An AutoModel with its own image processor.

    Args:
        name: of a Hub repository or a folder.
        batch_size: frames at once.

    Raises:
        UserError: the model or its processor cannot be loaded.
    """

    def __init__(self, name: str, batch_size: int) -> None:
        from transformers import AutoImageProcessor, AutoModel

        try:
            self._processor: Any = AutoImageProcessor.from_pretrained(name)
            self._model: Any = AutoModel.from_pretrained(name, dtype=torch.float32).eval()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"embedding model {name!r} cannot be loaded with its image processor: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}"
            ) from error
        self._batch_size = batch_size

    @property
    def fingerprint(self) -> str:
        """Of weights, preprocessing and batch size: 16 hexadecimal digits."""
        digest = hashlib.sha256(f"{self._processor.to_json_string()} {self._batch_size}".encode())
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def embed(self, images: list[np.ndarray]) -> np.ndarray:
        """Embeddings of uint8 (H, W, 3) RGB frames of any sizes: float32 (N, D), each of length 1.

        The pooled output of the model; where it pools nothing the mean of its last tokens (N, tokens, D), or of its
        last map of features (N, D, height, width) over all places.
        """
        parts = []
        for start in range(0, len(images), self._batch_size):
            pixels = self._processor(images[start : start + self._batch_size], return_tensors="pt")
            with torch.inference_mode():
                output = self._model(**pixels)
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                last = output.last_hidden_state
                pooled = last.mean((2, 3)) if last.ndim == 4 else last.mean(1)
            pooled = pooled.flatten(1)
            parts.append(torch.nn.functional.normalize(pooled.float(), dim=1).numpy())
        return np.concatenate(parts)


def embed_corpus(frames: FrameTable, embedder: Embedder) -> np.ndarray:
    """The embeddings of all frames, float16 (N, D).

    Raises:
        UserError: a frame that cannot be decoded, a model that gives an embedding without direction, or a damaged file
            of embeddings.
    """
    folder = frames.folder / "journal" / FOLDER / embedder.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    embeddings: np.ndarray | None = None
    shards = list(frames.by_shard(np.arange(len(frames))))
    for name, mine, rows in tqdm(shards, desc="embed", unit="shard"):
        shard = frames.folder / SHARD_FOLDER / name
        hashes = read_hashes(shard)
        path = folder / f"{shard.stem}-{hashlib.sha256(hashes.tobytes()).hexdigest()[:16]}.npy"
        if not path.is_file():
            done = np.concatenate([embedder.embed(batch) for batch in _batches(shard, len(hashes))]).astype(np.float16)
            bad = np.flatnonzero(~(np.linalg.norm(done.astype(np.float32), axis=1) > 0.5))  # NaN is not either
            if len(bad):
                raise UserError(
                    f"the embedding model gives row {bad[0]} of {name} no direction (zeros or values that are not "
                    "finite): give another model"
                )
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, done)
        stored = _load(path, len(hashes))
        if embeddings is None:
            embeddings = np.zeros((len(frames), stored.shape[1]), np.float16)
        embeddings[mine] = stored[rows]
    return np.zeros((0, 1), np.float16) if embeddings is None else embeddings


def _batches(shard: Path, rows: int, size: int = 256) -> Iterator[list[np.ndarray]]:
    """The decoded frames of a shard, some at a time."""
    for start in range(0, rows, size):
        batch = []
        for row, image in enumerate(read_images(shard, np.arange(start, min(start + size, rows))), start):
            batch.append(decode(image, cv2.IMREAD_COLOR_RGB, where_in(shard, row)))
        yield batch


def _load(path: Path, rows: int) -> np.ndarray:
    """The kept embeddings of a shard, float16 (rows, D), not in main memory."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{str(path)!r} is damaged: remove it and run the same command again") from error
    if stored.ndim != 2 or len(stored) != rows:
        raise UserError(f"{str(path)!r} has shape {stored.shape}, not {rows} rows: remove it and run the command again")
    return stored
