"""Models for a stream from folders and Hub ids: what each holds is read from its config, never assumed."""

import os
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor

from modeling_zen.export.runtime import FACTS, ZenExportedModel
from modeling_zen.image_processing_zen import ZenImageProcessor
from modeling_zen.modeling_zen import ZenModel
from modeling_zen.modeling_zen_image import ZenForImageClassification
from modeling_zen.modeling_zen_video import ZenForVideoFrameClassification
from modeling_zen.streaming.recognizer import MULTI_LABEL, PresenceHead, check_phase_head, check_presence_head
from modeling_zen.trunk import stored_config

_HEADS: dict[str, type[PresenceHead]] = {
    each.__name__: each for each in (ZenForVideoFrameClassification, ZenForImageClassification)
}
Folder = str | os.PathLike[str]


def load_encoder(
    model: Folder, *, num_threads: int | None = None
) -> tuple[ZenModel | ZenExportedModel, ZenImageProcessor]:
    """The encoder of any ZEN model, or an exported one, and its image processor.

    Args:
        model: Folder or Hub id; a folder that `export_model` wrote is run by its runtime.
        num_threads: Of an exported model; `None` leaves it to the runtime.

    Raises:
        FileNotFoundError: There is no such folder.
        ImportError: The runtime of an exported model is not installed.
        ValueError: There is no ZEN model in it.
    """
    encoder: ZenModel | ZenExportedModel
    if (Path(model) / FACTS).is_file():
        encoder = ZenExportedModel.from_pretrained(model, num_threads=num_threads)
    else:
        stored_config(str(model), None, {})
        encoder = ZenModel.from_pretrained(model)
    processor: Any = AutoImageProcessor.from_pretrained(model)
    if not isinstance(processor, ZenImageProcessor):
        raise ValueError(f"the image processor of {model} is a {type(processor).__name__}, not a ZenImageProcessor")
    return encoder, processor


def has_head(model: Folder) -> bool:
    """Whether `load_head` would find a head in this folder or repository."""
    return not (Path(model) / FACTS).is_file() and _architecture(model) in _HEADS


def load_head(model: Folder) -> tuple[str, PresenceHead]:
    """`"phase"` or `"presence"`, and the head with its trunk, all of its weights trained.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds another model, or a head of another problem type, or not all weights of the head.
    """
    found = _architecture(model)
    if found not in _HEADS:
        raise ValueError(
            f"{model} holds a {found}, which has neither a temporal head for phases nor a classifier for presence; "
            f"give a {' or a '.join(_HEADS)}"
        )
    # Heads may be new where a user asks for them, to be trained; here they are to answer.
    head, loaded = _HEADS[found].from_pretrained(model, output_loading_info=True)
    if loaded["missing_keys"]:
        missing = sorted(loaded["missing_keys"])
        raise ValueError(
            f"{model} lacks {len(missing)} weights of its {found}, such as {missing[0]}; it is not trained"
        )
    if isinstance(head, ZenForVideoFrameClassification) and head.config.problem_type != MULTI_LABEL:
        check_phase_head(head, str(model))
        return "phase", head
    check_presence_head(head, str(model))
    return "presence", head


def _architecture(model: Folder) -> str:
    config = stored_config(str(model), None, {})
    return (config.architectures or ["model of unknown class"])[0]


__all__ = ["has_head", "load_encoder", "load_head"]
