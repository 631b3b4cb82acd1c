"""Strict converters: foreign checkpoints become `ZenModel`s that compute the same numbers, or are refused.

`convert(source)` for a folder of transformers or a Hub id, `convert(file, family)` for a file of weights;
`python -m modeling_zen.conversion SOURCE OUT` writes a folder. One module per family; a new one is a module with a
planner under `register`, a line below and a parity test.
"""

from . import dino, dinov2, dinov3, radio, surgenet, timm_vit, vit  # noqa: F401 - each fills the register
from .conversion import Conversion, convert, convert_checkpoint
from .family import FAMILIES

__all__ = ["FAMILIES", "Conversion", "convert", "convert_checkpoint"]
