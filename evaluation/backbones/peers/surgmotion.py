"""SurgMotion: V-JEPA 2, ViT-L/16 and ViT-g/16, trained on surgical videos (CAIR-HKISI/SurgMotion).

File: {"encoder": weights below `module.backbone.` in the names of V-JEPA 2, and more}; the encoder is what its own
configurations take. It fits the V-JEPA 2 of transformers once queries, keys and values are apart. The number of heads
is not in the file: it is that of its model definitions for these sizes, and other sizes are refused. A frame is a
clip that fills one tubelet. The repository on the Hub is gated. Not checked against the released files.
"""

from typing import Any

from torch import Tensor
from transformers import VJEPA2Config

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers.peer import Peer, register
from evaluation.backbones.peers.preprocessings import imagenet
from evaluation.backbones.peers.weights import encoder_tensors, fill
from evaluation.backbones.teacher import TeacherNetwork
from modeling_zen.conversion.checkpoint import Checkpoint
from modeling_zen.conversion.mapping import count_layers
from training.teachers.checkpoint import fresh_model
from training.teachers.spec_inference import video_spec

# (width, layers) -> heads: vit_large and vit_giant_xformers of src/models/vision_transformer.py, which its
# configurations name. Its vit_giant is as wide with 16 heads, and would load as well and compute garbage.
_HEADS = {(1024, 24): 16, (1408, 40): 22}
_PARTS = ("query", "key", "value")
_NAMES = (
    (r"^patch_embed\.", "encoder.embeddings.patch_embeddings."),
    (r"^blocks\.(\d+)\.attn\.", r"encoder.layer.\1.attention."),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
    (r"^norm\.", "encoder.layernorm."),
)


def _peer(name: str, architecture: str, file: str) -> Peer:
    return Peer(
        name=name,
        architecture=f"{architecture}, V-JEPA 2",
        paper="SurgMotion (arXiv:2602.05638)",
        source=f"CAIR-HKISI/SurgMotion/{file}",
        on_hub=True,
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0 (gated)",
        preprocessing=imagenet(256, "bilinear"),
        preprocessing_source="evals/foundation_phase_probing of its repository",
        pretrained_on="SurgMotion-15M of 50 sources, public datasets among them, which its repository does not list",
        unverified="keys of the file, from its model definition and from users of it",
    )


@register(
    _peer("surgmotion_l", "ViT-L/16", "SurgMotion-vitl.pt"),
    _peer("surgmotion_g", "ViT-g/16", "SurgMotion-vitg-xformer.pt"),
)
def build_surgmotion(peer: Peer, checkpoint: Checkpoint) -> FrameNetwork:
    """Summary is the mean of the tokens, which are after the final norm."""
    tensors = encoder_tensors(checkpoint, "patch_embed.proj.weight", branch="encoder")
    config = _config(tensors, checkpoint.name)
    model: Any = fresh_model(config)
    fill(model, _apart(tensors), _NAMES, (), checkpoint.name)
    spec = video_spec(peer.name, peer.source, config, peer.weights_licence, peer.source)
    return TeacherNetwork(spec, model, peer.preprocessing, (config.hidden_size, config.hidden_size))


def _config(tensors: dict[str, Tensor], source: str) -> Any:
    """Sizes from the shapes of a file.

    Raises:
        ValueError: a key is missing, or the size has no known number of heads.
    """
    if "blocks.0.mlp.fc1.weight" not in tensors:
        raise ValueError(f"{source} holds no blocks.0.mlp.fc1.weight, which every V-JEPA 2 has")
    patches = tensors["patch_embed.proj.weight"]
    if patches.ndim != 5:
        raise ValueError(f"patch_embed.proj.weight of {source} is {tuple(patches.shape)}, which cuts no tubelets")
    width, _, tubelet, patch, _ = patches.shape
    layers = count_layers(tensors, r"blocks\.(\d+)\.")
    if (width, layers) not in _HEADS:
        known = ", ".join(f"{wide} wide with {deep} layers" for wide, deep in _HEADS)
        raise ValueError(
            f"{source} is {width} wide with {layers} layers, for which no number of attention heads is published; "
            f"known are {known}"
        )
    return VJEPA2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=_HEADS[width, layers],
        mlp_ratio=tensors["blocks.0.mlp.fc1.weight"].shape[0] / width,
        patch_size=patch,
        tubelet_size=tubelet,
        crop_size=256,
    )


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values, which the file keeps in one tensor, in three."""
    result: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if ".attn.qkv." not in key:
            result[key] = tensor
            continue
        for part, values in zip(_PARTS, tensor.chunk(3), strict=True):
            result[key.replace(".qkv.", f".{part}.")] = values
    return result
