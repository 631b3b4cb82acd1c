from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants

from evaluation.backbones import TeacherBackbone, load_backbone, load_zen
from evaluation.backbones.zen import ZenNetwork
from training.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_zen_folder(zen_folder: Path) -> None:
    backbone = load_backbone(str(zen_folder), "student", CPU)
    assert isinstance(backbone.network, ZenNetwork)
    assert backbone.role == "student"
    assert backbone.identity == load_zen(str(zen_folder), CPU).identity


def test_folder_of_any_vision_model(teacher_folder: Path) -> None:
    backbone = load_backbone(str(teacher_folder), "student", CPU)
    assert backbone.role == "student"
    assert backbone.identity == TeacherBackbone(str(teacher_folder), CPU).identity


def test_peer_with_its_file(tmp_path: Path) -> None:
    torch.save({"model": timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()}, tmp_path / "w.pth")
    backbone = load_backbone(f"endovit={tmp_path / 'w.pth'}", "peer", CPU)
    assert (backbone.name, backbone.role, backbone.summary_width) == ("endovit", "peer", 192)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("surgvlp", "the weights of peer 'surgvlp' are not on the Hub"),
        (
            "pl_stitch",
            "peer 'pl_stitch': visurg/PL-Stitch is not in .* run `hf download visurg/PL-Stitch pl_lemon.pth`",
        ),
        ("dinov2-smal", "unknown model 'dinov2-smal'. Did you mean 'dinov2-small'"),
        ("lemonfn", "unknown model 'lemonfn'. Did you mean 'lemonfm'"),
        ("lemonfn=/some/file.pth", "unknown peer 'lemonfn'"),
        ("./no/folder", "model folder './no/folder' does not exist"),
        (
            "org/no-such-model",
            "model 'org/no-such-model': org/no-such-model is not in the local cache, and HF_HUB_OFFLINE",
        ),
    ],
)
def test_what_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_backbone(name, "student", CPU)


def test_damaged_config(zen_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: not JSON"):
        load_backbone(str(tmp_path), "student", CPU)


def test_model_without_dense_tokens(teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evaluation.backbones import teacher

    open_teacher: Callable[..., Any] = teacher.open_teacher

    def without_dense(name: str) -> Any:
        parts = open_teacher(name)
        spec = parts.spec.from_dict({**parts.spec.to_dict(), "dense": False, "roles": ["summary"]}, "test")
        return parts._replace(spec=spec)

    monkeypatch.setattr(teacher, "open_teacher", without_dense)
    with pytest.raises(UserError, match="gives no dense tokens; the benchmark needs them"):
        load_backbone(str(teacher_folder), "student", CPU)
