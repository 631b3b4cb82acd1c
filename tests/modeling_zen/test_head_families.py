"""Each family of heads on a ZEN trunk: built, loaded, trained for some steps, saved and loaded again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import nn
from transformers import DPTConfig, DPTForDepthEstimation, DPTForSemanticSegmentation

from modeling_zen import ZenBackbone, ZenConfig, ZenModel
from modeling_zen.head_families import HEAD_FAMILIES, head_config, head_processor, start_depth
from modeling_zen.losses_zen import depth_loss
from modeling_zen.trunk import load_trunk, zen_backbone_config

from .conftest import SMALL_HEADS

FRAMES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
BOXES = torch.tensor([[0.5, 0.5, 0.2, 0.3], [0.3, 0.4, 0.1, 0.2]])  # center x, center y, width, height
LABELS: dict[str, dict[str, Any]] = {
    "upernet": {"labels": torch.arange(2 * 64 * 96).view(2, 64, 96) // 1024 % 3},
    "mask2former": {
        "mask_labels": [torch.stack([torch.ones(64, 96).tril(), torch.ones(64, 96).triu(1)])] * 2,
        "class_labels": [torch.tensor([0, 2])] * 2,
    },
}
DETECTIONS = {"labels": [{"class_labels": torch.tensor([0, 2]), "boxes": BOXES}] * 2}


def build(family: str, folder: Path, **fields: Any) -> Any:
    """The head, fresh, on the trunk of the folder."""
    config = head_config(family, folder, **{**SMALL_HEADS[family], **fields})
    torch.manual_seed(0)
    model_class = HEAD_FAMILIES[family].model
    model = load_trunk(getattr(transformers, model_class)(config), folder)
    return start_depth(model, 60.0) if family == "dpt" else model


def loss_of(model: Any, family: str) -> torch.Tensor:
    torch.manual_seed(1)  # some heads draw noise or points
    if "DepthEstimation" not in type(model).__name__:
        return model(FRAMES, **LABELS.get(family, DETECTIONS)).loss
    predicted = model(FRAMES).predicted_depth
    target = 40 + 40 * torch.linspace(0, 1, predicted.shape[-1]).expand_as(predicted)
    return depth_loss(predicted, target).mean()


@pytest.mark.parametrize("family", HEAD_FAMILIES)
def test_a_family_learns_and_comes_back(family: str, trunk_folder: Path, tmp_path: Path) -> None:
    model = build(family, trunk_folder).train()
    [backbone] = [module for module in model.modules() if isinstance(module, ZenBackbone)]
    trunk = ZenModel.from_pretrained(trunk_folder)
    own = backbone.state_dict()
    assert all(torch.equal(weight, own[name]) for name, weight in trunk.state_dict().items())

    # The loss of Mask2Former hardly moves before its queries begin to differ.
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3 if family == "mask2former" else 1e-3)
    losses = []
    for _ in range(5):
        loss = loss_of(model, family)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        patches: Any = backbone.embeddings.patch_embeddings
        assert 0 < patches.weight.grad.abs().max() < float("inf")
    assert losses[-1] < losses[0]

    model.eval().save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(again(FRAMES)[0], model(FRAMES)[0])


@pytest.mark.parametrize("family", HEAD_FAMILIES)
def test_a_fresh_trunk_is_that_of_zen(family: str, trunk_folder: Path) -> None:
    """The head's own initialisation leaves the trunk's alone."""
    config = head_config(family, trunk_folder, **SMALL_HEADS[family])
    config.backbone_config.layerscale_value = 0.3
    model = getattr(transformers, HEAD_FAMILIES[family].model)(config)
    [backbone] = [module for module in model.modules() if isinstance(module, ZenBackbone)]
    layer: Any = backbone.layers[0]
    assert torch.equal(layer.layer_scale1.scale, torch.full((32,), 0.3))
    assert layer.mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("family", HEAD_FAMILIES)
def test_the_processor_makes_what_the_trunk_knows(family: str, trunk_folder: Path) -> None:
    """Size, scale and mean as the ZEN processor has them, whatever the family's defaults."""
    gray = Image.fromarray(np.full((70, 130, 3), 102, dtype=np.uint8))  # 0.4, 0.4, 0.4
    processor = head_processor(family, trunk_folder)
    inputs = processor(images=[gray], return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)
    # The folder's mean is 0.4, 0.3, 0.2; the standard deviations are those of ImageNet.
    expected = torch.tensor([0.0, 0.1 / 0.224, 0.2 / 0.225])
    torch.testing.assert_close(inputs["pixel_values"].mean((0, 2, 3)), expected, atol=1e-3, rtol=0)
    assert type(processor).__name__ == HEAD_FAMILIES[family].processor
    width = 16 * 5 * HEAD_FAMILIES[family].size_multiple
    wide = head_processor(family, trunk_folder, size=(64, width))
    assert wide(images=[gray], return_tensors="pt")["pixel_values"].shape == (1, 3, 64, width)


def test_processors_refuse_sizes_off_the_grid(trunk_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^DetrForObjectDetection on .* multiples of 16, not 100 x 100$"):
        head_processor("detr", trunk_folder, size=100)
    with pytest.raises(ValueError, match=r"^RTDetrV2ForObjectDetection on .* multiples of 32, not 64 x 80$"):
        head_processor("rt_detr_v2", trunk_folder, size=(64, 80))
    with pytest.raises(ValueError, match=r"multiples of 16, not -16 x -16$"):
        head_processor("detr", trunk_folder, size=-16)
    with pytest.raises(ValueError, match=r"multiples of 16, not 32 x 32 x 3$"):
        head_processor("detr", trunk_folder, size=(32, 32, 3))  # type: ignore[arg-type]


def test_processors_know_their_settings(trunk_folder: Path, tmp_path: Path) -> None:
    for family, known in HEAD_FAMILIES.items():
        with pytest.raises(
            ValueError, match=rf"^{known.processor} has no setting 'do_nomalize' \(did you mean 'do_normal"
        ):
            head_processor(family, trunk_folder, do_nomalize=False)
    ZenModel.from_pretrained(trunk_folder).save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"^no ZenImageProcessor in {tmp_path}: "):
        head_processor("detr", tmp_path)


