"""DINOv2 (arXiv:2304.07193), with and without registers: the names of transformers and those of its own repository.

Weights: Apache-2.0. Their own repository resizes the positions of the models without registers with a shift of 0.1
patches, transformers and ZEN without; at the size of training all three agree.
"""

from typing import Any

from .checkpoint import Checkpoint, Encoder
from .family import Options, Plan, register
from .foreign_config import image_size_of, patch_grid, patch_side, read_config, zen_fields
from .fused import read_trunk
from .layer import LayerNames, LayerShape, layer_rules, norm_rules, patch_rules
from .mapping import Ignorable, Rule, renamed
from .positions import learned_position_rules, position_grid
from .preprocessing import Published
from .sizes import check_registers, resolve_heads

MASK_TOKEN = Ignorable("(.*\\.)?mask_token", "only hides patches in pretraining")
CLASSIFIER = Ignorable("classifier\\..*", "head of another task")
# What a training run of DINO, iBOT, DINOv2 or DINOv3 keeps beside an encoder.
TRAINING_HEADS = Ignorable("(.*\\.)?(head|dino_head|ibot_head)\\..*", "projection of self-supervised training")

_NAMES = LayerNames(
    norm1="norm1",
    norm2="norm2",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    output="attention.o_proj",
    up="mlp.fc1",
    down="mlp.fc2",
    scale1="layer_scale1.lambda1",
    scale2="layer_scale2.lambda1",
)
_PREFIX = r"^(encoder\.layer\.\d+\."
# Names within transformers 5 <- names in the published files.
_ALIASES = (
    (_PREFIX + r"attention\.)attention\.query\.", r"\1q_proj."),
    (_PREFIX + r"attention\.)attention\.key\.", r"\1k_proj."),
    (_PREFIX + r"attention\.)attention\.value\.", r"\1v_proj."),
    (_PREFIX + r"attention\.)output\.dense\.", r"\1o_proj."),
    (_PREFIX + r"mlp\.)weights_out\.", r"\1down_proj."),
)


