"""DINOv2 (arXiv:2304.07193), with and without registers: the names of transformers and those of its own repository.

Weights: Apache-2.0. Their own repository resizes the positions of the models without registers with a shift of 0.1
patches, transformers and ZEN without; at the size of training all three agree.
"""

from typing import Any

from .checkpoint import Checkpoint, Encoder
from .family import Options, Plan, register
from .foreign_config import image_size_of, patch_grid, patch_side, read_config
from .layer import LayerNames, LayerShape, layer_rules, norm_rules, patch_rules
from .mapping import Ignorable, Rule, count_layers, renamed
from .positions import learned_position_rules, square_grid
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


def _from_transformers(checkpoint: Checkpoint, encoder: Encoder, options: Options, num_registers: int) -> Plan:
    config = read_config(checkpoint, options.num_heads)
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
        "hidden_size": width,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": inner,
        "mlp": "swiglu" if config.use_swiglu_ffn else "gelu",
        "hidden_act": None if config.use_swiglu_ffn else config.hidden_act,  # the gated MLP ignores the setting
        "patch_size": patch,
        "num_channels": config.num_channels,
        "image_size": image_size_of(grid, patch),
        "num_register_tokens": num_registers,
        "layerscale_value": config.layerscale_value,
        "layer_norm_eps": config.layer_norm_eps,
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
    return _from_transformers(checkpoint, encoder, options, num_registers=0)


@register(
    "dinov2_with_registers",
    "DINOv2 with registers, folder of transformers",
    marker="embeddings.cls_token",
    model_type="dinov2_with_registers",
    licence="apache-2.0",
)
def plan_dinov2_with_registers(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`Dinov2WithRegistersModel` and models with heads on it."""
    registers = read_config(checkpoint, None).num_register_tokens
    return _from_transformers(checkpoint, encoder, options, num_registers=registers)


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
        ValueError: The file has registers though the family has none, or none though it has; or as `square_grid` and
            `resolve_heads`.
    """
    # Training wraps blocks in chunks, blocks.CHUNK.INDEX, with the index counted through.
    tensors = renamed(encoder.tensors, ((r"^blocks\.\d+\.(\d+\.)", r"blocks.\1"),))
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    required = ("cls_token", "pos_embed", "patch_embed.proj.weight")
    absent = [key for key in required if len(shapes.get(key, ())) < 3]
    if absent:
        raise ValueError(f"{checkpoint.name} lacks {', '.join(absent)} in the form that DINOv2 has")
    width, patch = shapes["cls_token"][-1], shapes["patch_embed.proj.weight"][-1]
    layers = count_layers(tensors, r"blocks\.(\d+)\.")
    registers = shapes["register_tokens"][1] if "register_tokens" in shapes else 0
    check_registers(
        "register_tokens",
        registers,
        expected=registers_expected,
        given=options.num_register_tokens,
        name=checkpoint.name,
    )
    heads = resolve_heads(width, layers, options.num_heads, checkpoint.name)
    _, side = square_grid(shapes["pos_embed"][1], (1,), checkpoint.name)
    gated = "blocks.0.mlp.w12.weight" in shapes
    mlp: dict[str, Any] = {"gate_up": "mlp.w12", "up": "", "down": "mlp.w3"}
    if not gated:
        mlp = {"up": "mlp.fc1", "down": "mlp.fc2"}
    names = LayerNames(
        norm1="norm1", norm2="norm2", qkv="attn.qkv", output="attn.proj", scale1="ls1.gamma", scale2="ls2.gamma", **mlp
    )
    down = shapes.get(f"blocks.0.{names.down}.weight", (width, 4 * width))
    shape = LayerShape(width, down[-1])
    tokens = (("cls_token", 1),) + ((("register_tokens", registers),) * (registers > 0))
    rules: list[Rule] = learned_position_rules(
        "pos_embed", tokens, num_summary=1, num_prefixed=1, grid=(side, side), width=width
    )
    rules += patch_rules("patch_embed.proj", width, shapes["patch_embed.proj.weight"][1], patch)
    for index in range(layers):
        rules += layer_rules(f"blocks.{index}.", index, names, shape)
    rules += norm_rules("norm", width)
    zen = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": down[-1],
        "mlp": "swiglu" if gated else "gelu",
        "patch_size": patch,
        "image_size": side * patch,
        "num_register_tokens": registers,
        "layerscale_value": 1e-5,
        "layer_norm_eps": 1e-6,
        "position_embedding": "learned",
        "position_resize": "bicubic_antialias" if registers else "bicubic",
    }
    notes = []
    if not registers:
        notes.append(
            "at other sizes than that of training the original shifts resized positions by 0.1 patches, ZEN does not"
        )
    return Plan(zen, rules, (MASK_TOKEN, TRAINING_HEADS), tensors, notes=notes)
