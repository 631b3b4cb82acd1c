"""Models that put frames and texts into one space: ZEN with an aligned teacher, and dual encoders of the Hub."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from evaluation.backbones.backbone import FrameNetwork
from evaluation.backbones.peers import PEERS
from evaluation.backbones.zen import MODEL_TYPE, load_zen
from modeling_zen import ZenConfig, ZenForZeroShotImageClassification
from modeling_zen.teacher_adaptor import FOLDER as ADAPTORS
from modeling_zen.text_tower_zen import TextTower
from training.errors import UserError
from training.teachers.checkpoint import find_checkpoint

_FILE_TROUBLE = (OSError, ValueError, RuntimeError, KeyError)


class NotTextAlignedError(UserError):
    """The model has no text tower, or none that can be had, so that prompts say nothing to it."""


@dataclass(frozen=True)
class TextAligned:
    """A model in evaluation mode that sees and reads.

    Attributes:
        name: of the text model, a Hub id or the last part of a folder.
        images: frames uint8 (B, H, W, 3) RGB -> float32 (B, D), of length one.
        texts: sentences -> float32 (T, D), of length one.
        scale: factor of the cosines in its logits.
    """

    name: str
    images: Callable[[np.ndarray], Tensor]
    texts: Callable[[Sequence[str]], Tensor]
    scale: float


def load_text_aligned(
    model: str, device: torch.device, *, image_size: int, text_model: str | None = None
) -> TextAligned:
    """The model called `model` with its text tower.

    A ZEN is one if it was saved as `ZenForZeroShotImageClassification`, or if its folder has the summary adaptor of a
    teacher that shares a space with texts, such as SigLIP 2 (`training/adaptors.py`).

    Args:
        model: a folder or Hub id, or the name of a teacher.
        device: where to compute.
        image_size: side of the square frames it will be shown, pixels.
        text_model: folder or Hub id of the text side of a ZEN; without it, the teacher's repository.

    Raises:
        NotTextAlignedError: it has no text tower.
        UserError: it cannot be loaded, or cannot take frames of that size.
    """
    name = model.partition("=")[0]
    if not Path(model).is_dir():
        if name in PEERS:
            raise NotTextAlignedError(f"{name!r} is read as an image encoder alone, so it cannot be prompted")
        model = find_checkpoint(model, revision=None, trust_remote_code=False).path
    config = _open(AutoConfig, model)
    if config.model_type == MODEL_TYPE:
        return _zen(model, config, device, image_size, text_model)
    if not hasattr(config, "text_config"):
        raise NotTextAlignedError(
            f"{_shown(model)!r} is a {config.model_type!r} without a text tower, so it cannot be prompted"
        )
    return _dual_encoder(model, device)


def _dual_encoder(model: str, device: torch.device) -> TextAligned:
    """CLIP, SigLIP, SigLIP 2 and what else has the two methods; its own processor makes its inputs of frames."""
    encoder = _open(AutoModel, model)
    if not (hasattr(encoder, "get_image_features") and hasattr(encoder, "get_text_features")):
        raise NotTextAlignedError(
            f"{_shown(model)!r} is a {type(encoder).__name__}, which puts frames and texts into no common space"
        )
    encoder = encoder.float().eval().requires_grad_(False).to(device)
    processor = _open(AutoImageProcessor, model)

    @torch.inference_mode()
    def images(frames: np.ndarray) -> Tensor:
        inputs = processor(list(torch.from_numpy(frames).permute(0, 3, 1, 2)), return_tensors="pt").to(device)
        return _unit(encoder.get_image_features(**inputs))

    return TextAligned(_shown(model), images, _reader(model, None, device), float(encoder.logit_scale.exp()))


def _zen(model: str, config: Any, device: torch.device, image_size: int, text_model: str | None) -> TextAligned:
    network: FrameNetwork = load_zen(model, device).network
    network.check_size(image_size)
    if ZenForZeroShotImageClassification.__name__ in (config.architectures or ()):
        head = _open(ZenForZeroShotImageClassification, model)
        if text_model is not None:
            head.config.text_model, head.config.text_model_revision = text_model, None
    else:
        head = _with_adaptor(model, text_model)
    head = head.float().eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def images(frames: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float().to(device) / 255  # (B, 3, H, W) in [0, 1]
        return _unit(head.get_image_features(network.preprocessing.normalize(pixels)))  # type: ignore[operator, union-attr]

    source, revision = head.config.text_model, head.config.text_model_revision
    texts = _reader(source, revision, device, head.config.projection_dim)
    return TextAligned(_shown(source), images, texts, float(head.logit_scale.exp()))


def _with_adaptor(model: str, text_model: str | None) -> Any:
    """The head with the first adaptor whose teacher reads texts."""
    found = _adaptors(model)
    refused = []
    for file, facts in found:
        source, revision = facts["repo"], facts.get("revision")
        if text_model is not None:
            if len(found) > 1 and source not in (text_model, Path(text_model).name):
                continue
            source, revision = text_model, None
        reason = _reason_against(source, revision, facts)
        if reason:
            refused.append(f"{facts['name']}: {reason}")
            continue
        with safe_open(file, framework="pt") as opened:
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
        last = state["adaptor.fc2.weight"]
        fields = {"projection_dim": last.shape[0], "adaptor_hidden_size": last.shape[1]}
        head = ZenForZeroShotImageClassification.from_pretrained(
            model, text_model=source, text_model_revision=revision, **fields
        )
        try:
            head.load_adaptor(state)
        except _FILE_TROUBLE as error:
            raise UserError(f"adaptor {file.name} of {_shown(model)!r}: {' '.join(str(error).split())}") from error
        return head
    teachers = f" ({'; '.join(refused)})" if refused else ""
    raise NotTextAlignedError(
        f"{_shown(model)!r} has no summary adaptor of a teacher that reads texts{teachers}, so it cannot be prompted"
    )


def _adaptors(model: str) -> list[tuple[Path, dict[str, Any]]]:
    """Summary adaptors of a ZEN and their facts, by name."""
    pattern = f"{ADAPTORS}/*_summary.safetensors"
    folder = Path(model) if Path(model).is_dir() else Path(snapshot_download(model, allow_patterns=pattern))
    found = []
    for file in sorted(folder.glob(pattern)):
        with safe_open(file, framework="pt") as opened:
            found.append((file, json.loads(opened.metadata()["adaptor"])))
    return found


def _reason_against(source: str, revision: str | None, facts: dict[str, Any]) -> str:
    """Why the texts of a teacher cannot be compared with its adaptor; empty if they can."""
    if "block_heads" in facts or "summary_token" in facts:
        return "its adaptor reads more than the mean of the summary tokens"
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except _FILE_TROUBLE:
        return f"its text tower {source!r} is neither a folder nor within reach on the Hub; name it as text model"
    if not hasattr(config, "text_config"):
        return "no text tower"
    if "siglip" not in config.model_type:
        return f"the summary of a {config.model_type!r} is not in the space of its texts"  # CLIP projects it
    return ""


def _reader(
    source: str, revision: str | None, device: torch.device, width: int | None = None
) -> Callable[[Sequence[str]], Tensor]:
    """Embeds texts as the text side at `source` was trained with them."""
    tower = TextTower(ZenConfig(text_model=source, text_model_revision=revision))

    def texts(sentences: Sequence[str]) -> Tensor:
        try:
            tokens = tower.tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
            output = tower.embed(tokens["input_ids"], tokens.get("attention_mask"), device, torch.float32)
        except _FILE_TROUBLE as error:
            raise UserError(" ".join(str(error).split())) from error
        if width is not None and output.pooler_output.shape[1] != width:
            raise UserError(
                f"text model {_shown(source)!r} has texts of {output.pooler_output.shape[1]} numbers, but frames are "
                f"brought to {width}; it is not the text side of that teacher"
            )
        return _unit(output)

    return texts


def _unit(output: Any) -> Tensor:
    features = output if isinstance(output, Tensor) else output.pooler_output
    return torch.nn.functional.normalize(features.float(), dim=1)


def _open(auto_class: Any, model: str) -> Any:
    try:
        return auto_class.from_pretrained(model)
    except _FILE_TROUBLE as error:
        raise UserError(f"model {_shown(model)!r} cannot be loaded: {' '.join(str(error).split())}") from error


def _shown(model: str) -> str:
    """A Hub id, or the last part of a folder: records must not tell where on a disk it lay."""
    return Path(model).resolve().name if Path(model).is_dir() else model
