from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.backbones import TeacherBackbone
from training.errors import UserError
from training.teachers import load_teacher

CPU = torch.device("cpu")


def test_features_are_those_of_the_teacher(teacher_folder: Path) -> None:
    backbone = TeacherBackbone(str(teacher_folder), CPU)
    teacher = load_teacher(str(teacher_folder))
    size = teacher.spec.fixed_size or (64, 64)
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    features = backbone.extract(images)
    output = teacher(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert output.dense is not None
    assert features.dense == pytest.approx(output.dense.numpy(), abs=1e-5)
    assert features.dense.shape[1] == backbone.dense_width == 16
    assert features.summary.shape == (2, backbone.summary_width)
    assert backbone.identity.weights_sha256 == teacher.identity()["weights_sha256"]
    assert str(teacher_folder) not in backbone.identity.id


def test_unknown_teacher() -> None:
    with pytest.raises(UserError, match="no-such-teacher"):
        TeacherBackbone("no-such-teacher", CPU)
