"""Plain ViT in the names of timm, which the files of MAE, DeiT and EndoViT share.

A timm folder says how its images are normalised and under which licence it stands; a bare file says neither.
"""

import re

from PIL import Image

from .checkpoint import Checkpoint, Encoder
from .dinov2 import MASK_TOKEN
from .family import Options, Plan, register
from .foreign_config import image_size_of
from .fused import FusedTrunk, read_trunk
from .layer import LayerNames
from .mapping import Ignorable
from .positions import learned_position_rules, position_grid
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
        ValueError: The file lacks what every ViT has, or as `position_grid`, `check_registers` and `resolve_heads`.
    """
    tensors, name = encoder.tensors, checkpoint.name
    trunk = read_trunk(tensors, (("pos_embed", 3),), "a ViT of timm", name)
    shapes = trunk.shapes
    heads = resolve_heads(trunk.width, trunk.num_layers, options.num_heads, name)
    summary = 2 if "dist_token" in shapes else 1
    registers = shapes["reg_token"][1] if "reg_token" in shapes else 0
    tokens = [("cls_token", 1)] + [("dist_token", 1)] * (summary - 1) + [("reg_token", registers)] * (registers > 0)
    # All tokens have positions, or only the patches (no_embed_class of timm).
    may_be_prefixed = (0, summary + registers)
    prefixed, grid = position_grid(shapes["pos_embed"][1], may_be_prefixed, options.image_size, trunk.patch, name)
    # Where only patches have positions, nothing else would tell that registers were lost.
    named = re.search(r"_reg(\d+)", str((checkpoint.config or {}).get("architecture", "")))
    given = options.num_register_tokens
    if given is None and named:
        given = int(named[1])
    check_registers("reg_token", registers, expected=registers > 0 or prefixed == 0, given=given, name=name)
    names, qkv_bias = _names(trunk), trunk.has_qkv_bias
    rules = learned_position_rules(
        "pos_embed", tuple(tokens), num_summary=summary, num_prefixed=prefixed, grid=grid, width=trunk.width
    )
    rules += trunk.rules(names, qkv_bias)
    zen = {
        **trunk.config(names, qkv_bias, heads),
        "image_size": image_size_of(grid, trunk.patch),
        "num_summary_tokens": summary,
        "num_register_tokens": registers,
        "position_embedding": "learned",
        "position_resize": "bicubic_antialias",
    }
    return Plan(zen, rules, (MASK_TOKEN, _DECODER, _HEADS), tensors)


def _names(trunk: FusedTrunk) -> LayerNames:
    shapes, inner = trunk.shapes, trunk.intermediate("mlp.fc2")
    mlp = {"up": "mlp.fc1"}
    if "blocks.0.mlp.fc1_g.weight" in shapes:
        mlp = {"gate": "mlp.fc1_g", "up": "mlp.fc1_x"}
    elif shapes.get("blocks.0.mlp.fc1.weight", (inner,))[0] == 2 * inner:
        mlp = {"gate_up": "mlp.fc1", "up": ""}
    scales = {"scale1": "ls1.gamma", "scale2": "ls2.gamma"} if "blocks.0.ls1.gamma" in shapes else {}
    return LayerNames(norm1="norm1", norm2="norm2", qkv="attn.qkv", output="attn.proj", down="mlp.fc2", **mlp, **scales)
