"""EndoViT: ViT-B/16 pretrained as a masked autoencoder on Endo700k (DominikBatic/EndoViT).

File: {"model": weights in the names of timm, with the decoder of MAE, and the settings of the run}. The settings are an
`argparse.Namespace`, the one class that is read from it. Not checked against the released file.
"""

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.networks import converted
from evaluation.backbones.peers.peer import Peer, register
from modeling_zen.conversion.checkpoint import Checkpoint
from modeling_zen.conversion.timm_vit import ENDOVIT
from training.teachers.preprocessing import Preprocessing

_PEER = Peer(
    name="endovit",
    architecture="ViT-B/16, MAE",
    paper="Batić et al., EndoViT, IJCARS 2024 (arXiv:2303.17636)",
    source="egeozsoy/EndoViT/pytorch_model.bin",
    on_hub=True,
    code_licence="none stated",
    weights_licence="Apache-2.0",
    preprocessing=Preprocessing(
        mean=ENDOVIT.mean,
        std=ENDOVIT.std,
        scale=1.0,
        channel_order="rgb",
        interpolation="bilinear",
        size=(ENDOVIT.size, ENDOVIT.size),
    ),
    preprocessing_source="endovit_demo.py of its repository",
    pretrained_on="Endo700k; PSI-AVA, LapGyn4 and Cholec80 (without the test videos of one of three tasks) among it",
    unverified="keys of the file, from its training code and its demo",
)


@register(_PEER)
def build_endovit(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the class token, both after the final norm, as `forward_features` of its demo gives them."""
    return converted(peer, checkpoint, "endovit")