def test_stages_are_spread_over_the_depth(trunk_folder: Path) -> None:
    assert head_config("dpt", trunk_folder).backbone_config.out_indices == [1, 2, 3, 4]
    deeper = zen_backbone_config(trunk_folder, num_stages=4, num_hidden_layers=12)
    assert deeper.out_indices == [3, 6, 9, 12]
    assert head_config("mask2former", trunk_folder).backbone_config.out_indices == [4]


def test_fields_agree_with_the_trunk(trunk_folder: Path) -> None:
    config: Any = head_config("rt_detr_v2", trunk_folder, encoder_hidden_dim=64, num_labels=5)
    assert config.encoder_in_channels == [32, 32, 32]
    assert config.decoder_in_channels == [64, 64, 64]
    assert config.feat_strides == [8, 16, 32]
    assert config.num_labels == 5
    config = head_config("depth_anything", trunk_folder)
    assert (config.patch_size, config.reassemble_hidden_size, config.max_depth) == (16, 32, 300)
    config = head_config("zoedepth", trunk_folder)
    assert config.bin_configurations == [{"n_bins": 64, "min_depth": 1.0, "max_depth": 300.0}]
    with torch.no_grad():
        predicted = build("zoedepth", trunk_folder).eval()(FRAMES).predicted_depth
    assert predicted.min() > 1  # a fresh head starts within its bounds
    assert predicted.max() < 300
    own = zen_backbone_config(trunk_folder, "map", num_stages=4, drop_path_rate=0.2)
    assert head_config("upernet", trunk_folder, backbone_config=own).backbone_config.drop_path_rate == 0.2


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        (
            "mask2fomer",
            {},
            r"unknown family of heads 'mask2fomer' \(did you mean 'mask2former'\?\); there are conditio",
        ),
        ("rf_detr", {}, r"unknown family of heads 'rf_detr'"),
        ("detr", {"num_querys": 5}, r"DetrConfig has no field 'num_querys' \(did you mean 'num_queries'\?\)$"),
        (
            "zoedepth",
            {"backbone_config": {"patch_size": 16}},
            r"^backbone_config must be a ZenConfig, .* not \{'patch_s",
        ),
        ("detr", {"use_timm_backbone": True}, r"DetrConfig has no field 'use_timm_backbone'"),
        ("d_fine", {"decoder_layers": 1}, r"DFineConfig needs decoder_layers >= 2, not 1$"),
    ],
)
def test_mistakes_are_named(family: str, fields: dict[str, Any], message: str, trunk_folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        head_config(family, trunk_folder, **fields)


@pytest.mark.parametrize("family", [name for name in HEAD_FAMILIES if HEAD_FAMILIES[name].decoder_layers > 1])
def test_why_decoders_have_two_layers(family: str, trunk_folder: Path) -> None:
    """When transformers learns to tie the weights of a single layer, the limit in the table can go."""
    config = head_config(family, trunk_folder, **SMALL_HEADS[family])
    config.decoder_layers = 1
    with pytest.raises((ValueError, AttributeError)):
        getattr(transformers, HEAD_FAMILIES[family].model)(config)


def test_dpt_segments_without_us(trunk_folder: Path) -> None:
    """It builds a vision transformer of its own; when it learns to read `backbone_config`, it joins the table."""
    trunk = zen_backbone_config(trunk_folder, "tokens", num_stages=4)
    small: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 64}
    model = DPTForSemanticSegmentation(DPTConfig(backbone_config=trunk, **SMALL_HEADS["dpt"], **small))
    with pytest.raises(ValueError, match=r"^DPTForSemanticSegmentation holds no ZenBackbone"):
        load_trunk(model, trunk_folder)


def test_a_fresh_dpt_can_be_dead(trunk_folder: Path) -> None:
    """Why there is `start_depth`: where the last convolution is negative, nothing comes back from its ReLU."""
    model: Any = DPTForDepthEstimation(head_config("dpt", trunk_folder, **SMALL_HEADS["dpt"]))
    nn.init.constant_(model.head.head[-2].weight, -1.0)
    assert model(FRAMES).predicted_depth.max() == 0
    start_depth(model, 60.0)
    assert model(FRAMES).predicted_depth.max() > 0
    with pytest.raises(ValueError, match=r"depth must be positive, not 0$"):
        start_depth(model, 0)
    with pytest.raises(ValueError, match=r"start_depth is for DPTForDepthEstimation; Linear does not end in a ReLU"):
        start_depth(nn.Linear(1, 1), 60.0)


def test_other_patch_sizes(tmp_path: Path) -> None:
    """Patches of 14, as converted DINOv2 has: heads that assume 16 or 14 are told."""
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    ZenModel(ZenConfig(**sizes, patch_size=14, image_size=56)).save_pretrained(tmp_path)
    frames = torch.randn(1, 3, 56, 84)
    config: Any = head_config("d_fine", tmp_path)
    assert config.feat_strides == [7, 14, 28]
    for family in ("depth_anything", "zoedepth", "dpt", "mask2former", "upernet"):
        with torch.no_grad():
            outputs = build(family, tmp_path).eval()(frames)
        if "predicted_depth" in outputs:
            assert outputs.predicted_depth.shape[-2:] in ((56, 84), (64, 96))  # DPT answers 16 pixels per patch
