"""`convert`: a foreign checkpoint becomes a `ZenModel` and its processor, exactly or not at all."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..configuration_zen import ZenConfig
from ..image_processing_zen import ZenImageProcessor
from ..modeling_zen import ZenModel
from .checkpoint import Checkpoint, open_checkpoint, select_encoder
from .family import Family, Options, Plan, find_family
from .licences import check_licence, is_non_commercial
from .mapping import map_weights
from .preprocessing import make_processor, settings_of_folder


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint.

    Attributes:
        model: In evaluation mode, float32.
        processor: With the preprocessing of the source.
        report: Where it came from, what became of each key, under which licence it stands; plain JSON values.
    """

    model: ZenModel
    processor: ZenImageProcessor
    report: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Write a folder that every Auto class loads, with conversion.json in it; all of it or nothing.

        Raises:
            FileExistsError: `folder` is there and not empty.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"{folder} exists and is not empty: choose another place for the converted model")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self.model.save_pretrained(unfinished)
            self.processor.save_pretrained(unfinished)
            (unfinished / "conversion.json").write_text(json.dumps(self.report, indent=2) + "\n", encoding="utf-8")
            unfinished.chmod(0o755)  # mkdtemp makes folders for the owner alone
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def convert(source: str | Path, family: str | None = None, **options: Any) -> tuple[ZenModel, ZenImageProcessor]:
    """Convert a foreign checkpoint.

    Args:
        source: A folder of transformers or timm, a Hub id, or a file of weights (.safetensors, .pth, .pt, .bin).
        family: Which family it is of (`FAMILIES`); config.json tells it, a file does not.
        options: As in `convert_checkpoint`.

    Returns:
        The model, in evaluation mode and float32, and its processor. `pooler_output` is the mean of the summary
        tokens, whatever the original pooled.

    Raises:
        ValueError, FileNotFoundError: As `convert_checkpoint`.
    """
    conversion = convert_checkpoint(source, family, **options)
    return conversion.model, conversion.processor


def convert_checkpoint(
    source: str | Path | Checkpoint,
    family: str | None = None,
    *,
    num_heads: int | None = None,
    num_register_tokens: int | None = None,
    image_size: int | Sequence[int] | None = None,
    branch: str | None = None,
    revision: str | None = None,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    licence: str | None = None,
    accept_noncommercial: bool = False,
) -> Conversion:
    """Convert a foreign checkpoint and report on it.

    Args:
        source: As in `convert`, or a checkpoint that has been read.
        family: As in `convert`.
        num_heads: Attention heads. Needed for a file whose size is not published and whose family does not store it.
        num_register_tokens: How many registers a file rightly has, where its family has another number; 0 says that
            it never had any.
        image_size: Pixels of the image that the learned positions of a file belong to, one number or (height, width);
            needed if they are no square.
        branch: Which encoder of a checkpoint with several, such as `"teacher"`.
        revision: Commit, tag or branch on the Hub.
        image_mean: Per channel, of pixels in [0, 1]. Needed where the source has no processor.
        image_std: The same.
        licence: Licence of the weights, if the source does not say or says it wrongly.
        accept_noncommercial: Whether a licence that forbids commercial use is accepted.

    Raises:
        ValueError: The family is unknown, the checkpoint does not hold exactly what its family has (all keys are
            named), something that it does not say was not given, or its licence was not accepted.
        FileNotFoundError: There is no such source.
    """
    checkpoint = source if isinstance(source, Checkpoint) else open_checkpoint(source, revision)
    chosen = find_family(family, checkpoint)
    stated = licence or checkpoint.card_licence
    # A card cannot free weights that their authors restrict; the caller, who may know better, can.
    if stated is None or (licence is None and is_non_commercial(str(chosen.licence))):
        stated = chosen.licence(checkpoint) if callable(chosen.licence) else chosen.licence
    resolved = check_licence(checkpoint.name, stated, accept_noncommercial)
    sides = [image_size] * 2 if isinstance(image_size, int) else image_size
    if sides is not None and len(sides) != 2:
        raise ValueError(f"image_size must be one number or (height, width) in pixels, not {list(sides)}")
    options = Options(num_heads, num_register_tokens, (sides[0], sides[1]) if sides is not None else None)
    encoder = select_encoder(checkpoint, chosen.marker, branch)
    plan = chosen.plan(checkpoint, encoder, options)
    model, keys = _fill(plan, f"{checkpoint.name} as family {chosen.name!r}")
    settings, origin = _preprocessing(chosen, checkpoint, plan)
    processor = make_processor(settings, image_mean, image_std, checkpoint.name)
    if image_mean is not None or image_std is not None:
        origin = f"{origin}, normalisation by the caller"
    report = {
        "source": checkpoint.name,
        "revision": checkpoint.revision,
        "family": chosen.name,
        "branch": encoder.branch,
        "licence": resolved,
        "weights_sha256": checkpoint.sha256,
        "num_attention_heads": model.config.num_attention_heads,
        "preprocessing_from": origin,
        "keys": keys,
        "not_read": list(encoder.not_read),
        "notes": plan.notes,
    }
    return Conversion(model, processor, report)


def _fill(plan: Plan, description: str) -> tuple[ZenModel, dict[str, Any]]:
    state, keys = map_weights(plan.tensors, plan.rules, plan.ignorables, description)
    with torch.device("meta"):  # every weight is replaced: there is nothing to initialise
        model = ZenModel(ZenConfig(**plan.config))
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval(), asdict(keys)


def _preprocessing(family: Family, checkpoint: Checkpoint, plan: Plan) -> tuple[dict[str, Any] | None, str]:
    """Settings of the processor, and who says so."""
    if plan.preprocessing is not None:
        return plan.preprocessing, "source"
    if checkpoint.folder is not None:
        settings = settings_of_folder(checkpoint.folder, checkpoint.name)
        if settings is not None:
            return settings, "source"
    if family.published is not None:
        return family.published.settings(), f"as published for {family.name}"
    return None, "size by default"


__all__ = ["Conversion", "convert", "convert_checkpoint"]
