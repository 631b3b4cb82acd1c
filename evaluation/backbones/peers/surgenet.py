"""SurgeNet: CAFormer-S18, ConvNeXtV2-T and PVTv2-B2 trained on SurgeNet with DINO (TimJaspers0801/SurgeNet).

Each file holds the teacher in the names of the first repository of that architecture, with the head of DINO; "full
checkpoint" files hold student and teacher, of which the teacher is taken. The CAFormer has ReLU where timm's has
StarReLU. Not checked against the released files.
"""

from typing import Any

import timm
from timm.models.metaformer import Attention, LayerNorm2dNoBias, LayerNormNoBias, MetaFormer, SepConv
from torch import nn

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.networks import TimmNetwork
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.preprocessings import imagenet
from evaluation.backbones.peers.weights import TRAINING_HEAD, encoder_tensors, fill
from modeling_zen.conversion.checkpoint import Checkpoint

_SURGENET = (
    "SurgeNet; of the benchmark 76 videos of Cholec80, and HeiChole, PSI-AVA, MultiBypass140 and LapGyn4 among it"
)
SURGENET_XL = f"{_SURGENET}; 2 million frames from YouTube"


def _peer(name: str, architecture: str, file: str, pretrained_on: str = _SURGENET) -> Peer:
    return Peer(
        name=name,
        architecture=f"{architecture}, DINO",
        paper="Jaspers et al., Scaling up self-supervised learning for improved surgical foundation models, "
        "Medical Image Analysis 2026",
        source=f"TimJaspersTue/SurgeNetModels/{file}_checkpoint_epoch0050_teacher.pth",
        on_hub=True,
        code_licence="MIT",
        weights_licence="CC BY-NC-SA 4.0",
        preprocessing=imagenet(224),
        preprocessing_source="the code of DINO, with which it was trained",
        pretrained_on=pretrained_on,
        unverified="keys of the file, from its model definitions; mean, std and size, which it does not state",
    )


_CAFORMER_NAMES = (
    (r"^downsample_layers\.0\.conv\.", "stem.conv."),
    (r"^downsample_layers\.0\.post_norm\.", "stem.norm."),
    (r"^downsample_layers\.(\d)\.conv\.", r"stages.\1.downsample.conv."),
    (r"^downsample_layers\.(\d)\.pre_norm\.", r"stages.\1.downsample.norm."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"^norm\.", "head.norm."),
)


class SepConvReLU(SepConv):
    """timm's separable convolution with ReLU."""

    def __init__(self, dim: int, **settings: Any) -> None:
        super().__init__(dim, act1_layer=nn.ReLU, **settings)


def new_caformer() -> Any:
    """CAFormer-S18 (arXiv:2210.13452, table 1) with ReLU, without a classifier."""
    return MetaFormer(
        num_classes=0,
        depths=(3, 3, 9, 3),
        dims=(64, 128, 320, 512),
        token_mixers=[SepConvReLU, SepConvReLU, Attention, Attention],
        mlp_act=nn.ReLU,
        norm_layers=[LayerNorm2dNoBias, LayerNorm2dNoBias, LayerNormNoBias, LayerNormNoBias],
    )


@register(
    _peer("surgenet_xl", "CAFormer-S18", "SurgeNetXL", SURGENET_XL),
    _peer("surgenet", "CAFormer-S18", "SurgeNet"),
    _peer("surgenet_cholec", "CAFormer-S18", "CHOLEC", "76 videos of Cholec80, HeiChole and hSDB"),
    _peer("surgenet_rarp", "CAFormer-S18", "RARP", "ESAD, PSI-AVA and a private set of prostatectomies"),
    _peer("surgenet_ramie", "CAFormer-S18", "RAMIE", "a private set of esophagectomies"),
)
def build_caformer(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the normalized mean of the last map, as its own code takes it; dense is that map."""
    tensors = encoder_tensors(checkpoint, "downsample_layers.0.conv.weight")
    # Linear layers of the first two stages are convolutions of one pixel in timm.
    as_convolutions = {
        key: tensor[:, :, None, None] if key.startswith(("stages.0.", "stages.1.")) and tensor.ndim == 2 else tensor
        for key, tensor in tensors.items()
    }
    model = new_caformer()
    fill(model, as_convolutions, _CAFORMER_NAMES, (TRAINING_HEAD,), checkpoint.name)
    return TimmNetwork(model, peer.preprocessing, new_caformer)


_CONVNEXT_NAMES = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    *(
        (rf"^stages\.(\d)\.(\d+)\.{old}", rf"stages.\1.blocks.\2.{new}")
        for old, new in (
            (r"dwconv\.", "conv_dw."),
            (r"norm\.", "norm."),
            (r"pwconv1\.", "mlp.fc1."),
            (r"pwconv2\.", "mlp.fc2."),
            (r"grn\.gamma", "mlp.grn.weight"),
            (r"grn\.beta", "mlp.grn.bias"),
        )
    ),
    (r"^norm\.", "head.norm."),
)


def new_convnextv2() -> Any:
    """ConvNeXtV2-T without a classifier."""
    return timm.create_model("convnextv2_tiny", num_classes=0)


@register(_peer("surgenet_convnextv2", "ConvNeXtV2-T", "SurgeNet_ConvNextv2"))
def build_convnextv2(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the normalized mean of the last map, as its own code takes it; dense is that map."""
    tensors = encoder_tensors(checkpoint, "downsample_layers.0.0.weight")
    # the original keeps the scales of GRN as (1, 1, 1, C), timm as (C,)
    flat = {key: tensor.flatten() if ".grn." in key else tensor for key, tensor in tensors.items()}
    model = new_convnextv2()
    fill(model, flat, _CONVNEXT_NAMES, (TRAINING_HEAD,), checkpoint.name)
    return TimmNetwork(model, peer.preprocessing, new_convnextv2)


# The numbers of stages begin at 1 in the original and at 0 in timm; patch embeddings 2 to 4 are timm's downsampling.
_PVT_NAMES = (
    (r"^patch_embed1\.", "patch_embed."),
    *((rf"^patch_embed{stage + 1}\.", f"stages.{stage}.downsample.") for stage in (1, 2, 3)),
    *((rf"^norm{stage + 1}\.", f"stages.{stage}.norm.") for stage in range(4)),
    *(
        (rf"^block{stage + 1}\.(\d+)\.mlp\.dwconv\.dwconv\.", rf"stages.{stage}.blocks.\1.mlp.dwconv.")
        for stage in range(4)
    ),
    *((rf"^block{stage + 1}\.", f"stages.{stage}.blocks.") for stage in range(4)),
)


def new_pvt() -> Any:
    """PVTv2-B2 without a classifier."""
    return timm.create_model("pvt_v2_b2", num_classes=0)


@register(_peer("surgenet_pvtv2", "PVTv2-B2", "SurgeNet_PVTv2"))
def build_pvt(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the mean of the last map, as its own code takes it; dense is that map."""
    model = new_pvt()
    tensors = encoder_tensors(checkpoint, "patch_embed1.proj.weight")
    fill(model, tensors, _PVT_NAMES, (TRAINING_HEAD,), checkpoint.name)
    return TimmNetwork(model, peer.preprocessing, new_pvt)
