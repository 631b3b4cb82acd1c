"""DINO (arXiv:2104.14294) and iBOT (arXiv:2111.07832) ViT in the names of their own repositories.

Weights: Apache-2.0. A full checkpoint holds a student below `module.backbone.` and a teacher below `backbone.`, each
with heads: the caller says which by `branch`. Both repositories resize positions with a shift of 0.1 patches,
transformers and ZEN without; at the size of training all agree.
"""

from .checkpoint import Checkpoint, Encoder
from .dinov2 import MASK_TOKEN, TRAINING_HEADS
from .family import Options, Plan, register
from .mapping import Ignorable
from .preprocessing import Published
from .timm_vit import vit_plan

_MASKED = Ignorable("masked_embed", "only hides patches in the pretraining of iBOT")
_NOTE = "at other sizes than that of training the original shifts resized positions by 0.1 patches, ZEN does not"


def original_plan(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """Plan for the names of the DINO repository: those of timm, positions resized without antialiasing.

    Raises:
        ValueError: The file holds parts that no DINO has (registers, LayerScale, a distillation token), or as
            `timm_vit.vit_plan`.
    """
    foreign = [key for key in ("reg_token", "dist_token", "blocks.0.ls1.gamma") if key in encoder.tensors]
    if foreign:
        raise ValueError(f"{checkpoint.name} holds {', '.join(foreign)}, which no ViT of DINO or iBOT has")
    plan = vit_plan(checkpoint, encoder, options)
    config = {**plan.config, "position_resize": "bicubic"}
    ignorables = (MASK_TOKEN, TRAINING_HEADS, _MASKED)
    return Plan(config, plan.rules, ignorables, plan.tensors, notes=[_NOTE])


@register(
    "dino", "DINO ViT, file of its repository", marker="cls_token", published=Published(size=224), licence="apache-2.0"
)
def plan_dino(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """Backbone files and full checkpoints of facebookresearch/dino."""
    return original_plan(checkpoint, encoder, options)


@register(
    "ibot", "iBOT ViT, file of its repository", marker="cls_token", published=Published(size=224), licence="apache-2.0"
)
def plan_ibot(checkpoint: Checkpoint, encoder: Encoder, options: Options) -> Plan:
    """Backbone files and full checkpoints of bytedance/ibot."""
    return original_plan(checkpoint, encoder, options)
