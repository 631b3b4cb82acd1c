"""ZEN as a backbone: a trained model folder or Hub id, and the same architecture with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel

import modeling_zen  # noqa: F401  registers ZEN with the Auto classes: no remote code is needed
from evaluation.backbones.backbone import Features, Identity, Role, sha256_of_json, sha256_of_weights
from training.errors import UserError

MODEL_TYPE = "zen"


class ZenBackbone:
    """A ZenModel and its image processor. Frames arrive at their final size, so of the processor only rescaling and
    mean/std are used; summary is the pooled summary tokens, dense the patch tokens, both after the final norm.
    """

    def __init__(
        self, name: str, role: Role, model: Any, processor: Any, *, id: str, revision: str | None, device: torch.device
    ) -> None:
        self.name = name
        self.role = role
        self.summary_width = self.dense_width = int(model.config.hidden_size)
        self._model = model.eval().to(device)
        self._processor = processor
        self._device = device
        self.identity = Identity(
            id=id,
            revision=revision,
            weights_sha256=sha256_of_weights(model.state_dict()),
            preprocessing_sha256=sha256_of_json(_normalization(processor)),
        )

    def check_size(self, image_size: int) -> None:
        """Raise `UserError` unless `image_size` is a multiple of the patch."""
        patch = int(self._model.config.patch_size)
        if image_size % patch:
            below = image_size // patch * patch
            legal = f"{below} or {below + patch}" if below else str(patch)
            raise UserError(
                f"image size {image_size} is not a multiple of the patch {patch} of {self.name}; use {legal} instead"
            )

    @torch.inference_mode()
    def extract(self, images: np.ndarray) -> Features:
        """Features of images, uint8 (B, H, W, 3) RGB, H and W multiples of the patch."""
        channels_first = torch.from_numpy(images).permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W)
        as_they_are = {"do_resize": False, "do_crop_field_of_view": False}
        pixels = self._processor(list(channels_first), **as_they_are, return_tensors="pt")["pixel_values"]
        output = self._model(pixels.to(self._device))
        dense = self._model.dense_tokens(output.last_hidden_state, images.shape[1], images.shape[2])
        return Features(output.pooler_output.float().cpu().numpy(), dense.float().cpu().numpy())


def load_zen(model: str, device: torch.device) -> ZenBackbone:
    """The trained student from a folder or a Hub id.

    Raises:
        UserError: a folder that does not exist or lacks a file, or a model of another type.
    """
    config = _load(AutoConfig, model)
    if config.model_type != MODEL_TYPE:
        raise UserError(f"model {model!r} is a {config.model_type!r}, not a {MODEL_TYPE!r}; name it under --teachers")
    processor = _load(AutoImageProcessor, model)
    trained = _load(AutoModel, model)
    display = display_name(model)
    revision = getattr(config, "_commit_hash", None)
    return ZenBackbone(display, "student", trained, processor, id=display, revision=revision, device=device)


def random_init(student: ZenBackbone, seed: int, device: torch.device) -> ZenBackbone:
    """The student's architecture and processor, weights drawn afresh from `seed`; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(student._model.config)
    name = "random init"
    return ZenBackbone(name, "random_init", model, student._processor, id="random_init", revision=None, device=device)


def display_name(model: str) -> str:
    """A Hub id as it is; of a folder its name, with its parent's before it when it is just called `hub`."""
    path = Path(model)
    if not path.is_dir():
        return model
    path = path.resolve()
    return f"{path.parent.name}/{path.name}" if path.name == "hub" else path.name


def _load(auto_class: Any, model: str) -> Any:
    """`auto_class.from_pretrained(model)`; what it refuses (missing file, weights that do not fit) is one sentence."""
    # A Hub id has at most one slash and does not begin like a path.
    if not Path(model).is_dir() and (model.count("/") > 1 or model.startswith((".", "/", "~"))):
        raise UserError(f"model folder {model!r} does not exist")
    try:
        return auto_class.from_pretrained(model)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"model {model!r} cannot be loaded: {' '.join(str(error).split())}") from error


def _normalization(processor: Any) -> dict[str, Any]:
    names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    return {name: getattr(processor, name, None) for name in names}
