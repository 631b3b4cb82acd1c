"""From a name to a teacher's files: registry name, Hub id or local folder; strict loading; one sentence per failure."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor

from training.errors import UserError
from training.hub_access import COMMIT, HUB_ERRORS, HUB_ID, HubSource, hub_refusal, resolve_commit, split_revision
from training.registry import unknown_name
from training.teachers.preprocessing import Preprocessing, from_processor
from training.teachers.registry import TEACHERS, find_spec
from training.teachers.spec import TeacherSpec

TEACHER_FILE = "teacher.json"
UNKNOWN_LICENCE = "not stated: see its model card"

# What transformers, safetensors and the Hub raise for files that are missing, out of reach or not what they should be.
_FILE_TROUBLE = (
    *(ValueError, RuntimeError, ImportError, KeyError, TypeError, SafetensorError),
    *HUB_ERRORS,
)
# Parts of a checkpoint that are no part of an image encoder: heads, text towers, decoders of masked autoencoders.
_NOT_THE_ENCODER = {
    *("classifier", "head", "heads", "head_dist", "fc", "lm_head", "decoder", "pooler"),
    *("text_model", "text_projection", "visual_projection", "logit_scale", "logit_bias"),
}
# Video encoders that can be teachers: they take pixel_values_videos and leave out the predictor they come with.
VIDEO_MODELS = {"vjepa2"}
# transformers adds a pooler to these classes that most of their checkpoints lack; random weights would fill it.
_WITHOUT_POOLER = {"vit", "deit"}


@dataclass(frozen=True)
class Checkpoint:
    """Where a teacher's files are and what is known about it before they are opened."""

    name: str
    path: str  # Hub id or folder, as `from_pretrained` takes it
    is_folder: bool
    revision: str | None
    trust_remote_code: bool
    spec: TeacherSpec | None  # from the registry or the folder's teacher.json; None = to be inferred
    licence: str = UNKNOWN_LICENCE
    source: str = ""

    @property
    def public_name(self) -> str:
        """The Hub id, or the folder's own name: records must not tell where on a disk it lay."""
        return Path(self.path).resolve().name if self.is_folder else self.path

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments common to every `from_pretrained` call."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}


def hub_source(name: str, repo: str, revision: str | None) -> HubSource:
    """A model on the Hub, for messages and for the commit that its revision means; `name` is what `fetch` calls it."""
    pinned = f"{name}@{revision}" if revision else name
    return HubSource(
        repo,
        revision,
        f"run `python -m training.teachers fetch {pinned}` where there is a network and bring that cache (HF_HOME) "
        "along, or give a local folder with its files",
    )


def find_checkpoint(name_or_repo: str, *, revision: str | None, trust_remote_code: bool) -> Checkpoint:
    """Say where a teacher is: a folder first, then the registry, then the Hub. `NAME@REVISION` pins as `revision` does.

    Raises:
        UserError: no such folder, a folder that is no model, an unknown name, two revisions, an entry that AutoModel
            cannot load, or `trust_remote_code` without a pinned commit.
    """
    folder = Path(name_or_repo).expanduser()
    if folder.is_dir():
        return _folder_checkpoint(folder, trust_remote_code)
    if not name_or_repo.startswith((".", "/", "~")):
        name_or_repo, named = split_revision(name_or_repo)
        if named and revision and named != revision:
            raise UserError(f"teacher {name_or_repo!r}: its name says revision {named!r}, its setting {revision!r}")
        revision = named or revision
    spec = find_spec(name_or_repo)
    if spec is None and not HUB_ID.fullmatch(name_or_repo):
        if folder.is_absolute() or len(folder.parts) > 1 or name_or_repo.startswith((".", "~")):
            raise UserError(f"teacher folder {name_or_repo!r} does not exist")
        raise unknown_name("teacher", name_or_repo, TEACHERS.names())
    if spec is not None and not spec.loadable:
        raise UserError(f"teacher {spec.name!r} ({spec.repo}) cannot be loaded: {spec.not_loadable}")
    revision = revision or (spec.revision if spec else None)
    if trust_remote_code and not (revision and COMMIT.fullmatch(revision)):
        raise UserError(
            f"teacher {name_or_repo!r}: trust_remote_code runs code from its repository, so it needs a pinned revision "
            f"(the 40 hexadecimal digits of a commit), got revision={revision!r}"
        )
    path = spec.repo if spec else name_or_repo
    return Checkpoint(
        name=spec.name if spec else name_or_repo,
        path=path,
        is_folder=False,
        revision=revision,
        trust_remote_code=trust_remote_code,
        spec=spec,
        licence=spec.licence if spec else UNKNOWN_LICENCE,
        source=spec.source if spec else f"https://huggingface.co/{path}",
    )


