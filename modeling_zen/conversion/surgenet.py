"""SurgeNetDINO: ViT-S/B/L trained on SurgeNetXL with DINO, DINOv2 and DINOv3 (rlpddejong/SurgeNetDINO).

Weights: CC BY-NC-SA 4.0, so `accept_noncommercial` is needed. They are not the models whose names they resemble: the
DINOv3 ones have no registers, a bias on the keys, LayerNorms of eps 1e-6, LayerScale named gamma_1, and rotary periods
stored in bfloat16 (its dinov3_configs). Loaded leniently into the DINOv3 of timm, registers stay random and the bias
and the scales are lost without a sign; here each is mapped or refused.
"""

from . import dino, dinov2, dinov3
from .checkpoint import Checkpoint, Encoder
from .family import Options, Plan, register
from .preprocessing import Published

SURGENET_LICENCE = "cc-by-nc-sa-4.0"


@register(
    "surgenet_dinov1",
    "SurgeNetDINO, the DINOv1 models",
    marker="cls_token",
    published=Published(size=224),
    licence=SURGENET_LICENCE,
)
def plan_surgenet_dinov1(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """ViT-S/16 and ViT-B/16, 224 pixels."""
    return dino.original_plan(checkpoint, encoder, options)


@register(
    "surgenet_dinov2",
    "SurgeNetDINO, the DINOv2 models",
    marker="cls_token",
    published=Published(size=336),
    licence=SURGENET_LICENCE,
)
def plan_surgenet_dinov2(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """ViT-S/14, B/14 and L/14 with four registers, 336 pixels."""
    return dinov2.original_plan(checkpoint, encoder, options, registers_expected=True)


@register(
    "surgenet_dinov3",
    "SurgeNetDINO, the DINOv3 models",
    marker="cls_token",
    published=Published(size=336),
    licence=SURGENET_LICENCE,
)
def plan_surgenet_dinov3(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """ViT-S/16, B/16 and L/16 without registers, 336 pixels."""
    return dinov3.original_plan(checkpoint, encoder, options, layer_norm_eps=1e-6, registers_expected=False)
