"""The record of a diagnosis as JSON: every figure, and what it was measured on, with and how."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import to_plain
from training.corpus import Corpus
from training.diagnostics.checkpoint import Opened
from training.diagnostics.report import Measured
from training.diagnostics.settings import DiagnoseSettings
from training.diagnostics.subjects import Subject
from training.teachers.checkpoint import hash_weights
from training.teachers.teacher import TeacherOutput

SCHEMA_VERSION = 1
MADE_BY = "training.diagnose"
_PACKAGES = ("torch", "torchvision", "transformers", "numpy", "opencv-python-headless", "timm")


def describe(
    opened: Opened, corpus: Corpus, settings: DiagnoseSettings, measured: Measured, seconds: float, device: torch.device
) -> dict[str, Any]:
    """The record; paths are reduced to their last part."""
    plain = to_plain(settings)
    for teacher in plain["teachers"].values():
        if Path(teacher["repo"]).exists():
            teacher["repo"] = Path(teacher["repo"]).name
    frames = measured.frames
    return {
        "schema_version": SCHEMA_VERSION,
        "made_by": MADE_BY,
        "checkpoint": {
            "name": opened.located.name,
            "step": opened.located.step,
            "weights": opened.located.weights,
            "weights_sha256": hash_weights(opened.student.state_dict()),
            "trained_heads": opened.has_heads,
        },
        "corpus": {
            "name": corpus.name,
            "fingerprint": corpus.fingerprint,
            # Where it is another one, nobody has looked whether its held-out videos were seen in training.
            "trained_on_it": None if opened.trained_on is None else opened.trained_on == corpus.fingerprint,
        },
        "frames": {
            "held_out": len(frames),
            "videos": int(frames.videos.max()) + 1,
            "clips": len(np.unique(frames.clips)),
            "with_time_line": int((~np.isnan(frames.times)).sum()),
            "warped": len(measured.warped),
            "probe": measured.probe_frames,
            "probe_videos": measured.probe_videos,
        },
        "models": [_model(each, measured.features[each.name], opened) for each in measured.subjects],
        "measures": [row.to_dict() for row in measured.rows],
        "settings": plain,
        "packages": {name: version(name) for name in _PACKAGES},
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "seconds": round(seconds, 1),
    }


def _model(subject: Subject, features: TeacherOutput, opened: Opened) -> dict[str, Any]:
    dense = features.dense
    assert dense is not None
    facts: dict[str, Any] = {
        "name": subject.name,
        "role": subject.role,
        "size": list(subject.size),
        "grid": list(dense.shape[2:]),
        "dense_width": dense.shape[1],
        "summary_width": None if features.summary is None else features.summary.shape[1],
    }
    return facts | ({"identity": opened.teachers[subject.name].identity()} if subject.role == "teacher" else {})
