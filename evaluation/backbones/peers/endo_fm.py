"""Endo-FM: TimeSformer, ViT-B/16 with divided attention in space and time, on endoscopic videos (med-air/Endo-FM).

File: {"student", "teacher", ...} of SVT, each with its head; the teacher is what its own code takes. It fits the
TimeSformer of transformers. A frame is a clip of one frame: of the eight embeddings of time it sees the first, as the
original's nearest interpolation to one frame does. Not checked against the released file.
"""

from typing import Any

from torch import Tensor
from transformers import TimesformerConfig, TimesformerModel

from evaluation.backbones.backbone import FrameNetwork, Tokens
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.preprocessings import imagenet
from evaluation.backbones.peers.weights import TRAINING_HEAD, encoder_tensors, fill
from modeling_zen.conversion.checkpoint import Checkpoint
from modeling_zen.conversion.mapping import count_layers
from modeling_zen.conversion.sizes import resolve_heads
from training.teachers.preprocessing import Preprocessing

_PEER = Peer(
    name="endo_fm",
    architecture="TimeSformer ViT-B/16, SVT",
    paper="Wang et al., Endo-FM, MICCAI 2023 (arXiv:2306.16741)",
    source="https://github.com/med-air/Endo-FM",
    on_hub=False,
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0",
    preprocessing=imagenet(224),
    preprocessing_source="pretraining in datasets/transform.py of its repository; its fine-tuning has 0.45 and 0.225",
    pretrained_on="endoscopy of the gut; Hyper-Kvasir and CholecTriplet (videos of Cholec80) among it",
    unverified="keys of the file, from its model definition and from users of it",
)
_NAMES = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^time_embed$", "embeddings.time_embeddings"),
    *(
        (rf"^blocks\.(\d+)\.{old}\.", rf"encoder.layer.\1.{new}.")
        for old, new in (
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            (r"attn\.qkv", "attention.attention.qkv"),
            (r"attn\.proj", "attention.output.dense"),
            ("temporal_norm1", "temporal_layernorm"),
            (r"temporal_attn\.qkv", "temporal_attention.attention.qkv"),
            (r"temporal_attn\.proj", "temporal_attention.output.dense"),
            ("temporal_fc", "temporal_dense"),
            (r"mlp\.fc1", "intermediate.dense"),
            (r"mlp\.fc2", "output.dense"),
        )
    ),
    (r"^norm\.", "layernorm."),
)


class TimesformerNetwork(FrameNetwork):
    """A TimeSformer for clips of one frame: class token and patch tokens after the final norm."""

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model: Any = model
        self.preprocessing = preprocessing
        self.widths = (int(model.config.hidden_size), int(model.config.hidden_size))

    def forward(self, pixels: Tensor) -> Tokens:
        """Tokens of frames; the arguments are those of `FrameNetwork`."""
        assert self.preprocessing.size is not None  # every peer has an input size
        height, width = self.preprocessing.size
        shown = self.preprocessing.normalize(self.preprocessing.resize(pixels, (height, width)))
        hidden = self.model(pixel_values=shown[:, None]).last_hidden_state  # (B, 3, H, W) -> (B, 1, 3, H, W)
        patch = int(self.model.config.patch_size)
        grid = (height // patch, width // patch)
        return Tokens(hidden[:, 0], hidden[:, 1:].transpose(1, 2).unflatten(2, grid))  # (B, h*w, D) -> (B, D, h, w)

    def fresh(self) -> "TimesformerNetwork":
        """The architecture of the model's configuration with random weights."""
        return TimesformerNetwork(TimesformerModel(self.model.config), self.preprocessing)


@register(_PEER)
def build_endo_fm(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the class token, both after the final norm."""
    tensors = dict(encoder_tensors(checkpoint, "time_embed"))
    if tensors["time_embed"].ndim == 3:
        tensors["time_embed"] = tensors["time_embed"][:, :1]
    model = TimesformerModel(_config(tensors, checkpoint.name))
    fill(model, tensors, _NAMES, (TRAINING_HEAD,), checkpoint.name)
    return TimesformerNetwork(model, peer.preprocessing)


def _config(tensors: dict[str, Tensor], source: str) -> TimesformerConfig:
    """Sizes from the shapes of a file; the number of heads, which it does not hold, as published for that size."""
    for key in ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight"):
        if key not in tensors:
            raise ValueError(f"{source} holds no {key}, which every TimeSformer has")
    width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    layers = count_layers(tensors, r"blocks\.(\d+)\.")
    return TimesformerConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=resolve_heads(width, layers, None, source),
        intermediate_size=tensors["blocks.0.mlp.fc1.weight"].shape[0],
        patch_size=patch,
        image_size=patch * round((tensors["pos_embed"].shape[1] - 1) ** 0.5),
        num_frames=1,
    )
