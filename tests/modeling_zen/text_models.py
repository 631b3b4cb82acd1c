"""Tiny text models with a tokenizer of twelve words, and heads that borrow them: what the tests of language share."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast

from modeling_zen import ZenConfig, ZenForVisualQuestionAnswering, ZenForZeroShotImageClassification

from .conftest import TINY

WORDS = ["<pad>", "<unk>", "<eos>", "this", "is", "a", "photo", "of", "liver", "gallbladder", "grasper", "."]
EOS = 2
FULL = 12  # tokens that each text side can read
WIDTH = 16
SHARED = {"siglip": 20, "clip": 24}
TEXT: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": len(WORDS),
    "max_position_embeddings": FULL,
    "bos_token_id": None,
    "eos_token_id": EOS,
}
VISION: dict[str, Any] = {
    "hidden_size": 20,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
PROMPTS = ["a photo of liver", "grasper", "this is a photo of gallbladder ."]


def make_tokenizer(side: str = "right") -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", EOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>", padding_side=side
    )


def make_teacher(family: str) -> Any:
    torch.manual_seed(3)
    if family == "bert":
        unknown = ("bos_token_id", "eos_token_id")
        return transformers.BertModel(
            transformers.BertConfig(**{name: value for name, value in TEXT.items() if name not in unknown})
        )
    if family == "vit":
        return transformers.ViTModel(transformers.ViTConfig(**VISION))
    if family == "clip":
        config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=SHARED["clip"])
        teacher: Any = transformers.CLIPModel(config)
    else:
        # pad_token_id of the config is left at SigLIP's 1, though the tokenizer says 0: so are the configs of SigLIP 2.
        text = {**TEXT, "projection_size": SHARED["siglip"]}
        teacher = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=VISION))
        nn.init.constant_(teacher.logit_bias, -3.25)
    for name, parameter in teacher.named_parameters():
        if "embedding" in name:
            nn.init.normal_(parameter)  # prompts far apart, so that a wrong one shows
    nn.init.constant_(teacher.logit_scale, 1.7)
    return teacher.eval()


def tokens_of(tokenizer: Any, texts: list[str], **kwargs: Any) -> dict[str, torch.Tensor]:
    encoded = tokenizer(texts, return_tensors="pt", **kwargs)
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def make_zero_shot(family: str, teachers: Path, **fields: Any) -> ZenForZeroShotImageClassification:
    torch.manual_seed(0)
    shape = {"projection_dim": SHARED[family.split("-")[0]], "adaptor_hidden_size": 48}
    config = ZenConfig(**{**TINY, **shape, "text_model": str(teachers / family), **fields})
    return ZenForZeroShotImageClassification(config).eval()


def make_answerer(text_model: Path | None = None, **fields: Any) -> ZenForVisualQuestionAnswering:
    torch.manual_seed(0)
    text = None if text_model is None else str(text_model)
    config = ZenConfig(**{**TINY, "text_hidden_size": WIDTH, "num_labels": 5, "text_model": text, **fields})
    return ZenForVisualQuestionAnswering(config).eval()


def save_teachers(root: Path) -> Path:
    """Folders clip, siglip, bert with tokenizers; vit; and siglip-left, whose tokenizer pads on the left."""
    for family in ("clip", "siglip", "bert", "vit"):
        make_teacher(family).save_pretrained(root / family)
        if family != "vit":
            make_tokenizer().save_pretrained(root / family)
    make_teacher("siglip").save_pretrained(root / "siglip-left")
    make_tokenizer("left").save_pretrained(root / "siglip-left")
    return root
