"""LemonFM: ConvNeXt-L distilled from itself on LEMON (visurg-ai/LEMON).

File: {"student", "teacher", ...} of DINO, the teacher's backbone in the names of torchvision's ConvNeXt without its
last layer; the teacher is what its own code takes. Not checked against the released file. The snippet of its README
feeds bytes without normalizing; training and fine-tuning normalize by ImageNet, as here. Its training reads frames by
OpenCV from a database whose channel order the repository does not tell; RGB is assumed.
"""

from typing import Any

import timm

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.networks import TimmNetwork
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.preprocessings import imagenet
from evaluation.backbones.peers.weights import TRAINING_HEAD, encoder_tensors, fill
from modeling_zen.conversion.checkpoint import Checkpoint

_PEER = Peer(
    name="lemonfm",
    architecture="ConvNeXt-L, DINO with neighbors",
    paper="Che et al., LEMON, CVPR 2026 (arXiv:2503.19740)",
    source="visurg/LemonFM/lemonfm.pth",
    on_hub=True,
    code_licence="none stated",
    weights_licence="not certain: an older model card said Apache-2.0",
    preprocessing=imagenet(224),
    preprocessing_source="lemonfm/lemonfm.py and downstream/load_lmdb.py of its repository",
    pretrained_on="LEMON: 938 hours of surgery from YouTube",
    unverified="keys of the file, from its training code; order of channels in pretraining",
)
# torchvision's numbers of modules -> timm's names. Odd entries of `features` are stages, even ones go down in size.
_NAMES = (
    *((rf"^features\.0\.{part}\.", f"stem.{part}.") for part in (0, 1)),
    *((rf"^features\.{2 * stage}\.", f"stages.{stage}.downsample.") for stage in (1, 2, 3)),
    *(
        (rf"^features\.{2 * stage + 1}\.(\d+)\.{old}", rf"stages.{stage}.blocks.\1.{new}")
        for stage in range(4)
        for old, new in (
            (r"block\.0\.", "conv_dw."),
            (r"block\.2\.", "norm."),
            (r"block\.3\.", "mlp.fc1."),
            (r"block\.5\.", "mlp.fc2."),
            ("layer_scale", "gamma"),
        )
    ),
    (r"^classifier\.0\.", "head.norm."),
)


def new_lemonfm() -> Any:
    """ConvNeXt-L without a classifier."""
    return timm.create_model("convnext_large", num_classes=0)


@register(_PEER)
def build_lemonfm(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the normalized mean of the last map, as its own code takes it; dense is that map."""
    tensors = encoder_tensors(checkpoint, "features.0.0.weight")
    # torchvision scales maps (C, 1, 1), timm channels (C,)
    flat = {key: tensor.flatten() if key.endswith(".layer_scale") else tensor for key, tensor in tensors.items()}
    model = new_lemonfm()
    fill(model, flat, _NAMES, (TRAINING_HEAD,), checkpoint.name)
    return TimmNetwork(model, peer.preprocessing, new_lemonfm)
