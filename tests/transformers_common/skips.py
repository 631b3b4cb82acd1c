"""Which tests of transformers may be skipped here, and why each says nothing about ZEN.

Most mixins find out for themselves that a test does not apply, and skip it. So that none does so unseen, every reason
they give must be in this table; another one makes the run fail.
"""

import re

_NO_GPU = "needs an accelerator: the run is made for a CPU"
_NO_PACKAGE = "needs a package that ZEN has no use for on a CPU"
_NOT_LANGUAGE = "is about language models: ZEN has no words, no generation and no vocabulary"
_NOT_COMPOSITE = "is about models made of several configs: ZEN has one, and its text towers are not part of the model"
_NO_PLAN = "is about a plan for splitting a model over devices: ZEN is too small to need one"

# Pattern of the reason that the mixin gives -> why that is right. Ours, in the test files, speak for themselves.
ALLOWED: dict[str, str] = {
    r"test requires (multiple )?accelerators?$": _NO_GPU,
    r"test requires Flash Attention( \d)?$": _NO_GPU,
    r"test requires MPS": _NO_GPU,
    r"test requires the kernels library": _NO_PACKAGE,
    r"test requires deepspeed": _NO_PACKAGE,
    r"test is slow": "compiles on an accelerator or compares with a PIL backend, which ZEN has not",
    r"less than 2 backends": "compares backends of a processor: ZEN's has one, torchvision",
    r"language modeling head to check": _NOT_LANGUAGE,
    r"doesn't use `inputs_embeds`": _NOT_LANGUAGE,
    r"test_resize_embeddings is set to `False`": _NOT_LANGUAGE,
    r"does not support sliding window mask": _NOT_LANGUAGE,
    r"Model does not have position embeddings": "resizes embeddings for another number of words",
    r"not a composite model|model is not composite|No subconfigs": _NOT_COMPOSITE,
    # Said of composite models only, in spite of the words: the test for all others runs.
    r"does not support SDPA": _NOT_COMPOSITE,
    r"does not have a TP plan": _NO_PLAN,
    r"does not support grouped_mm|no sparse experts|no `output_router_logits`": "is about mixtures of experts",
    r"no _keep_in_fp32_modules": "is about modules kept in float32: ZEN computes angles, not weights, in float32",
    r"does not support RoPE scaling|does not have RoPE|no axial RoPE layer": (
        "is about rotary positions as a module with a buffer: ZEN computes them from the grid and has tests of its own"
    ),
    r"no `base_model_class` defined": "is a test of the encoder alone, which runs for ZenModel",
    r"^(a triplet is always|the number of labels is that of the triplets|the text tower is borrowed)": "ours",
}


def is_allowed(reason: str) -> bool:
    """Whether a reason for skipping is in the table."""
    return any(re.search(pattern, reason) for pattern in ALLOWED)
