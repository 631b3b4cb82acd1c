"""C-RADIO (arXiv:2412.07679, arXiv:2601.17237), the RADIO of transformers.

C-RADIO stands under the NVIDIA Open Model License, which allows commercial use; RADIO without the C does not. Both
have the same form: what the model card or the names say decides, and where they say nothing the caller must.

RADIO normalises inside the model; here the processor does. It has no final LayerNorm, several class tokens, of which
`summary_idxs` picks those that make its summary, and positions that are cut out of a square (ZEN's "bilinear_crop").
"""

import re

import torch

from .checkpoint import Checkpoint, Encoder
from .family import Options, Plan, register
from .foreign_config import patch_side, read_config, zen_fields
from .layer import LayerNames, LayerShape, layer_rules
from .mapping import Ignorable, Rule, constant, only_read
from .preprocessing import settings_of_folder

OPEN_LICENCE = "nvidia-open-model-license"
RESEARCH_LICENCE = "nsclv1 (NVIDIA, non-commercial)"

_ROOT = "radio_model.model."
_PATCHES = f"{_ROOT}patch_generator."
_CONDITIONER = "radio_model.input_conditioner."
_VIDEO = Ignorable(re.escape(f"{_PATCHES}video_embedder.weight"), "embeds stacks of video frames; ZEN reads frames")


def _licence(checkpoint: Checkpoint) -> str:
    config = checkpoint.config or {}
    hints = f"{checkpoint.name} {config.get('_name_or_path', '')} {config.get('version', '')}".lower()
    others = re.sub(r"(^|[^a-z])c-?radio", r"\1", hints)
    if "radio" in others:  # also beside a C-RADIO: which of the two it is, is then for the caller to say
        return RESEARCH_LICENCE
    if others != hints:
        return OPEN_LICENCE
    raise ValueError(
        f"nothing in {checkpoint.name} tells whether it is C-RADIO ({OPEN_LICENCE}) or RADIO (non-commercial): give "
        "licence"
    )


@register(
    "radio",
    "C-RADIO, folder of transformers",
    marker="radio_model.summary_idxs",
    model_type="radio",
    licence=_licence,
)
def plan_radio(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`RadioModel`; summary tokens first, in the order of `summary_idxs`, then the other class tokens and registers."""
    config = read_config(checkpoint, options)
    width, patch, tensors = config.hidden_size, patch_side(config, checkpoint.name), encoder.tensors
    summary, side = list(config.summary_idxs), config.max_img_size // patch
    if len(set(summary)) != len(summary) or not all(0 <= index < config.num_cls_tokens for index in summary):
        raise ValueError(
            f"config.json of {checkpoint.name} has summary_idxs {summary}, which are not different ones of its "
            f"{config.num_cls_tokens} class tokens"
        )
    stored = tensors["radio_model.summary_idxs"]
    if stored.tolist() != summary:
        raise ValueError(
            f"summary_idxs of {checkpoint.name} are {stored.tolist()} in its weights, {summary} in its config"
        )
    inner = int(width * config.mlp_ratio)
    if config.use_swiglu_ffn:
        inner = (int(inner * 2 / 3) + 7) // 8 * 8
    num_prefix = config.num_cls_tokens + config.num_registers
    rules = [only_read("radio_model.summary_idxs", (len(summary),))]
    rules += [only_read(f"{_CONDITIONER}{part}", (config.num_channels, 1, 1)) for part in ("norm_mean", "norm_std")]
    rules += _embedding_rules(summary, num_prefix, side, width, config.num_channels, patch)
    has_scales = f"{_ROOT}blocks.0.layer_scale1.lambda1" in tensors
    names = LayerNames(
        norm1="norm1",
        norm2="norm2",
        qkv="attn.qkv",
        output="attn.proj",
        gate="mlp.gate_proj" if config.use_swiglu_ffn else "",
        up="mlp.up_proj" if config.use_swiglu_ffn else "mlp.fc1",
        down="mlp.down_proj" if config.use_swiglu_ffn else "mlp.fc2",
        scale1="layer_scale1.lambda1" if has_scales else "",
        scale2="layer_scale2.lambda1" if has_scales else "",
    )
    shape = LayerShape(width, inner, (config.qkv_bias,) * 3)
    for index in range(config.num_hidden_layers):
        rules += layer_rules(f"{_ROOT}blocks.{index}.", index, names, shape)
    zen = {
        **zen_fields(config, checkpoint.name),
        "intermediate_size": inner,
        "mlp": "swiglu" if config.use_swiglu_ffn else "gelu",
        "hidden_act": None if config.use_swiglu_ffn else config.hidden_act,
        "image_size": side * patch,
        "num_summary_tokens": len(summary),
        "num_register_tokens": num_prefix - len(summary),
        "layerscale_value": 1.0,
        "qkv_bias": config.qkv_bias,
        "position_embedding": "learned",
        "position_resize": "bilinear_crop",
        "final_layer_norm": False,
    }
    notes = ["the summary of the source is its summary tokens side by side; pooler_output is their mean"]
    return Plan(zen, rules, (_VIDEO,), tensors, _preprocessing(checkpoint, tensors), notes)


def _embedding_rules(
    summary: list[int], num_prefix: int, side: int, width: int, channels: int, patch: int
) -> list[Rule]:
    order = summary + [index for index in range(num_prefix) if index not in summary]
    targets = ("embeddings.summary_tokens", "embeddings.register_tokens")[: 1 + (num_prefix > len(summary))]

    def tokens(stored: torch.Tensor) -> list[torch.Tensor]:
        ordered = stored[order].unsqueeze(0)
        return [ordered[:, : len(summary)], ordered[:, len(summary) :]][: len(targets)]

    return [
        Rule(((f"{_PATCHES}cls_token.token", (num_prefix, width)),), targets, tokens),
        Rule(
            ((f"{_PATCHES}embedder.weight", (width, channels * patch**2)),),
            ("embeddings.patch_embeddings.weight",),
            lambda weight: (weight.view(width, channels, patch, patch),),
        ),
        constant("embeddings.patch_embeddings.bias", (width,), 0.0, "zeros: the source has no such bias"),
        Rule(
            ((f"{_PATCHES}pos_embed", (1, side * side, width)),),
            ("embeddings.position_embeddings",),
            # (1, rows * columns, width) -> (1, width, rows, columns)
            lambda positions: (positions.transpose(1, 2).unflatten(2, (side, side)),),
        ),
    ]


def _preprocessing(checkpoint: Checkpoint, tensors: dict[str, torch.Tensor]) -> dict[str, object]:
    """Of the processor of the source, if there is one, with the normalisation that the model had inside."""
    parts = [f"{_CONDITIONER}norm_mean", f"{_CONDITIONER}norm_std"]
    absent = [part for part in parts if part not in tensors]
    if absent:
        raise ValueError(f"{checkpoint.name} lacks {', '.join(absent)}, which tell how images are normalised")
    settings = (settings_of_folder(checkpoint.folder, checkpoint.name) if checkpoint.folder else None) or {}
    if settings.get("do_normalize"):
        raise ValueError(f"the processor of {checkpoint.name} normalises images and its model does so again")
    mean, std = (tensors[part].flatten().tolist() for part in parts)
    return {**settings, "do_normalize": True, "image_mean": mean, "image_std": std}
