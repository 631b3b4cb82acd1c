"""Plain ViT in the names of timm, which the files of MAE, DeiT and EndoViT share.

A timm folder says how its images are normalised and under which licence it stands; a bare file says neither.
"""

import re

from PIL import Image

from .checkpoint import Checkpoint, Encoder
from .dinov2 import MASK_TOKEN
from .family import Options, Plan, register
from .foreign_config import image_size_of
from .layer import LayerNames, LayerShape, layer_rules, norm_rules, patch_rules
from .mapping import Ignorable, count_layers
from .positions import learned_position_rules, square_grid
from .preprocessing import Published, settings_of_timm
from .sizes import check_registers, resolve_heads

_DECODER = Ignorable("decoder_.*", "predicts masked pixels in pretraining only")
_HEADS = Ignorable("(head|head_dist)\\..*", "head of another task")

# Preprocessing of EndoViT as in its demo (DominikBatic/EndoViT, endovit_demo.py): torchvision resizes bilinearly.
ENDOVIT = Published(
    size=224, mean=(0.3464, 0.2280, 0.2228), std=(0.2520, 0.2128, 0.2093), resample=Image.Resampling.BILINEAR
)


@register("timm_vit", "ViT in the names of timm: a timm folder, or a file of timm, MAE or DeiT", marker="cls_token")
def plan_timm(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """`VisionTransformer` of timm: class token, optional distillation and register tokens, LayerScale, SwiGLU."""
    plan = vit_plan(checkpoint, encoder, options)
    settings = settings_of_timm(checkpoint.config or {}, checkpoint.name)
    return Plan(plan.config, plan.rules, plan.ignorables, plan.tensors, settings, plan.notes)


@register("endovit", "EndoViT, its published .pth", marker="cls_token", published=ENDOVIT, licence="apache-2.0")
def plan_endovit(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """EndoViT: ViT-B/16 pretrained as MAE on endoscopic frames."""
    return vit_plan(checkpoint, encoder, options)


def vit_plan(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """Plan for timm's `VisionTransformer` with LayerNorms of eps 1e-6 and GELU or SiLU, as all of these are.

    Raises:
        ValueError: The file lacks what every ViT has, or as `square_grid`, `check_registers` and `resolve_heads`.
    """
    tensors, name = encoder.tensors, checkpoint.name
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    required = (("cls_token", 3), ("pos_embed", 3), ("patch_embed.proj.weight", 4))
    absent = [key for key, axes in required if len(shapes.get(key, ())) != axes]
    if absent:
        raise ValueError(f"{name} lacks {', '.join(absent)} in the form that a ViT of timm has")
    width, patch = shapes["cls_token"][-1], shapes["patch_embed.proj.weight"][-1]
    layers = count_layers(tensors, r"blocks\.(\d+)\.")
    heads = resolve_heads(width, layers, options.num_heads, name)
    summary = 2 if "dist_token" in shapes else 1
    registers = shapes["reg_token"][1] if "reg_token" in shapes else 0
    tokens = [("cls_token", 1)] + [("dist_token", 1)] * (summary - 1) + [("reg_token", registers)] * (registers > 0)
    count = shapes["pos_embed"][1]
    if options.image_size is not None:
        grid = (options.image_size[0] // patch, options.image_size[1] // patch)
        prefixed = count - grid[0] * grid[1]
        if prefixed not in (0, summary + registers):
            raise ValueError(f"{name} holds {count} positions, which an image of {options.image_size} pixels has not")
    else:
        # All tokens have positions, or only the patches (no_embed_class of timm).
        prefixed, side = square_grid(count, (0, summary + registers), name)
        grid = (side, side)
    # Where only patches have positions, nothing else would tell that registers were lost.
    named = re.search(r"_reg(\d+)", str((checkpoint.config or {}).get("architecture", "")))
    given = options.num_register_tokens
    if given is None and named:
        given = int(named[1])
    check_registers("reg_token", registers, expected=registers > 0 or prefixed == 0, given=given, name=name)
    down = shapes.get("blocks.0.mlp.fc2.weight", (width, 4 * width))[-1]
    names = _names(shapes, down)
    has_bias = any(key.endswith(".attn.qkv.bias") for key in shapes)
    rules = learned_position_rules(
        "pos_embed", tuple(tokens), num_summary=summary, num_prefixed=prefixed, grid=grid, width=width
    )
    rules += patch_rules("patch_embed.proj", width, shapes["patch_embed.proj.weight"][1], patch)
    for index in range(layers):
        rules += layer_rules(f"blocks.{index}.", index, names, LayerShape(width, down, (has_bias,) * 3))
    rules += norm_rules("norm", width)
    zen = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": down,
        "mlp": "swiglu" if names.gate or names.gate_up else "gelu",
        "patch_size": patch,
        "num_channels": shapes["patch_embed.proj.weight"][1],
        "image_size": image_size_of(grid, patch),
        "num_summary_tokens": summary,
        "num_register_tokens": registers,
        "layerscale_value": 1e-5 if names.scale1 else 1.0,
        "layer_norm_eps": 1e-6,
        "qkv_bias": has_bias,
        "position_embedding": "learned",
        "position_resize": "bicubic_antialias",
    }
    return Plan(zen, rules, (MASK_TOKEN, _DECODER, _HEADS), tensors)


def _names(shapes: dict[str, tuple[int, ...]], inner: int) -> LayerNames:
    mlp = {"up": "mlp.fc1"}
    if "blocks.0.mlp.fc1_g.weight" in shapes:
        mlp = {"gate": "mlp.fc1_g", "up": "mlp.fc1_x"}
    elif shapes.get("blocks.0.mlp.fc1.weight", (inner,))[0] == 2 * inner:
        mlp = {"gate_up": "mlp.fc1", "up": ""}
    scales = {"scale1": "ls1.gamma", "scale2": "ls2.gamma"} if "blocks.0.ls1.gamma" in shapes else {}
    return LayerNames(norm1="norm1", norm2="norm2", qkv="attn.qkv", output="attn.proj", down="mlp.fc2", **mlp, **scales)
