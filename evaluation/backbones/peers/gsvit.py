"""GSViT: EfficientViT-M5 trained to predict the next frame of surgical videos (SamuelSchmidgall/GSViT).

File: bare weights, the encoder below `evit.` as a sequence of patch embedding and three stages in the names of
Microsoft's EfficientViT, and a `decoder.` beside it. Frames are BGR in [0, 1] without mean and std: its loader takes
OpenCV's frames, and its loading script swaps the channels of RGB. Not checked against the released file.
"""

from typing import Any

import timm

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.networks import TimmNetwork
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.weights import encoder_tensors, fill
from modeling_zen.conversion.checkpoint import Checkpoint
from modeling_zen.conversion.mapping import Ignorable
from training.teachers.preprocessing import Preprocessing

_PEER = Peer(
    name="gsvit",
    architecture="EfficientViT-M5, next frame",
    paper="Schmidgall et al., General surgery vision transformer (arXiv:2403.05949)",
    source="https://github.com/SamuelSchmidgall/GSViT",
    on_hub=False,
    code_licence="none stated",
    weights_licence="none stated",
    preprocessing=Preprocessing(
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        scale=1.0,
        channel_order="bgr",
        interpolation="bilinear",
        size=(224, 224),
    ),
    preprocessing_source="dataloader_surgical.py and load_gsvit.py of its repository",
    pretrained_on="680 hours of surgery from YouTube",
    unverified="keys of the file, from its model definition and from users of it; the scale of pixels",
)
_LEFT_OUT = (
    Ignorable(r"(.*\.)?decoder\..*", "predicts the next frame in pretraining only"),
    Ignorable(r".*\.attention_bias_idxs", "follows from the size of a window"),
)
# Stages 2 and 3 begin with two residual blocks, the merging of patches and two residual blocks again.
_NAMES = (
    *((rf"^0\.{2 * index}\.", f"patch_embed.conv{index + 1}.") for index in range(4)),
    (r"^1\.", "stages.0.blocks."),
    *(
        (rf"^{stage + 1}\.{place}\.", f"stages.{stage}.downsample.{part}.")
        for stage in (1, 2)
        for place, part in enumerate(("res1", "patchmerge", "res2"))
    ),
    *(
        (rf"^{stage + 1}\.{place + 3}\.", f"stages.{stage}.blocks.{place}.")
        for stage, depth in ((1, 3), (2, 4))
        for place in range(depth)
    ),
)


def new_gsvit() -> Any:
    """EfficientViT-M5 without a classifier."""
    return timm.create_model("efficientvit_m5", num_classes=0)


@register(_PEER)
def build_gsvit(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the mean of the last map, dense is that map of 4 x 4 cells."""
    tensors = encoder_tensors(checkpoint, "0.0.c.weight")
    # a convolution with its norm is (c, bn) in the original, (conv, bn) in timm
    spelled = {_spelled(key): tensor for key, tensor in tensors.items()}
    model = new_gsvit()
    fill(model, spelled, _NAMES, _LEFT_OUT, checkpoint.name)
    return TimmNetwork(model, peer.preprocessing, new_gsvit)


def _spelled(key: str) -> str:
    return key.removesuffix(".c.weight") + ".conv.weight" if key.endswith(".c.weight") else key
