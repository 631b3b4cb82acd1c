"""SurgVLP, HecVL and PeskaVLP: the image towers, ResNet-50, of surgical vision-language models (CAMMA-public/SurgVLP).

File: bare weights, the image tower below `backbone_img.model.` in the names of torchvision, its projection to the
space of texts, and the text tower. Their own preprocessing resizes to 360 x 640 pixels and cuts 224 x 224 out of the
middle, which would hide most of the frame; here the whole frame is resized to 224 x 224. Not checked against the
released files.
"""

from typing import Any

import timm

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.networks import TimmNetwork
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.preprocessings import imagenet
from evaluation.backbones.peers.weights import encoder_tensors, fill
from modeling_zen.conversion.checkpoint import Checkpoint
from modeling_zen.conversion.mapping import Ignorable

_LEFT_OUT = (
    Ignorable(r"(.*\.)?global_embedder\..*", "projection to the space of texts"),
    Ignorable(r"(.*\.)?backbone_text\..*", "text tower"),
)


def _peer(name: str, paper: str, share: str) -> Peer:
    return Peer(
        name=name,
        architecture="ResNet-50, image and text",
        paper=paper,
        source=f"https://seafile.unistra.fr/f/{share}/?dl=1",
        on_hub=False,
        code_licence="CC BY-NC-SA 4.0",
        weights_licence="CC BY-NC-SA 4.0",
        preprocessing=imagenet(224, "bilinear"),
        preprocessing_source="surgvlp/surgvlp.py of its repository; the whole frame instead of its middle",
        pretrained_on="SVL: surgical lectures",
        unverified="keys of the file, from its model definition",
    )


def new_resnet() -> Any:
    """ResNet-50 without a classifier."""
    return timm.create_model("resnet50", num_classes=0)


@register(
    _peer("surgvlp", "Yuan et al., SurgVLP, Medical Image Analysis 2025 (arXiv:2307.15220)", "93757ace1bfc47248e1e"),
    _peer("hecvl", "Yuan et al., HecVL, MICCAI 2024 (arXiv:2405.10075)", "3b9b9207068a4b03bc2a"),
    _peer("peskavlp", "Yuan et al., PeskaVLP, NeurIPS 2024 (arXiv:2410.00263)", "65a2b1bf113e428280d0"),
)
def build_surgvlp(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the mean of the last map, before the projection; dense is that map."""
    tensors = encoder_tensors(checkpoint, "layer1.0.conv1.weight")
    model = new_resnet()
    fill(model, tensors, (), _LEFT_OUT, checkpoint.name)
    return TimmNetwork(model, peer.preprocessing, new_resnet)
