"""ZEN as a backbone: a trained model from a folder or Hub id."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel

import modeling_zen  # noqa: F401  registers ZEN with the Auto classes: no remote code is needed
from evaluation.backbones.backbone import (
    FrameNetwork,
    Identity,
    NetworkBackbone,
    Role,
    Tokens,
    sha256_of_json,
    sha256_of_weights,
)
from training.errors import UserError
from training.hub_access import HUB_ERRORS, HubSource, explained, hub_refusal, resolve_commit, split_revision
from training.teachers.checkpoint import hub_source
from training.teachers.preprocessing import Preprocessing

MODEL_TYPE = "zen"


class ZenNetwork(FrameNetwork):
    """A ZenModel behind its preprocessing: the pooled summary tokens and the patch tokens, after the final norm.

    Without a size in `preprocessing` frames are taken as they are; with one they are resized to it.
    """

    model: Any  # ZenModel, as AutoModel gives it

    def __init__(self, name: str, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.name = name  # for messages
        self.model = model
        self.preprocessing = preprocessing
        self.widths = (int(model.config.hidden_size), int(model.config.hidden_size))

    def check_size(self, image_size: int) -> None:
        """Raise `UserError` unless `image_size` is a multiple of the patch, or frames are resized anyway."""
        patch = int(self.model.config.patch_size)
        if self.preprocessing.size is None and image_size % patch:
            below = image_size // patch * patch
            legal = f"{below} or {below + patch}" if below else str(patch)
            raise UserError(
                f"image size {image_size} is not a multiple of the patch {patch} of {self.name}; use {legal} instead"
            )

    def forward(self, pixels: Tensor) -> Tokens:
        """Tokens of frames whose H and W are multiples of the patch; the arguments are those of `FrameNetwork`."""
        height, width = self.preprocessing.size or (pixels.shape[-2], pixels.shape[-1])
        output = self.model(self.preprocessing.normalize(self.preprocessing.resize(pixels, (height, width))))
        dense = self.model.dense_tokens(output.last_hidden_state, height, width)
        return Tokens(output.pooler_output, dense)

    def fresh(self) -> "ZenNetwork":
        """The architecture of the model's configuration with random weights."""
        return ZenNetwork(self.name, AutoModel.from_config(self.model.config), self.preprocessing)


def load_zen(model: str, device: torch.device, role: Role = "student") -> NetworkBackbone:
    """The trained model from a folder or a Hub id, `ORG/NAME[@REVISION]`; of the latter all files are of one commit.

    Raises:
        UserError: a folder that does not exist or lacks a file, a repository that the Hub does not give, or a model of
            another type.
    """
    source = None if Path(model).is_dir() else pinned(model)
    model = source.repo if source else model
    config = _load(AutoConfig, model, source)
    if config.model_type != MODEL_TYPE:
        raise UserError(f"model {model!r} is a {config.model_type!r}, not a {MODEL_TYPE!r}")
    processor = _load(AutoImageProcessor, model, source)
    trained = _load(AutoModel, model, source)
    display = display_name(model)
    identity = Identity(
        id=display,
        revision=source.revision if source else None,
        weights_sha256=sha256_of_weights(trained.state_dict()),
        preprocessing_sha256=sha256_of_json(_normalization(processor)),
    )
    return NetworkBackbone(display, role, ZenNetwork(display, trained, _preprocessing(processor)), identity, device)


def display_name(model: str) -> str:
    """A Hub id as it is; of a folder its name, with its parent's before it when it is just called `hub`."""
    path = Path(model)
    if not path.is_dir():
        return model
    path = path.resolve()
    return f"{path.parent.name}/{path.name}" if path.name == "hub" else path.name


def pinned(model: str) -> HubSource:
    """`ORG/NAME[@REVISION]` at the commit that it means now; `UserError` if the Hub does not give it."""
    # A Hub id has at most one slash and does not begin like a path.
    if model.partition("@")[0].count("/") > 1 or model.startswith((".", "/", "~")):
        raise UserError(f"model folder {model!r} does not exist")
    repo, revision = split_revision(model)
    source = hub_source(repo, repo, revision)
    with explained(f"model {repo!r}", source):
        return hub_source(repo, repo, resolve_commit(source))


def _load(auto_class: Any, model: str, source: HubSource | None) -> Any:
    """`auto_class.from_pretrained(model)`; what it refuses (missing file, weights that do not fit) is one sentence."""
    try:
        return auto_class.from_pretrained(model, revision=source.revision if source else None)
    except (ValueError, RuntimeError, *HUB_ERRORS) as error:
        if source and (refusal := hub_refusal(source, error)):
            raise UserError(f"model {model!r}: {refusal}") from None
        raise UserError(f"model {model!r} cannot be loaded: {' '.join(str(error).split())}") from error


def _preprocessing(processor: Any) -> Preprocessing:
    """Rescaling and mean/std of a ZEN processor, for images in [0, 1] that are of their final size already."""
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if processor.do_normalize:
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    scale = 255 * float(processor.rescale_factor) if processor.do_rescale else 255.0
    return Preprocessing(mean, std, scale, channel_order="rgb", interpolation="bilinear")


def _normalization(processor: Any) -> dict[str, Any]:
    names = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    return {name: getattr(processor, name, None) for name in names}
