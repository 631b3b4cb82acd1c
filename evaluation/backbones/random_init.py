"""The floor of every network: its architecture and preprocessing with random weights."""

import torch

from evaluation.backbones.backbone import Identity, NetworkBackbone, sha256_of_weights


def random_init(backbone: NetworkBackbone, seed: int, device: torch.device) -> NetworkBackbone:
    """`backbone` with weights drawn afresh from `seed` by its own initialization; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = backbone.network.fresh()
    weights = sha256_of_weights(network.model.state_dict())
    identity = Identity("random_init", None, weights, backbone.identity.preprocessing_sha256)
    return NetworkBackbone("random init", "random_init", network, identity, device)
