"""Peers: published surgical and endoscopic models, each with its own preprocessing, loaded strictly.

One file each; a new one is a file with a builder under `register`, a line below and a test.
"""

from evaluation.backbones.peers import (  # noqa: F401 - each fills the registry
    endo_fm,
    endovit,
    gsvit,
    lemonfm,
    pl_stitch,
    surgenet,
    surgenet_dino,
    surgmotion,
    surgvlp,
)
from evaluation.backbones.peers.peer import PEERS, Peer, load_peer

__all__ = ["PEERS", "Peer", "load_peer"]
