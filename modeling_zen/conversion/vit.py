"""ViT (arXiv:2010.11929), DeiT (arXiv:2012.12877) and MAE (arXiv:2111.06377) in the names of transformers.

Licences differ from one set of weights to the next: the model card says. `ViTModel` pools its class token through a
linear layer and tanh; ZEN gives the class token itself (of DeiT, the mean of class and distillation token).
"""

from .checkpoint import Checkpoint, Encoder
from .dinov2 import MASK_TOKEN
from .family import Options, Plan, register
from .foreign_config import patch_grid, patch_side, read_config, zen_fields
from .layer import LayerNames, LayerShape, layer_rules, norm_rules, patch_rules
from .mapping import Ignorable, renamed
from .positions import learned_position_rules

_NAMES = LayerNames(
    norm1="layernorm_before",
    norm2="layernorm_after",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    output="attention.o_proj",
    up="mlp.fc1",
    down="mlp.fc2",
)
_OLD = r"^encoder\.layer\.(\d+)\."
# Names within transformers 5 <- names in the published files.
_ALIASES = (
    (_OLD + r"attention\.attention\.query\.", r"layers.\1.attention.q_proj."),
    (_OLD + r"attention\.attention\.key\.", r"layers.\1.attention.k_proj."),
    (_OLD + r"attention\.attention\.value\.", r"layers.\1.attention.v_proj."),
    (_OLD + r"attention\.output\.dense\.", r"layers.\1.attention.o_proj."),
    (_OLD + r"intermediate\.dense\.", r"layers.\1.mlp.fc1."),
    (_OLD + r"output\.dense\.", r"layers.\1.mlp.fc2."),
    (_OLD, r"layers.\1."),
)
_POOLER_NOTE = (
    "pooler_output is the mean of the summary tokens; the pooler of the source (linear layer, tanh) is dropped"
)
_IGNORABLES = (
    MASK_TOKEN,
    Ignorable("pooler\\..*", "ZEN pools without weights: pooler_output is the mean of the summary tokens"),
    Ignorable("(cls_|distillation_)?classifier\\..*", "head of another task"),
    Ignorable("decoder\\..*", "predicts masked pixels in pretraining only"),
)


def _plan(checkpoint: Checkpoint, encoder: Encoder, options: Options, tokens: tuple[str, ...]) -> Plan:
    config = read_config(checkpoint, options)
    width, patch = config.hidden_size, patch_side(config, checkpoint.name)
    grid, summary = patch_grid(config, checkpoint.name), len(tokens)
    rules = learned_position_rules(
        "embeddings.position_embeddings",
        tuple((token, 1) for token in tokens),
        num_summary=summary,
        num_prefixed=summary,
        grid=grid,
        width=width,
    )
    rules += patch_rules("embeddings.patch_embeddings.projection", width, config.num_channels, patch)
    shape = LayerShape(width, config.intermediate_size, (config.qkv_bias,) * 3)
    for index in range(config.num_hidden_layers):
        rules += layer_rules(f"layers.{index}.", index, _NAMES, shape)
    rules += norm_rules("layernorm", width)
    zen = {
        **zen_fields(config, checkpoint.name),
        "intermediate_size": config.intermediate_size,
        "hidden_act": config.hidden_act,
        "num_summary_tokens": summary,
        "num_register_tokens": 0,
        "layerscale_value": 1.0,
        "qkv_bias": config.qkv_bias,
        "position_embedding": "learned",
        "position_resize": "bicubic",
    }
    tensors = renamed(encoder.tensors, _ALIASES)
    notes = [_POOLER_NOTE] if "pooler.dense.weight" in tensors else []
    return Plan(zen, rules, _IGNORABLES, tensors, notes=notes)


@register("vit", "ViT, folder of transformers", marker="embeddings.cls_token", model_type="vit")
def plan_vit(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`ViTModel` and models with heads on it."""
    return _plan(checkpoint, encoder, options, ("embeddings.cls_token",))


@register(
    "deit", "DeiT with distillation token, folder of transformers", marker="embeddings.cls_token", model_type="deit"
)
def plan_deit(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`DeiTModel` and models with heads on it: two summary tokens, class and distillation."""
    return _plan(checkpoint, encoder, options, ("embeddings.cls_token", "embeddings.distillation_token"))


@register("vit_mae", "MAE encoder, folder of transformers", marker="embeddings.cls_token", model_type="vit_mae")
def plan_mae(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`ViTMAEModel` and `ViTMAEForPreTraining`; ZEN sees all patches, in order."""
    return _plan(checkpoint, encoder, options, ("embeddings.cls_token",))
