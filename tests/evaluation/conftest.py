"""Small data in the layouts the benchmark reads, written by hand, and a tiny model and teacher."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from evaluation.backbones import Features, Identity
from evaluation.protocols import Chosen
from evaluation.records import Floors, Paired, ResultRecord, Split
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.corpus import Clip
from training.corpus.manifest import CLIP_SCHEMA, fingerprint, write_rows
from training.corpus.shards import SHARD_SCHEMA

if TYPE_CHECKING:
    from tests.evaluation.world import World

HEIGHT, WIDTH = 48, 64
INSTRUMENTS = ["grasper", "hook"]
CLASSES = ["background", "liver", "grasper", "hook"]
COLORS = {"grasper": (40, 60, 220), "hook": (60, 200, 60)}


def draw_frame(rng: np.random.Generator, tools: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """A frame uint8 (H, W, 3) and its mask uint8 (H, W): liver below, tools as upright bars at random places."""
    frame = np.full((HEIGHT, WIDTH, 3), (150, 90, 80), dtype=np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    frame[24:], mask[24:] = (160, 40, 30), 1
    for side, tool in enumerate(INSTRUMENTS):
        if tool in tools:
            left = side * 32 + int(rng.integers(0, 16))
            frame[4:40, left : left + 16], mask[4:40, left : left + 16] = COLORS[tool], CLASSES.index(tool)
    noise = rng.integers(-8, 9, frame.shape)
    return np.clip(frame.astype(np.int64) + noise, 0, 255).astype(np.uint8), mask


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Frames uint8 (H, W, 3) RGB as mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 6.0, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def write_synthetic(root: Path, seed: int = 0) -> Path:
    """Four training and two test cases of 8 frames, every second one annotated, one black, one out of body."""
    root.mkdir(parents=True)
    header = {"schema_version": 1, "instruments": INSTRUMENTS, "classes": CLASSES, "annotation_fps": 3.0}
    (root / "dataset.json").write_text(json.dumps(header))
    rng = np.random.default_rng(seed)
    for number in range(6):
        case, side = f"case{number:03d}", "train" if number < 4 else "test"
        truth = root / side / "ground_truth" / case
        (truth / "semantic").mkdir(parents=True)
        frames, rows = [], []
        for index in range(8):
            tools = [tool for bit, tool in enumerate(INSTRUMENTS) if (index // 2 + number) % 4 >> bit & 1]
            frame, mask = draw_frame(rng, tools)
            frames.append(frame)
            if index % 2 == 0:
                Image.fromarray(mask).save(truth / "semantic" / f"{index:06d}.png")
            visibility = {6: "black", 7: "out_of_body"}.get(index, "surgical") if number == 0 else "surgical"
            rows.append({"frame_index": index, "tools": tools, "visibility": visibility, "annotated": index % 2 == 0})
        write_video(root / side / "videos" / f"{case}.mp4", frames)
        pq.write_table(pa.Table.from_pylist(rows), truth / "frames.parquet")
    return root


def write_endoscapes(root: Path) -> Path:
    """Videos 1 to 4 in train, 10 and 11 in val, three stills each."""
    rng = np.random.default_rng(1)
    for folder, videos in (("train", (1, 2, 3, 4)), ("val", (10, 11))):
        for kind in ("images", "masks"):
            (root / folder / kind).mkdir(parents=True)
        entries = {}
        for video in videos:
            for number in range(3):
                key = f"{video}_{750 * (number + 1)}"
                frame, mask = draw_frame(rng, [INSTRUMENTS[(video + number) % 2]])
                mask = np.array([0, 5, 6, 4], dtype=np.uint8)[mask]  # liver -> gallbladder, hook -> cystic duct
                mask[0] = 255
                mask[1, :3] = 7  # the stray value of the published masks
                Image.fromarray(frame).save(root / folder / "images" / f"{key}.jpg", quality=95)
                Image.fromarray(mask).save(root / folder / "masks" / f"{key}.png")
                scores = [(number == 0) * 2 / 3, 1 / 3, (number > 0) * 1.0]
                entries[key] = {"annotations": [{"video_id": video, "ds": scores}], "folders": ["semseg", folder]}
        (root / folder / "annotations.json").write_text(json.dumps(entries))
    return root


def write_corpus(root: Path) -> Path:
    """Three training cases and two held-out ones, one clip of six frames each."""
    rng = np.random.default_rng(2)
    (root / "shards").mkdir(parents=True)
    clips, rows = [], []
    for number in range(5):
        case = f"corpus{number}"
        clip = Clip(
            clip_id=f"{case}-0",
            source="fixture",
            video_id=case,
            case_id=case,
            split="train" if number < 3 else "held_out",
            procedures=(),
            robotic=None,
            licence="CC0",
            fps=1.0,
            width=WIDTH,
            height=HEIGHT,
            t_start=0.0,
            t_end=5.0,
            num_frames=6,
            sha256=hashlib.sha256(case.encode()).hexdigest(),
            crop_left=0,
            crop_top=0,
            crop_right=WIDTH,
            crop_bottom=HEIGHT,
            fov_cx=None,
            fov_cy=None,
            fov_radius=None,
            fov_confidence=None,
            mask="",
            weight=1.0,
            overlaps=(),
            path=f"{case}.mp4",
            shard="shard-00000.parquet",
            shard_row=len(rows),
        )
        clips.append(clip)
        for index in range(6):
            buffer = io.BytesIO()
            frame, _ = draw_frame(rng, [tool for tool in INSTRUMENTS if rng.random() < 0.5])
            Image.fromarray(frame).save(buffer, "JPEG", quality=95)
            rows.append(
                {
                    "image": {"bytes": buffer.getvalue(), "path": None},
                    "clip_id": clip.clip_id,
                    "video_id": case,
                    "case_id": case,
                    "frame_index": index,
                    "timestamp": float(index),
                    "width": WIDTH,
                    "height": HEIGHT,
                    "phash": 0,
                    "luma": 90.0,
                    "sharpness": 100.0,
                }
            )
    pq.write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), root / "shards" / "shard-00000.parquet")
    write_rows(clips, CLIP_SCHEMA, root / "manifest.parquet")
    facts = {"fingerprint": fingerprint(clips), "counts": {"clips": len(clips)}}
    (root / "curation.json").write_text(json.dumps(facts))
    return root


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("data") / "synthetic")


@pytest.fixture(scope="session")
def endoscapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_endoscapes(tmp_path_factory.mktemp("data") / "endoscapes")


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpora") / "corpus")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path, endoscapes_folder: Path) -> "World":
    """Tiny copies of all datasets, written once; a test that damages one copies it first."""
    from tests.evaluation.world import write_world  # reads the whole benchmark in, which few tests need

    return write_world(tmp_path_factory.mktemp("world"), synthetic_folder, endoscapes_folder)


@pytest.fixture
def fresh_synthetic(tmp_path: Path) -> Path:
    """One that a test may damage."""
    return write_synthetic(tmp_path / "synthetic")


@pytest.fixture
def fresh_endoscapes(tmp_path: Path) -> Path:
    """One that a test may damage."""
    return write_endoscapes(tmp_path / "endoscapes")


@pytest.fixture(scope="session")
def zen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ZEN of two layers with random weights, as pretraining leaves it."""
    folder = tmp_path_factory.mktemp("run") / "hub"
    torch.manual_seed(3)
    model = ZenModel(ZenConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48))
    model.save_pretrained(folder)
    ZenImageProcessor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViT of one layer that loads like any Hub teacher."""
    folder = tmp_path_factory.mktemp("teachers") / "tiny-vit"
    torch.manual_seed(4)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16
    )
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


class MeanColorBackbone:
    """The mean color of the frame and of each 16 pixel cell; counts its forward passes."""

    role = "teacher"
    summary_width = 3
    dense_width = 3

    def __init__(self, name: str = "mean color") -> None:
        self.name = name
        self.identity = Identity(name, None, hashlib.sha256(name.encode()).hexdigest(), "0" * 64)
        self.frames = 0

    def check_size(self, image_size: int) -> None:
        pass

    def extract(self, images: np.ndarray) -> Features:
        self.frames += len(images)
        count, height, width, _ = images.shape
        cells = images.reshape(count, height // 16, 16, width // 16, 16, 3).mean(axis=(2, 4)) / 255
        dense = cells.transpose(0, 3, 1, 2).astype(np.float32)
        return Features(dense.mean(axis=(2, 3)), dense)


@pytest.fixture
def mean_color() -> Callable[..., MeanColorBackbone]:
    return MeanColorBackbone


def make_record(role: str = "student", **changes: Any) -> ResultRecord:
    """A valid record; keyword arguments replace fields."""
    student = "a" * 64
    own = student if role == "student" else role[0] * 64
    fields: dict[str, Any] = {
        "model": role,
        "model_role": role,
        "backbone": Identity(role, None, own, "f" * 64),
        "task": "presence_synthetic",
        "dataset": "synthetic",
        "split": Split(("c1", "c2"), ("c3", "c4"), "made up"),
        "protocol": "frozen",
        "probe": "linear",
        "metric": "mean_average_precision",
        "variant": "pooled frames",
        "shots": None,
        "primary": True,
        "higher_is_better": True,
        "predictions": None,
        "value": 0.5,
        "per_case": {"c3": 0.4, "c4": None},
        "interval": (0.4, 0.6),
        "paired": None if role == "student" else Paired("student", student, 0.1, (-0.1, 0.2)),
        "hyperparameters": Chosen({"penalty": 0.1}, "train folds by case", "mAP"),
        "seeds": (0,),
        "floors": Floors(0.1, 0.2, 0.3),
        "settings": {"image_size": 224},
        "details": {},
        "pretraining_overlap": None,
        "package_versions": {"torch": "2"},
        "device": "cpu",
        "seconds": 1.0,
        "created": "2026-01-01T00:00:00+00:00",
    }
    return ResultRecord(**{**fields, **changes})


@pytest.fixture
def new_record() -> Callable[..., ResultRecord]:
    return make_record
