"""The two kinds of frame network that most peers are: a model of timm, and a vision transformer converted to ZEN."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from evaluation.backbones.backbone import FrameNetwork, Tokens
from evaluation.backbones.peers.peer import Peer
from evaluation.backbones.zen import ZenNetwork
from modeling_zen.conversion import convert_checkpoint
from modeling_zen.conversion.checkpoint import Checkpoint
from training.teachers.preprocessing import Preprocessing


class TimmNetwork(FrameNetwork):
    """A feature map of timm behind a peer's preprocessing; frames are resized to the peer's input.

    Dense is the last map, summary what timm gives its classifier.
    """

    def __init__(self, model: Any, preprocessing: Preprocessing, new: Callable[[], Any]) -> None:
        """Arguments: the model without a classifier, the preprocessing, and what makes another such model."""
        super().__init__()
        self.model: Any = model
        self.preprocessing = preprocessing
        self.new = new
        self.widths = (int(model.head_hidden_size), int(model.num_features))

    def forward(self, pixels: Tensor) -> Tokens:
        """Tokens of frames; the arguments are those of `FrameNetwork`."""
        assert self.preprocessing.size is not None  # every peer has an input size
        shown = self.preprocessing.normalize(self.preprocessing.resize(pixels, self.preprocessing.size))
        dense = self.model.forward_features(shown)
        return Tokens(self.model.forward_head(dense, pre_logits=True), dense)

    def fresh(self) -> "TimmNetwork":
        """The same architecture as timm initializes it."""
        return TimmNetwork(self.new(), self.preprocessing, self.new)


def converted(peer: Peer, checkpoint: Checkpoint, family: str, branch: str | None = None) -> FrameNetwork:
    """A vision transformer of a `family` of modeling_zen.conversion, which computes what the original computes.

    Licences against commercial use are accepted: the weights are measured, not passed on.

    Raises:
        ValueError: as `convert_checkpoint`.
    """
    conversion = convert_checkpoint(checkpoint, family, branch=branch, accept_noncommercial=True)
    return ZenNetwork(peer.name, conversion.model, peer.preprocessing)
