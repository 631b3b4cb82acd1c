"""SurgeNet from files in the names of the first repositories of CAFormer, ConvNeXtV2 and PVTv2."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.models.metaformer import MetaFormer, StarReLU

from evaluation.backbones.peers import load_peer, surgenet
from training.errors import UserError

CPU = torch.device("cpu")
HEAD = {"head.mlp.0.weight": torch.ones(2), "head.last_layer.weight_g": torch.ones(1)}


def spelled(weights: Any, names: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Timm's keys in the spelling of a file: all replacements, in order."""
    result = {}
    for key, tensor in weights.items():
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        result[key] = tensor
    return result


def tokens_of(source: Any) -> Any:
    def tokens(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dense = source.forward_features(pixels)
        return source.forward_head(dense, pre_logits=True), dense

    return tokens


class TestCAFormer:
    @pytest.fixture
    def source(self, randomize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
        class Small(MetaFormer):
            def __init__(self, **settings: Any) -> None:
                super().__init__(**{**settings, "depths": (1, 1, 2, 1), "dims": (32, 32, 64, 64)})

        monkeypatch.setattr(surgenet, "MetaFormer", Small)
        return randomize(surgenet.new_caformer())

    @staticmethod
    def write(weights: Any) -> dict[str, torch.Tensor]:
        names = [
            (r"^stem\.conv", "downsample_layers.0.conv"),
            (r"^stem\.norm", "downsample_layers.0.post_norm"),
            (r"^stages\.(\d)\.downsample\.conv", r"downsample_layers.\1.conv"),
            (r"^stages\.(\d)\.downsample\.norm", r"downsample_layers.\1.pre_norm"),
            (r"^(stages\.\d)\.blocks", r"\1"),
            (r"^head\.norm", "norm"),
        ]
        linear = {
            key: tensor[..., 0, 0] if tensor.ndim == 4 and tensor.shape[2:] == (1, 1) else tensor
            for key, tensor in weights.items()
        }
        return spelled(linear, names) | HEAD

    def test_features(self, source: Any, save: Any, check_features: Any, check_training: Any) -> None:
        assert not [module for module in source.modules() if isinstance(module, StarReLU)]
        file = save(self.write(source.state_dict()))
        check_training(check_features("surgenet_xl", file, tokens_of(source), size=224, mode="bicubic"))

    def test_full_checkpoint(self, source: Any, save: Any, below: Any, check_features: Any) -> None:
        weights = self.write(source.state_dict())
        student = {key: torch.zeros_like(tensor) for key, tensor in weights.items()}
        both = {"student": below("module.backbone.", student), "teacher": below("backbone.", weights)}
        check_features("surgenet", save(both), tokens_of(source), size=224, mode="bicubic")

    def test_refusals(self, source: Any, check_refusals: Any) -> None:
        check_refusals("surgenet_xl", self.write, source.state_dict(), "stages.2.blocks.1.token_mixer.proj.weight")

    def test_a_caformer_with_star_relu_is_another_model(self, source: Any, save: Any) -> None:
        weights = self.write(source.state_dict()) | {"stages.0.0.mlp.act.scale": torch.ones(1)}
        with pytest.raises(UserError, match=r"1 unknown: stages\.0\.0\.mlp\.act\.scale"):
            load_peer("surgenet_xl", save(weights), CPU)

    def test_size_of_the_released_model(self) -> None:
        with torch.device("meta"):
            model = surgenet.new_caformer()
            usual = timm.create_model("caformer_s18", num_classes=0)
        assert model.num_features == 512
        scalars = sum(parameter.numel() for name, parameter in usual.named_parameters() if "act" in name)
        count = sum(parameter.numel() for parameter in usual.parameters()) - scalars
        assert sum(parameter.numel() for parameter in model.parameters()) == count


class TestConvNeXtV2:
    @pytest.fixture
    def source(self, randomize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
        sizes = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}
        monkeypatch.setattr(
            surgenet, "new_convnextv2", lambda: timm.create_model("convnextv2_tiny", num_classes=0, **sizes)
        )
        return randomize(surgenet.new_convnextv2())

    @staticmethod
    def write(weights: Any) -> dict[str, torch.Tensor]:
        names = [
            (r"^stem", "downsample_layers.0"),
            (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
            (r"^(stages\.\d)\.blocks", r"\1"),
            (r"conv_dw", "dwconv"),
            (r"mlp\.fc", "pwconv"),
            (r"mlp\.grn\.weight", "grn.gamma"),
            (r"mlp\.grn\.bias", "grn.beta"),
            (r"^head\.norm", "norm"),
        ]
        return {
            key: tensor[None, None, None] if ".grn." in key and tensor.ndim == 1 else tensor
            for key, tensor in spelled(weights, names).items()
        } | HEAD

    def test_features(self, source: Any, save: Any, check_features: Any, check_training: Any) -> None:
        file = save(self.write(source.state_dict()))
        check_training(check_features("surgenet_convnextv2", file, tokens_of(source), size=224, mode="bicubic"))

    def test_refusals(self, source: Any, check_refusals: Any) -> None:
        check_refusals("surgenet_convnextv2", self.write, source.state_dict(), "stages.0.blocks.0.mlp.fc1.weight")


class TestPVT:
    @pytest.fixture
    def source(self, randomize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
        sizes = {"depths": (1, 1, 2, 1), "embed_dims": (8, 16, 40, 64)}
        monkeypatch.setattr(surgenet, "new_pvt", lambda: timm.create_model("pvt_v2_b2", num_classes=0, **sizes))
        return randomize(surgenet.new_pvt())

    @staticmethod
    def write(weights: Any) -> dict[str, torch.Tensor]:
        names = [(r"^patch_embed\.", "patch_embed1.")]
        for stage in range(4):
            names += [
                (rf"^stages\.{stage}\.downsample", f"patch_embed{stage + 1}"),
                (rf"^stages\.{stage}\.blocks", f"block{stage + 1}"),
                (rf"^stages\.{stage}\.norm", f"norm{stage + 1}"),
            ]
        return spelled(weights, [*names, (r"mlp\.dwconv", "mlp.dwconv.dwconv")]) | HEAD

    def test_features(self, source: Any, save: Any, check_features: Any, check_training: Any) -> None:
        file = save(self.write(source.state_dict()))
        check_training(check_features("surgenet_pvtv2", file, tokens_of(source), size=224, mode="bicubic"))

    def test_refusals(self, source: Any, check_refusals: Any) -> None:
        check_refusals("surgenet_pvtv2", self.write, source.state_dict(), "stages.1.blocks.0.attn.q.weight")
