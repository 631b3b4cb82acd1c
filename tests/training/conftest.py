"""A tiny real corpus and two tiny random teachers as model folders, made once per test session."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from transformers import (
    BitImageProcessor,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
)

from training.corpus.curation import curate
from training.corpus.settings import CurationSettings


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases of eight stills: smooth color fields whose hue and blob positions differ, one case below test/."""
    root = tmp_path_factory.mktemp("stills")
    generator = np.random.default_rng(0)
    for number in range(5):
        folder = root / ("test" if number == 4 else "train")
        folder.mkdir(exist_ok=True)
        for frame in range(8):
            coarse = generator.integers(40, 220, (4, 5, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"case{number}_{frame}.jpg"), cv2.resize(coarse, (80, 64)))
    out = tmp_path_factory.mktemp("corpus") / "corpus"
    curate([root], out, CurationSettings())
    return out


@pytest.fixture(scope="session")
def tiny_teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A ViT-like and a CNN-like teacher, random, as folders that load like Hub repositories."""
    root = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(0)
    vit = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, patch_size=8, image_size=32
    )
    Dinov2Model(vit).save_pretrained(root / "vit")
    BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(root / "vit")
    cnn = ConvNextConfig(hidden_sizes=[8, 8, 16, 20], depths=[1, 1, 1, 1], num_stages=4)
    ConvNextModel(cnn).save_pretrained(root / "cnn")
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=1.0).save_pretrained(root / "cnn")
    return {"vit": root / "vit", "cnn": root / "cnn"}
