"""Extracts features of image files in a process of its own, alone or as one of several."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from evaluation.backbones import Features, Identity
from evaluation.datasets import FrameReference
from evaluation.feature_store import collector
from evaluation.features import FeatureStore, extract_features
from evaluation.frames import UnreadableFrameError


class ColorBackbone:
    """A fixed random projection of the frame and of each 16 pixel cell."""

    role = "teacher"
    name = "color"
    summary_width = 5
    dense_width = 4
    identity = Identity("color", None, "a" * 64, "b" * 64)

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        generator = torch.Generator().manual_seed(0)
        self._map = torch.randn(5, 3 * 16 * 16, generator=generator).numpy()

    def check_size(self, image_size: int) -> None:
        """Any."""

    def extract(self, images: np.ndarray) -> Features:
        """uint8 (B, 32, 32, 3)."""
        time.sleep(self.seconds * len(images))
        cells = images.reshape(-1, 2, 16, 2, 16, 3).transpose(0, 1, 3, 2, 4, 5).reshape(len(images), 4, -1) / 255.0
        tokens = np.stack([frame @ self._map.T for frame in cells]).astype(np.float32)  # (B, 4, 5)
        dense = tokens[:, :, :4].transpose(0, 2, 1).reshape(-1, 4, 2, 2)
        return Features(tokens.mean(axis=1), dense)


def references(images: Path) -> list[FrameReference]:
    """All images of a folder, by name."""
    return [FrameReference(path) for path in sorted(images.glob("*.png"))]


def extract(images: Path, folder: Path | None, seconds: float = 0.0, **changes: Any) -> FeatureStore:
    """Features of all images, dense tokens of every second one."""
    frames = references(images)
    arguments: dict[str, Any] = {"memory_limit": 1.0, "folder": folder, **changes}
    return extract_features([ColorBackbone(seconds)], frames, frames[::2], 32, **arguments)


def run(
    images: Path, folder: Path, report: Path, seconds: float = 0.0, place: tuple[int, int, int] | None = None
) -> None:
    """The program of a process; `place` is its rank, the number of processes and a free port for them to meet at."""
    collector.PART_FRAMES, collector.BATCH_SIZE = 4, 2
    if place is not None:
        rank, processes, port = map(str, place)
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    state = PartialState(cpu=True)
    frames = references(images)
    report.mkdir(exist_ok=True)
    facts: dict[str, Any] = {"processes": state.num_processes}
    try:
        store = extract(images, folder, seconds)
    except UnreadableFrameError as error:
        facts |= {"error": error.path.name}
    else:
        facts |= {"computed": store.computed, "decoded": store.decoded}
        features = {"pooled": store.pooled("color", frames), "coarse": store.coarse("color", frames)}
        np.savez(report / f"{state.process_index}.npz", dense=store.dense("color", frames[::2]), **features)
    (report / f"{state.process_index}.json").write_text(json.dumps(facts))
    state.destroy_process_group()
