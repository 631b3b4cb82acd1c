"""PL-Stitch: ViT-B/16 of iBOT trained on to order frames in time (visurg-ai/PL-Stitch).

File: {"student", "teacher", ...} in the names of iBOT, each with its head; the teacher is what its own code takes. Not
checked against the released file. Its training reads frames by OpenCV from a database whose channel order the
repository does not tell; its script for raw videos is RGB, as here.
"""

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.networks import converted
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.preprocessings import imagenet
from modeling_zen.conversion.checkpoint import Checkpoint

_PEER = Peer(
    name="pl_stitch",
    architecture="ViT-B/16, iBOT and temporal order",
    paper="Che et al., A Stitch in Time, CVPR 2026 (arXiv:2511.17805)",
    source="visurg/PL-Stitch/pl_lemon.pth",
    on_hub=True,
    code_licence="MIT",
    weights_licence="MIT",
    preprocessing=imagenet(224, "bilinear"),
    preprocessing_source="downstream/load_lmdb_autolaparo.py and pl_stitch/main_pl_video.py of its repository",
    pretrained_on="LEMON: 938 hours of surgery from YouTube",
    unverified="keys of the file, from its training code; order of channels in pretraining",
)


@register(_PEER)
def build_pl_stitch(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the class token, both after the final norm."""
    return converted(peer, checkpoint, "ibot", branch="teacher" if "teacher" in checkpoint.content else None)
