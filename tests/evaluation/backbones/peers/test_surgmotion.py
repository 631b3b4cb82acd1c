"""SurgMotion from a file of V-JEPA 2; the source of the features is the V-JEPA 2 of transformers."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import VJEPA2Config, VJEPA2Model

from evaluation.backbones.peers import load_peer, surgmotion
from training.errors import UserError

CPU = torch.device("cpu")
PARTS = ("query", "key", "value")


@pytest.fixture
def source(randomize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(surgmotion._HEADS, (48, 2), 2)
    sizes: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    model: Any = VJEPA2Model(VJEPA2Config(**sizes, **predictor))
    del model.predictor
    return randomize(model)


@pytest.fixture
def write(below: Any) -> Callable[..., Any]:
    def checkpoint(weights: Any) -> dict[str, Any]:
        named = {}
        for key, tensor in weights.items():
            key = re.sub(r"^encoder\.embeddings\.patch_embeddings", "patch_embed", key)
            key = re.sub(r"^encoder\.layer\.", "blocks.", key).replace(".attention.", ".attn.")
            named[re.sub(r"^encoder\.layernorm", "norm", key)] = tensor
        for key in [key for key in named if ".query." in key]:
            names = [key.replace("query", part) for part in PARTS]
            named[key.replace("query", "qkv")] = torch.cat([named.pop(name) for name in names])
        encoder = below("module.backbone.", named)
        zeros = {key: torch.zeros_like(tensor) for key, tensor in encoder.items()}
        return {"encoder": encoder, "target_encoder": zeros, "predictor": {"module.x": torch.ones(1)}, "epoch": 1}

    return checkpoint


def test_features(source: Any, write: Any, save: Any, check_features: Any, check_training: Any) -> None:
    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        clips = pixels[:, None].expand(-1, 2, -1, -1, -1)
        hidden = source(pixel_values_videos=clips, skip_predictor=True).last_hidden_state
        return hidden.mean(dim=1), hidden.transpose(1, 2).unflatten(2, (16, 16))

    file = save(write(source.state_dict()), "SurgMotion-vitl.pt")
    check_training(check_features("surgmotion_l", file, tokens, size=256, mode="bilinear"))


def test_refusals(source: Any, write: Any, check_refusals: Any) -> None:
    check_refusals("surgmotion_g", write, source.state_dict(), "encoder.layer.1.mlp.fc2.weight")


def test_size_without_known_heads(source: Any, write: Any, save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(surgmotion._HEADS, (48, 2))
    message = "48 wide with 2 layers, for which no number of attention heads is published; known are 1024 wide with 24"
    with pytest.raises(UserError, match=message):
        load_peer("surgmotion_l", save(write(source.state_dict())), CPU)


def test_image_model(source: Any, write: Any, save: Any) -> None:
    key = "encoder.embeddings.patch_embeddings.proj.weight"
    weights = {**source.state_dict(), key: torch.ones(48, 3, 16, 16)}
    with pytest.raises(UserError, match=r"\(48, 3, 16, 16\), which cuts no tubelets"):
        load_peer("surgmotion_l", save(write(weights)), CPU)


def test_without_what_tells_the_size(source: Any, write: Any, save: Any) -> None:
    weights = {key: tensor for key, tensor in source.state_dict().items() if "layer.0.mlp.fc1" not in key}
    with pytest.raises(UserError, match=r"holds no blocks\.0\.mlp\.fc1\.weight, which every V-JEPA 2 has"):
        load_peer("surgmotion_l", save(write(weights)), CPU)