def _folder_checkpoint(folder: Path, trust_remote_code: bool) -> Checkpoint:
    """A local folder with config.json and, if it was prepared by this package, teacher.json."""
    if not (folder / "config.json").is_file():
        raise UserError(f"teacher folder {str(folder)!r} has no config.json, so it is not a model that AutoModel loads")
    name = folder.resolve().name
    checkpoint = Checkpoint(name, str(folder), True, None, trust_remote_code, None, source=name)
    facts_file = folder / TEACHER_FILE
    if not facts_file.is_file():
        return checkpoint
    try:
        facts = json.loads(facts_file.read_text(encoding="utf-8"))
        name, licence, source, values = (facts[key] for key in ("name", "licence", "source", "spec"))
        values = dict(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{facts_file}: not a teacher description ({error}); it needs name, licence, source and spec"
        ) from error
    shared = {"name": name, "repo": folder.resolve().name, "licence": licence, "source": source}
    spec = TeacherSpec.from_dict({**values, **shared}, str(facts_file))
    return replace(checkpoint, name=name, spec=spec, licence=licence, source=source)


def open_config(checkpoint: Checkpoint) -> tuple[Any, Checkpoint]:
    """The vision configuration, and the checkpoint with its revision resolved to a commit (Hub only).

    A two-tower configuration (SigLIP, CLIP) gives its vision part.
    """
    with explained(checkpoint, "configuration"):
        if not checkpoint.is_folder:
            # From here on every file comes from one commit, even if the repository moves meanwhile.
            source = hub_source(checkpoint.name, checkpoint.path, checkpoint.revision)
            checkpoint = replace(checkpoint, revision=resolve_commit(source))
        config = AutoConfig.from_pretrained(checkpoint.path, **checkpoint.arguments())
    return getattr(config, "vision_config", None) or config, checkpoint


def open_model(checkpoint: Checkpoint, config: Any) -> nn.Module:
    """The encoder in float32 with every weight from the file.

    Raises:
        UserError: files missing or unreadable, a weight of the encoder that the file lacks (it would be random), or
            tensors in the file that the encoder does not know.
    """
    extra = {"add_pooling_layer": False} if config.model_type in _WITHOUT_POOLER else {}
    with explained(checkpoint, "weights"):
        model, report = AutoModel.from_pretrained(
            checkpoint.path,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            **checkpoint.arguments(),
            **extra,
        )
    if config.model_type in VIDEO_MODELS:
        del model.predictor  # guesses masked tokens from the encoder's
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("predictor."))
    unknown = sorted(key for key in report["unexpected_keys"] if not _NOT_THE_ENCODER & set(key.split(".")))
    for keys, verdict in (
        (missing, "the file lacks weights of the encoder"),
        (unknown, "the encoder has no place for"),
    ):
        if keys:
            shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise UserError(
                f"teacher {checkpoint.name!r}: {verdict}: {shown}; config.json and the weights are not of one model"
            )
    return model


def fresh_model(config: Any) -> nn.Module:
    """The encoder that `open_model` gives, with random weights from its own initialization."""
    extra = {"add_pooling_layer": False} if config.model_type in _WITHOUT_POOLER else {}
    model = AutoModel.from_config(config, dtype=torch.float32, **extra)
    if config.model_type in VIDEO_MODELS:
        del model.predictor
    return model


def open_preprocessing(checkpoint: Checkpoint, config: Any) -> Preprocessing:
    """What the teacher's own processor says; `UserError` when there is none or it does not state mean and std."""
    if config.model_type in VIDEO_MODELS:
        with explained(checkpoint, "video processor"):
            processor = AutoVideoProcessor.from_pretrained(checkpoint.path, **checkpoint.arguments())
            written, _ = type(processor).get_video_processor_dict(checkpoint.path, revision=checkpoint.revision)
        return from_processor(checkpoint.name, processor, written)
    # timm's wrapped processor exists in one backend only; asking for that one avoids a warning.
    extra = {"backend": "pil"} if config.model_type == "timm_wrapper" else {}
    with explained(checkpoint, "image processor"):
        processor = AutoImageProcessor.from_pretrained(checkpoint.path, **checkpoint.arguments(), **extra)
        written, _ = type(processor).get_image_processor_dict(checkpoint.path, revision=checkpoint.revision)
    return from_processor(checkpoint.name, processor, written)


def hash_weights(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors: the same for every sharding and file format."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # a 0-d tensor has no bytes to view before it is flattened
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def explained(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    """Turn what transformers and the Hub raise for a teacher's files into one sentence."""
    try:
        yield
    except UserError:
        raise
    except _FILE_TROUBLE as error:
        raise UserError(_sentence(checkpoint, what, error)) from error


def _sentence(checkpoint: Checkpoint, what: str, error: Exception) -> str:
    """The likely reason and the way out."""
    who = f"teacher {checkpoint.name!r}"
    if not checkpoint.is_folder:
        if refusal := hub_refusal(hub_source(checkpoint.name, checkpoint.path, checkpoint.revision), error):
            return f"{who}: {refusal}"
        if isinstance(error, EntryNotFoundError) or isinstance(error.__cause__, EntryNotFoundError):
            return f"{who}: {checkpoint.path} lacks the file of its {what}"
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        return f"{who}: it needs code from its repository; set trust_remote_code and pin its revision to a commit"
    return f"{who}: its {what} cannot be read: {first_line}"
