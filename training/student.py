"""The student of a run: a new ZEN, or one that begins with converted foreign weights."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from modeling_zen.conversion import convert
from training.errors import UserError
from training.hub_access import HUB_ID, explained, resolve_commit
from training.teachers.checkpoint import hub_source


@dataclass(frozen=True)
class StudentConfig:
    """The model to train."""

    size: str = "small"  # nano | tiny | small | base | large
    image_size: int = 224  # pixels of the square training input; a multiple of the patch
    # Folder or Hub id of weights to begin with: a ZEN, or one that modeling_zen.conversion reads (DINOv2, DINOv3, ViT,
    # ...). They say the size then; null begins at random.
    init: str | None = None
    init_revision: str | None = None  # commit, tag or branch of `init` on the Hub
    layerscale_value: float = 0.1  # start of LayerScale; 1.0 learns faster in short runs of shallow students
    initializer_range: float = 0.02  # deviation of the first weights; about 1 / sqrt(width) learns faster in short runs
    drop_path_rate: float = 0.0  # stochastic depth; distillation on much data needs none
    num_summary_tokens: int = 1  # one summary token shared by all teachers
    gradient_checkpointing: bool = False  # computes activations twice: a third more time, a fraction of the memory
    compile: bool = False  # torch.compile of the student; pays on GPUs after a minute

    def __post_init__(self) -> None:
        """Let the model's own config refuse what it cannot be, before anything is loaded."""
        try:
            self.build()
        except ValueError as error:
            raise UserError(f"student: {error}") from error

    def build(self) -> ZenConfig:
        """The configuration of a new student."""
        return ZenConfig.from_size(
            self.size,
            image_size=self.image_size,
            layerscale_value=self.layerscale_value,
            initializer_range=self.initializer_range,
            drop_path_rate=self.drop_path_rate,
            num_summary_tokens=self.num_summary_tokens,
        )


def build_student(config: StudentConfig) -> tuple[ZenModel, ZenImageProcessor]:
    """The student in training mode and the processor that travels with it.

    Raises:
        UserError: the weights to begin with are missing, do not fill the model, or contradict the settings.
    """
    if config.init is None:
        model, processor = ZenModel(config.build()), ZenImageProcessor()
    else:
        loaded, processor = _load(config.init, config.init_revision)
        found = loaded.config
        if config.num_summary_tokens != found.num_summary_tokens:
            raise UserError(
                f"student.num_summary_tokens={config.num_summary_tokens}, but the weights of "
                f"student.init={config.init!r} have {found.num_summary_tokens}"
            )
        if config.image_size % found.patch_size:
            raise UserError(
                f"student.image_size={config.image_size} is no multiple of the patch of student.init={config.init!r}, "
                f"{found.patch_size} pixels"
            )
        found.image_size, found.drop_path_rate = config.image_size, config.drop_path_rate
        model = ZenModel(found)  # anew, because the layers take their drop path rate when they are made
        model.load_state_dict(loaded.state_dict(), strict=True)
    size = config.image_size
    processor = ZenImageProcessor(
        size={"height": size, "width": size}, image_mean=processor.image_mean, image_std=processor.image_std
    )
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.train(), processor


def _load(source: str, revision: str | None) -> tuple[ZenModel, ZenImageProcessor]:
    """A ZEN as it is, anything else through the strict converters; all files of a repository are of one commit."""
    who = f"student.init={source!r}"
    hub = hub_source(source, source, revision) if HUB_ID.fullmatch(source) and not Path(source).exists() else None
    try:
        with explained(who, hub) if hub else nullcontext():
            commit = resolve_commit(hub) if hub else revision
            if _is_zen(source, commit):
                at = commit or "main"  # of a folder it says nothing
                return ZenModel.from_pretrained(source, revision=at), ZenImageProcessor.from_pretrained(
                    source, revision=at
                )
            return convert(source, revision=commit)
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(f"{who}: {error}") from error


def _is_zen(source: str, commit: str | None) -> bool:
    if Path(source).is_file():
        return False
    try:
        config, _ = PreTrainedConfig.get_config_dict(source, revision=commit)
    except OSError:
        return False  # no config.json, or out of reach: whoever converts it says which
    return bool(config.get("model_type") == "zen")