def _from_transformers(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    config = read_config(checkpoint, options)
    num_registers = getattr(config, "num_register_tokens", 0)
    width, patch = config.hidden_size, patch_side(config, checkpoint.name)
    grid = patch_grid(config, checkpoint.name)
    if grid[0] != grid[1]:
        raise ValueError(f"config.json of {checkpoint.name} has positions for {grid} patches; DINOv2 has square grids")
    inner = int(width * config.mlp_ratio)
    names = _NAMES
    tensors = renamed(encoder.tensors, _ALIASES)
    if config.use_swiglu_ffn:
        inner = (int(inner * 2 / 3) + 7) // 8 * 8
        stacked = any(".mlp.weights_in." in key for key in tensors)
        parts = {"gate_up": "mlp.weights_in"} if stacked else {"gate": "mlp.gate_proj", "up": "mlp.up_proj"}
        names = LayerNames(**{**vars(_NAMES), "down": "mlp.down_proj", **parts})
    tokens = (("embeddings.cls_token", 1),) + ((("embeddings.register_tokens", num_registers),) * (num_registers > 0))
    rules = learned_position_rules(
        "embeddings.position_embeddings", tokens, num_summary=1, num_prefixed=1, grid=grid, width=width
    )
    rules += patch_rules("embeddings.patch_embeddings.projection", width, config.num_channels, patch)
    shape = LayerShape(width, inner, (config.qkv_bias,) * 3)
    for index in range(config.num_hidden_layers):
        rules += layer_rules(f"encoder.layer.{index}.", index, names, shape)
    rules += norm_rules("layernorm", width)
    zen = {
        **zen_fields(config, checkpoint.name),
        "intermediate_size": inner,
        "mlp": "swiglu" if config.use_swiglu_ffn else "gelu",
        "hidden_act": None if config.use_swiglu_ffn else config.hidden_act,  # the gated MLP ignores the setting
        "num_register_tokens": num_registers,
        "layerscale_value": config.layerscale_value,
        "qkv_bias": config.qkv_bias,
        "position_embedding": "learned",
        "position_resize": "bicubic_antialias" if num_registers else "bicubic",
    }
    return Plan(zen, rules, (MASK_TOKEN, CLASSIFIER), tensors)


@register(
    "dinov2",
    "DINOv2 without registers, folder of transformers",
    marker="embeddings.cls_token",
    model_type="dinov2",
    licence="apache-2.0",
)
def plan_dinov2(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`Dinov2Model` and models with heads on it."""
    return _from_transformers(checkpoint, encoder, options)


@register(
    "dinov2_with_registers",
    "DINOv2 with registers, folder of transformers",
    marker="embeddings.cls_token",
    model_type="dinov2_with_registers",
    licence="apache-2.0",
)
def plan_dinov2_with_registers(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`Dinov2WithRegistersModel` and models with heads on it."""
    return _from_transformers(checkpoint, encoder, options)


@register(
    "dinov2_hub",
    "DINOv2 without registers, in the names of its own repository (blocks.0.ls1.gamma)",
    marker="cls_token",
    published=Published(size=224),
    licence="apache-2.0",
)
def plan_dinov2_hub(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """Files of facebookresearch/dinov2: fused qkv, `w12` and `w3` for the gated MLP, LayerScale `gamma`."""
    return original_plan(checkpoint, encoder, options, registers_expected=False)


@register(
    "dinov2_with_registers_hub",
    "DINOv2 with registers, in the names of its own repository (register_tokens)",
    marker="cls_token",
    published=Published(size=224),
    licence="apache-2.0",
)
def plan_dinov2_with_registers_hub(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """Files of facebookresearch/dinov2 with `reg4` in their names."""
    return original_plan(checkpoint, encoder, options, registers_expected=True)


def original_plan(checkpoint: Checkpoint, encoder: Encoder, options: Options, *, registers_expected: bool) -> Plan:
    """Plan for the names of the DINOv2 repository.

    Raises:
        ValueError: The file has registers though the family has none, or none though it has; positions or an
            image size that are no square; or as `read_trunk`, `position_grid` and `resolve_heads`.
    """
    # Training wraps blocks in chunks, blocks.CHUNK.INDEX, with the index counted through.
    tensors = renamed(encoder.tensors, ((r"^blocks\.\d+\.(\d+\.)", r"blocks.\1"),))
    trunk, name = read_trunk(tensors, (("pos_embed", 3),), "DINOv2", checkpoint.name), checkpoint.name
    registers = trunk.shapes["register_tokens"][1] if "register_tokens" in trunk.shapes else 0
    check_registers(
        "register_tokens", registers, expected=registers_expected, given=options.num_register_tokens, name=name
    )
    heads = resolve_heads(trunk.width, trunk.num_layers, options.num_heads, name)
    _, grid = position_grid(trunk.shapes["pos_embed"][1], (1,), options.image_size, trunk.patch, name)
    if grid[0] != grid[1]:
        raise ValueError(f"{name} cannot have positions for {grid} patches; DINOv2 has square grids")
    mlp: dict[str, Any] = {"up": "mlp.fc1", "down": "mlp.fc2"}
    if "blocks.0.mlp.w12.weight" in trunk.shapes:
        mlp = {"gate_up": "mlp.w12", "up": "", "down": "mlp.w3"}
    names = LayerNames(
        norm1="norm1", norm2="norm2", qkv="attn.qkv", output="attn.proj", scale1="ls1.gamma", scale2="ls2.gamma", **mlp
    )
    tokens = (("cls_token", 1),) + ((("register_tokens", registers),) * (registers > 0))
    rules: list[Rule] = learned_position_rules(
        "pos_embed", tokens, num_summary=1, num_prefixed=1, grid=grid, width=trunk.width
    )
    rules += trunk.rules(names, qkv_bias=True)
    zen = {
        **trunk.config(names, qkv_bias=True, heads=heads),
        "image_size": image_size_of(grid, trunk.patch),
        "num_register_tokens": registers,
        "position_embedding": "learned",
        "position_resize": "bicubic_antialias" if registers else "bicubic",
    }
    notes = []
    if not registers:
        notes.append(
            "at other sizes than that of training the original shifts resized positions by 0.1 patches, ZEN does not"
        )
    return Plan(zen, rules, (MASK_TOKEN, TRAINING_HEADS), tensors, notes=notes)
