import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.backbones import TeacherBackbone, random_init
from training.errors import UserError
from training.teachers import load_teacher

CPU = torch.device("cpu")
KINDS = ["convnext", "dinov2", "siglip", "timm_cnn", "vit", "vjepa2"]


def some_images(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_teacher(vision_folders: dict[str, Path], kind: str) -> None:
    backbone = TeacherBackbone(str(vision_folders[kind]), CPU)
    teacher = load_teacher(str(vision_folders[kind]))
    # A size that the teacher takes as it is, or one that must be resized to its only one.
    images = some_images(50 if teacher.spec.fixed_size else 2 * teacher.spec.size_multiple)
    features = backbone.extract(images)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    output = teacher(pixels, size=teacher.spec.fixed_size)
    assert output.dense is not None
    assert output.summary is not None
    # float32 rounding: a teacher folds its batch norms, the backbone does not
    scale = float(output.dense.abs().max())
    assert features.dense == pytest.approx(output.dense.numpy(), abs=1e-6 * max(scale, 1))
    assert features.summary == pytest.approx(output.summary.numpy(), abs=1e-6 * max(scale, 1))
    assert features.dense.shape[1] == backbone.dense_width
    assert features.summary.shape == (2, backbone.summary_width)
    facts = teacher.identity()
    assert backbone.identity.weights_sha256 == facts["weights_sha256"]
    assert backbone.identity.preprocessing_sha256 == facts["preprocessing_sha256"]
    assert str(vision_folders[kind]) not in backbone.identity.id


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_trains_and_the_original_stays(vision_folders: dict[str, Path], kind: str) -> None:
    backbone = TeacherBackbone(str(vision_folders[kind]), CPU)
    images = some_images(backbone.network.spec.size_multiple * 4)  # type: ignore[union-attr]
    before = backbone.extract(images)
    network = copy.deepcopy(backbone.network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    tokens = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    (tokens.summary.square().mean() + tokens.dense.square().mean()).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None]
    # the mask token of self-supervised pretraining stands for patches that are hidden, and here none is
    assert [name for name in without if "mask_token" not in name] == []
    optimizer.step()
    after = backbone.extract(images)
    assert np.array_equal(after.dense, before.dense)
    assert np.array_equal(after.summary, before.summary)
    with torch.no_grad():
        trained = network.eval()(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert np.abs(trained.dense.numpy() - before.dense).max() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_random_init_has_the_same_shapes_and_other_weights(vision_folders: dict[str, Path], kind: str) -> None:
    backbone = TeacherBackbone(str(vision_folders[kind]), CPU)
    floors = [random_init(backbone, seed, CPU) for seed in (0, 0, 1)]
    shapes = {name: value.shape for name, value in backbone.network.state_dict().items()}
    assert {name: value.shape for name, value in floors[0].network.state_dict().items()} == shapes
    hashes = [floor.identity.weights_sha256 for floor in floors]
    assert hashes[0] == hashes[1] != hashes[2]
    assert floors[0].identity.preprocessing_sha256 == backbone.identity.preprocessing_sha256
    images = some_images(backbone.network.spec.size_multiple * 4)  # type: ignore[union-attr]
    assert not np.allclose(floors[0].extract(images).dense, backbone.extract(images).dense, atol=1e-3)


def test_illegal_size(vision_folders: dict[str, Path]) -> None:
    TeacherBackbone(str(vision_folders["dinov2"]), CPU).check_size(224)
    with pytest.raises(UserError, match="multiples of 14"):
        TeacherBackbone(str(vision_folders["dinov2"]), CPU).check_size(225)
    TeacherBackbone(str(vision_folders["vjepa2"]), CPU).check_size(225)  # is resized


def test_unknown_teacher() -> None:
    with pytest.raises(UserError, match="no-such-teacher"):
        TeacherBackbone("no-such-teacher", CPU)
