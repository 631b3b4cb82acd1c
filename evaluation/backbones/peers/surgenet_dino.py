"""SurgeNetDINO: ViT-S/B/L trained on SurgeNetXL with DINO, DINOv2 and DINOv3 (rlpddejong/SurgeNetDINO).

Each file holds the bare teacher in the names of the repository of that DINO. The DINOv3 ones do not fit the DINOv3 of
timm (no registers, a bias on the keys, LayerScale named gamma_1, other rotary periods), though their own loading script
puts them there with strict=False; modeling_zen.conversion.surgenet maps every key. Not checked against the released
files.
"""

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.networks import converted
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.preprocessings import imagenet
from evaluation.backbones.peers.surgenet import SURGENET_XL
from modeling_zen.conversion.checkpoint import Checkpoint

# version of DINO -> (patch, input in pixels, sizes), as in the names of the files
_VERSIONS = {1: (16, 224, "sb"), 2: (14, 336, "sbl"), 3: (16, 336, "sbl")}


def _peer(version: int, size: str) -> Peer:
    patch, pixels, _ = _VERSIONS[version]
    file = f"DINOv{version}_ViT{size}{patch}_size{pixels}_SurgeNetXL.pth"
    return Peer(
        name=f"surgenet_dinov{version}_{size}",
        architecture=f"ViT-{size.upper()}/{patch}, DINOv{version}",
        paper="de Jong et al., Towards Effective Surgical Representation Learning with DINO Models, MIDL 2026",
        source=f"rlpddejong/SurgeNetXL_DINOv1-v3/{file}",
        on_hub=True,
        code_licence="MIT",
        weights_licence="CC BY-NC-SA 4.0",
        preprocessing=imagenet(pixels),
        preprocessing_source="the DINO code that its configurations are for; input size in the name of the file",
        pretrained_on=SURGENET_XL,
        unverified="keys of the file, from its training configurations; mean and std, which it does not state",
    )


@register(*(_peer(version, size) for version, (_, _, sizes) in _VERSIONS.items() for size in sizes))
def build_surgenet_dino(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the class token, both after the final norm."""
    return converted(peer, checkpoint, peer.name.rpartition("_")[0])
