"""DINOv3 ViT (arXiv:2508.10104): the names of transformers and those of its own repository.

Weights: DINOv3 Licence (commercial use allowed under its terms). The repository stores the rotary periods, from which
ZEN's two numbers and the number of heads follow, and may store a mask that silences the bias of the keys.
"""

from .checkpoint import Checkpoint, Encoder
from .dinov2 import CLASSIFIER, MASK_TOKEN, TRAINING_HEADS
from .family import Options, Plan, register
from .foreign_config import patch_side, read_config, zen_fields
from .fused import read_trunk
from .layer import LayerNames, LayerShape, layer_rules, norm_rules, patch_rules
from .mapping import Ignorable, only_read, renamed, same
from .positions import solve_periods
from .preprocessing import Published
from .sizes import check_registers

DINOV3_LICENCE = "dinov3-license"

_WIDTH_WITHOUT_QKV_BIAS = 4096  # ViT-7B alone (dinov3/hub/backbones.py)

_LOCAL_NORM = Ignorable("local_cls_norm\\..*", "normalises local crops in training only")


@register(
    "dinov3_vit",
    "DINOv3 ViT, folder of transformers",
    marker="embeddings.cls_token",
    model_type="dinov3_vit",
    licence=DINOV3_LICENCE,
)
def plan_dinov3(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`DINOv3ViTModel` and models with heads on it."""
    config = read_config(checkpoint, options)
    width, patch = config.hidden_size, patch_side(config, checkpoint.name)
    names = LayerNames(
        norm1="norm1",
        norm2="norm2",
        query="attention.q_proj",
        key="attention.k_proj",
        value="attention.v_proj",
        output="attention.o_proj",
        up="mlp.up_proj",
        down="mlp.down_proj",
        gate="mlp.gate_proj" if config.use_gated_mlp else "",
        scale1="layer_scale1.lambda1",
        scale2="layer_scale2.lambda1",
    )
    biases = (config.query_bias, config.key_bias, config.value_bias)
    shape = LayerShape(width, config.intermediate_size, biases, config.proj_bias, config.mlp_bias)
    registers = (1, config.num_register_tokens, width)
    rules = [same("embeddings.cls_token", "embeddings.summary_tokens", (1, 1, width))]
    if config.num_register_tokens:
        rules.append(same("embeddings.register_tokens", "embeddings.register_tokens", registers))
    elif "embeddings.register_tokens" in encoder.tensors:  # transformers stores a tensor of 0 tokens
        rules.append(only_read("embeddings.register_tokens", registers))
    rules += patch_rules("embeddings.patch_embeddings", width, config.num_channels, patch)
    for index in range(config.num_hidden_layers):
        rules += layer_rules(f"layer.{index}.", index, names, shape)
    rules += norm_rules("norm", width)
    zen = {
        **zen_fields(config, checkpoint.name),
        "intermediate_size": config.intermediate_size,
        "mlp": "swiglu" if config.use_gated_mlp else "gelu",
        "hidden_act": config.hidden_act,
        "num_register_tokens": config.num_register_tokens,
        "layerscale_value": config.layerscale_value,
        "qkv_bias": any(biases),
        "rope_theta": config.rope_theta,
    }
    tensors = renamed(encoder.tensors, ((r"^model\.layer\.", "layer."),))
    notes = ["DINOv3 scales pixels before it resizes them, ZenImageProcessor after: up to half a grey level apart"]
    return Plan(zen, rules, (MASK_TOKEN, CLASSIFIER), tensors, notes=notes)


@register(
    "dinov3_hub",
    "DINOv3 ViT in the names of its own repository (storage_tokens, rope_embed.periods, bias_mask)",
    marker="cls_token",
    published=Published(size=224),
    licence=DINOV3_LICENCE,
)
def plan_dinov3_hub(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """Files of facebookresearch/dinov3. The satellite models need image_mean and image_std of their own."""
    plan = original_plan(checkpoint, encoder, options, layer_norm_eps=1e-5, registers_expected=True)
    biases = [tensor for key, tensor in encoder.tensors.items() if key.endswith(".attn.qkv.bias")]
    if not any(key.endswith(".bias_mask") for key in encoder.tensors) and any(
        each.chunk(3)[1].any() for each in biases
    ):
        plan.notes.append("the source holds no bias_mask, so that its keys have a bias; published models have none")
    return plan


def original_plan(
    checkpoint: Checkpoint, encoder: Encoder, options: Options, *, layer_norm_eps: float, registers_expected: bool
) -> Plan:
    """Plan for the names of the DINOv3 repository.

    Not in the file is how coordinates are normalised: each side by its own length, as in all published models.

    Args:
        checkpoint: As read.
        encoder: The chosen one.
        options: Of the caller.
        layer_norm_eps: Not in the file: 1e-5 for `layernormbf16` of its configs, 1e-6 for `layernorm`.
        registers_expected: Whether the family has registers (`storage_tokens`) or has none.

    Raises:
        ValueError: Registers are missing, or there though the family has none; the rotary periods are missing, are no
            geometric series, or do not fit the given number of heads; an image size is given; or as `read_trunk`.
    """
    tensors, name = encoder.tensors, checkpoint.name
    trunk = read_trunk(tensors, (("rope_embed.periods", 1),), "DINOv3", name)
    if options.image_size is not None:
        raise ValueError(f"{name} has rotary positions, which belong to no size of image: leave out image_size")
    width, periods = trunk.width, trunk.shapes["rope_embed.periods"]
    registers = trunk.shapes["storage_tokens"][1] if "storage_tokens" in trunk.shapes else 0
    check_registers(
        "storage_tokens", registers, expected=registers_expected, given=options.num_register_tokens, name=name
    )
    heads = _heads_of_periods(width, periods[0], options.num_heads, name)
    theta, min_period, note = solve_periods(tensors["rope_embed.periods"], name)
    names = _original_names(trunk.shapes)
    # Of other sizes the biases are lost where there are none, which must not pass for a model without.
    qkv_bias = trunk.has_qkv_bias or width != _WIDTH_WITHOUT_QKV_BIAS
    rules = [
        same("cls_token", "embeddings.summary_tokens", (1, 1, width)),
        only_read("rope_embed.periods", periods),
    ]
    if registers:
        rules.append(same("storage_tokens", "embeddings.register_tokens", (1, registers, width)))
    rules += trunk.rules(names, qkv_bias)
    zen = {
        **trunk.config(names, qkv_bias, heads),
        "image_size": 14 * trunk.patch,
        "num_register_tokens": registers,
        "layer_norm_eps": layer_norm_eps,
        "rope_theta": theta,
        "rope_min_period": min_period,
    }
    return Plan(zen, rules, (MASK_TOKEN, TRAINING_HEADS, _LOCAL_NORM), tensors, notes=[note] if note else [])


def _heads_of_periods(width: int, num_periods: int, given: int | None, name: str) -> int:
    """A head is four times as wide as it has periods: row and column, sine and cosine."""
    head_dim = 4 * num_periods
    if num_periods < 1 or width % head_dim:
        raise ValueError(f"{name} is {width} wide and holds {num_periods} rotary periods, which fit no number of heads")
    if given is not None and given != width // head_dim:
        raise ValueError(
            f"{name} holds {num_periods} rotary periods, so it has {width // head_dim} attention heads, not {given}"
        )
    return width // head_dim


def _original_names(shapes: dict[str, tuple[int, ...]]) -> LayerNames:
    gated = "blocks.0.mlp.w1.weight" in shapes
    # The repository calls them ls1.gamma; the files of some training runs, gamma_1.
    scales = ("gamma_1", "gamma_2") if "blocks.0.gamma_1" in shapes else ("ls1.gamma", "ls2.gamma")
    return LayerNames(
        norm1="norm1",
        norm2="norm2",
        qkv="attn.qkv",
        qkv_bias_mask="attn.qkv.bias_mask" if any(key.endswith(".bias_mask") for key in shapes) else "",
        output="attn.proj",
        gate="mlp.w1" if gated else "",
        up="mlp.w2" if gated else "mlp.fc1",
        down="mlp.w3" if gated else "mlp.fc2",
        scale1=scales[0],
        scale2=scales[1],
    )
