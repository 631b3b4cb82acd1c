import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from evaluation.backbones import load_zen, random_init
from evaluation.backbones.backbone import sha256_of_weights
from modeling_zen import ZenImageProcessor
from training.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def damaged(zen_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(zen_folder, tmp_path / "model")


def test_features_are_those_of_the_model(zen_folder: Path) -> None:
    backbone = load_zen(str(zen_folder), CPU)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    features = backbone.extract(images)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(((images / 255 - mean) / std).transpose(0, 3, 1, 2)).float()
    model = AutoModel.from_pretrained(zen_folder).eval()
    with torch.no_grad():
        output = model(pixels)
    assert features.summary == pytest.approx(output.pooler_output.numpy(), abs=1e-5)
    assert features.dense == pytest.approx(model.dense_tokens(output.last_hidden_state, 32, 48).numpy(), abs=1e-5)
    assert features.dense.shape == (2, 24, 2, 3)


def test_features_are_those_of_the_processor(zen_folder: Path, damaged: Path) -> None:
    settings = json.loads((damaged / "preprocessor_config.json").read_text())
    for changes in ({"image_mean": [0.1, 0.2, 0.3]}, {"do_normalize": False}, {"rescale_factor": 0.01}):
        (damaged / "preprocessor_config.json").write_text(json.dumps(settings | changes))
        backbone = load_zen(str(damaged), CPU)
        images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
        processor = ZenImageProcessor.from_pretrained(damaged)
        pixels = processor(list(torch.from_numpy(images).permute(0, 3, 1, 2)), do_resize=False, return_tensors="pt")
        with torch.no_grad():
            output = AutoModel.from_pretrained(zen_folder).eval()(**pixels)
        assert backbone.extract(images).summary == pytest.approx(output.pooler_output.numpy(), abs=1e-5)


def test_a_copy_trains_and_the_original_stays(zen_folder: Path) -> None:
    backbone = load_zen(str(zen_folder), CPU)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    before = backbone.extract(images)
    network = copy.deepcopy(backbone.network).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).requires_grad_()
    tokens = network(pixels)
    (tokens.summary.square().mean() + tokens.dense.square().mean()).backward()
    assert pixels.grad is not None
    assert bool(pixels.grad.any())
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    optimizer.step()
    after = backbone.extract(images)
    assert np.array_equal(after.dense, before.dense)
    assert np.array_equal(after.summary, before.summary)
    with torch.no_grad():
        assert np.abs(network.eval()(pixels).dense.numpy() - before.dense).max() > 1e-6


def test_identity_holds_no_path(zen_folder: Path) -> None:
    backbone = load_zen(str(zen_folder), CPU)
    assert backbone.name == backbone.identity.id == f"{zen_folder.parent.name}/hub"
    assert len(backbone.identity.weights_sha256) == len(backbone.identity.preprocessing_sha256) == 64
    assert load_zen(str(zen_folder), CPU).identity == backbone.identity


def test_random_init_is_seeded_and_leaves_the_random_state(zen_folder: Path) -> None:
    student = load_zen(str(zen_folder), CPU)
    assert student.identity.weights_sha256 == sha256_of_weights(AutoModel.from_pretrained(zen_folder).state_dict())
    before = torch.random.get_rng_state()
    hashes = [random_init(student, seed, CPU).identity.weights_sha256 for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert hashes[0] == hashes[1] != hashes[2]
    assert student.identity.weights_sha256 not in hashes


def test_weights_hash_ignores_the_order_of_names_and_sees_every_value() -> None:
    state = {"a": torch.ones(2), "b": torch.zeros(1, dtype=torch.bfloat16)}
    assert sha256_of_weights(state) == sha256_of_weights(dict(reversed(state.items())))
    assert sha256_of_weights(state) != sha256_of_weights({**state, "a": torch.tensor([1.0, 1.0000001])})
    assert sha256_of_weights(state) != sha256_of_weights({**state, "a": torch.ones(2, 1)})


def test_size_that_is_no_multiple_of_the_patch(zen_folder: Path) -> None:
    backbone = load_zen(str(zen_folder), CPU)
    backbone.check_size(224)
    with pytest.raises(
        UserError, match=r"image size 230 is not a multiple of the patch 16 of .*; use 224 or 240 instead"
    ):
        backbone.check_size(230)
    with pytest.raises(UserError, match="use 16 instead"):
        backbone.check_size(7)


def test_missing_folder() -> None:
    with pytest.raises(UserError, match=r"model folder './no/such/folder' does not exist"):
        load_zen("./no/such/folder", CPU)


def test_another_kind_of_model(teacher_folder: Path) -> None:
    with pytest.raises(UserError, match="is a 'vit', not a 'zen'"):
        load_zen(str(teacher_folder), CPU)


def test_missing_processor(damaged: Path) -> None:
    (damaged / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"model '.*' cannot be loaded"):
        load_zen(str(damaged), CPU)


def test_missing_and_extra_weights(damaged: Path) -> None:
    weights = load_file(damaged / "model.safetensors")
    name = sorted(weights)[0]
    weights["surplus"] = weights.pop(name)
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"cannot be loaded: .*1 missing: {name}; 1 unknown to the model: surplus"):
        load_zen(str(damaged), CPU)


def test_weights_of_another_shape(damaged: Path) -> None:
    config = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps(config | {"intermediate_size": 52}))
    with pytest.raises(UserError, match=r"model '.*' cannot be loaded"):
        load_zen(str(damaged), CPU)
