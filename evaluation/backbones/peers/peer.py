"""What a peer is, the registry of all of them, and how one becomes a backbone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from evaluation.backbones.backbone import (
    FrameNetwork,
    Identity,
    NetworkBackbone,
    Role,
    sha256_of_json,
    sha256_of_weights,
)
from modeling_zen.conversion.checkpoint import Checkpoint, open_checkpoint
from training.errors import UserError
from training.hub_access import HUB_ERRORS, HubSource, hub_refusal
from training.registry import Registry
from training.teachers.preprocessing import Preprocessing


@dataclass(frozen=True)
class Peer:
    """A published model of others that the benchmark measures beside ZEN."""

    name: str  # how the command line calls it
    architecture: str  # for tables
    paper: str  # where it was published
    source: str  # "owner/repository/file" on the Hub, or the address where the file is to be had
    on_hub: bool  # whether `source` is on the Hub, so that the name alone loads it
    code_licence: str  # of its repository
    weights_licence: str  # of the file
    preprocessing: Preprocessing  # its own; `size` is the input that every frame is resized to
    preprocessing_source: str  # who says so
    pretrained_on: str  # which data; a dataset of the benchmark among them makes its scores there optimistic
    unverified: str  # what could not be checked against the released file; empty: nothing

    @property
    def repo(self) -> str:
        """The Hub id in `source`, for a peer that is `on_hub`."""
        return "/".join(self.source.split("/")[:2])


Build = Callable[[Peer, Checkpoint], FrameNetwork]

PEERS: Registry[Peer] = Registry("peer")
_BUILDERS: dict[str, Build] = {}


def register(*peers: Peer) -> Callable[[Build], Build]:
    """Decorator that files `peers` as what the decorated function builds from their files."""

    def add(build: Build) -> Build:
        for peer in peers:
            PEERS.register(peer.name)(peer)
            _BUILDERS[peer.name] = build
        return build

    return add


def load_peer(
    name: str, file: str | None, device: torch.device, role: Role = "peer", revision: str | None = None
) -> NetworkBackbone:
    """A peer as a backbone.

    Args:
        name: of the registry.
        file: its weights on this machine; `None` takes them from the Hub or its cache.
        device: where to compute.
        role: in result records.
        revision: commit, tag or branch of its repository on the Hub; `None` is the newest.

    Raises:
        UserError: no such peer, one whose file is not on the Hub, a file that is missing or damaged, or one that does
            not hold exactly the weights of the peer.
    """
    peer = PEERS.get(name)
    if file is None and not peer.on_hub:
        raise UserError(
            f"the weights of peer {name!r} are not on the Hub; get the file from {peer.source} and name it as "
            f"{name}=/path/to/file"
        )
    with _one_sentence(peer, revision):
        checkpoint = open_checkpoint(file or peer.source, revision)
        network = _BUILDERS[name](peer, checkpoint)
    identity = Identity(
        id=checkpoint.name,
        revision=checkpoint.revision,
        weights_sha256=sha256_of_weights(network.model.state_dict()),
        preprocessing_sha256=sha256_of_json(asdict(peer.preprocessing)),
    )
    return NetworkBackbone(name, role, network, identity, device)


@contextmanager
def _one_sentence(peer: Peer, revision: str | None) -> Iterator[None]:
    """What the readers of checkpoints raise, as an error of the user that says which peer it was."""
    try:
        yield
    except (ValueError, *HUB_ERRORS) as error:
        file = peer.source.removeprefix(f"{peer.repo}/")
        pin = f" --revision {revision}" if revision else ""
        fetch = (
            f"run `hf download {peer.repo} {file}{pin}` where there is a network and bring that cache (HF_HOME) along"
        )
        source = HubSource(peer.repo, revision, f"{fetch}, or name the file as {peer.name}=/path/to/file")
        if peer.on_hub and (refusal := hub_refusal(source, error)):
            raise UserError(f"peer {peer.name!r}: {refusal}") from None
        raise UserError(f"peer {peer.name!r}: {error}") from error
