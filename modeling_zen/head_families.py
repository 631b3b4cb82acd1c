"""Which config and processor each family of transformers' heads needs, to stand on a ZEN trunk.

    config = head_config("mask2former", "path/to/zen", num_labels=8)
    model = load_trunk(Mask2FormerForUniversalSegmentation(config), "path/to/zen")
    processor = head_processor("mask2former", "path/to/zen")

Each family wants the maps of its backbone in another form, has fields that must agree with it, and has defaults made
for other backbones. `HEAD_FAMILIES` is the table of that. A head that was saved is loaded as any other,
`from_pretrained(folder)`, once `modeling_zen` was imported.

What cannot have a ZEN trunk in transformers 5.23: `DPTForSemanticSegmentation`, which never reads `backbone_config` but
builds a vision transformer of its own (`"upernet"` and `"mask2former"` segment); RF-DETR and LW-DETR, which accept none
but their own backbones; EoMT, which is an encoder itself. The depth heads (DPT, DepthAnything, ZoeDepth) refuse
`labels`: train them by `modeling_zen.losses_zen.depth_loss` on their `predicted_depth`.
"""

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto import CONFIG_MAPPING

from modeling_zen.adapter_zen import in_a_line
from modeling_zen.configuration_zen import ZenConfig
from modeling_zen.image_processing_zen import ZenImageProcessor
from modeling_zen.trunk import Form, split_options, stored_config, zen_backbone_config

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class HeadFamily:
    """How a family of heads reads its backbone.

    Args:
        model: Class of transformers.
        processor: Class of transformers that prepares its images and labels.
        form: As in `zen_backbone_config`.
        num_stages: Stages of the encoder it reads, spread evenly over the depth; 1 is the last.
        trunk: Further fields of the trunk.
        fields: Fields of the head that must agree with the trunk, given the trunk and what the user has set.
        size_multiple: Height and width must be multiples of so many patches.
        decoder_layers: How many it needs at least; with fewer, transformers fails on tied weights.
        processing: Settings of the processor, given the trunk.
    """

    model: str
    processor: str
    form: Form
    num_stages: int = 1
    trunk: Mapping[str, Any] | None = None
    fields: Callable[[ZenConfig, Mapping[str, Any]], dict[str, Any]] = lambda trunk, given: {}
    size_multiple: int = 1
    decoder_layers: int = 1
    processing: Callable[[ZenConfig], dict[str, Any]] = lambda trunk: {}


def _depth_anything(trunk: ZenConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    # Its own defaults are for patches of 14 and for relative depth, whose ReLU can die at 0.
    metric = {"depth_estimation_type": "metric", "max_depth": math.ceil(trunk.max_depth)}
    return {"patch_size": trunk.patch_size, "reassemble_hidden_size": trunk.hidden_size, **metric}


def _zoedepth(trunk: ZenConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    # The default bins ("softplus") start at 0.7 whatever their bounds are: fit for meters, not for ZEN's millimeters.
    bins = {"n_bins": 64, "min_depth": trunk.min_depth, "max_depth": trunk.max_depth}
    return {"bin_configurations": [bins], "bin_centers_type": "normed"}


def _mask2former_processing(trunk: ZenConfig) -> dict[str, Any]:
    return {"size_divisor": trunk.patch_size}  # it rounds sizes up to multiples of 32 by default


def _zoedepth_processing(trunk: ZenConfig) -> dict[str, Any]:
    # By default it reflects the borders outwards and keeps the aspect ratio, which leaves the grid of patches.
    return {"do_pad": False, "keep_aspect_ratio": False, "ensure_multiple_of": trunk.patch_size}


def _hybrid_encoder(trunk: ZenConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    # The defaults are the channels of a ResNet-50.
    factors = trunk.pyramid_scale_factors or ()
    return {
        "encoder_in_channels": [trunk.hidden_size] * len(factors),
        "feat_strides": [round(trunk.patch_size / factor) for factor in factors],
        "decoder_in_channels": [given.get("encoder_hidden_dim", 256)] * len(factors),
    }


_THREE_STRIDES: dict[str, Any] = {"pyramid_scale_factors": [2, 1, 0.5]}  # 8, 16, 32 with patches of 16
_HYBRID: dict[str, Any] = {
    "processor": "RTDetrImageProcessor",
    "form": "pyramid",
    "trunk": _THREE_STRIDES,
    "fields": _hybrid_encoder,
    # It doubles the coarsest map and lays it beside the next finer one: an odd grid would not come out even.
    "size_multiple": 2,
    "decoder_layers": 2,
    "processing": lambda trunk: {"do_normalize": True},  # off by default; a ZEN trunk reads normalised pixels
}

# By the model_type of transformers.
HEAD_FAMILIES: dict[str, HeadFamily] = {
    "upernet": HeadFamily(
        "UperNetForSemanticSegmentation", "SegformerImageProcessor", "pyramid", num_stages=4
    ),  # one stage per stride, as BEiT feeds it (arXiv:2106.08254)
    "mask2former": HeadFamily(
        "Mask2FormerForUniversalSegmentation",
        "Mask2FormerImageProcessor",
        "pyramid",
        processing=_mask2former_processing,
    ),  # all strides from the last stage, as ViTDet
    "dpt": HeadFamily("DPTForDepthEstimation", "DPTImageProcessor", "tokens", num_stages=4),
    "depth_anything": HeadFamily(
        "DepthAnythingForDepthEstimation", "DPTImageProcessor", "tokens", num_stages=4, fields=_depth_anything
    ),
    "zoedepth": HeadFamily(
        "ZoeDepthForDepthEstimation",
        "ZoeDepthImageProcessor",
        "tokens",
        num_stages=4,
        fields=_zoedepth,
        processing=_zoedepth_processing,
    ),
    "detr": HeadFamily("DetrForObjectDetection", "DetrImageProcessor", "map"),
    "conditional_detr": HeadFamily("ConditionalDetrForObjectDetection", "ConditionalDetrImageProcessor", "map"),
    "deformable_detr": HeadFamily(
        "DeformableDetrForObjectDetection",
        "DeformableDetrImageProcessor",
        "pyramid",
        trunk=_THREE_STRIDES,  # it makes the fourth level itself
        decoder_layers=2,
    ),
    "rt_detr": HeadFamily("RTDetrForObjectDetection", **{**_HYBRID, "decoder_layers": 1}),
    "rt_detr_v2": HeadFamily("RTDetrV2ForObjectDetection", **_HYBRID),
    "d_fine": HeadFamily("DFineForObjectDetection", **_HYBRID),
}


def head_config(
    family: str, folder_or_id: str | Path, *, revision: str | None = None, **overrides: Any
) -> PreTrainedConfig:
    """The config of a head of transformers on a ZEN trunk; `load_trunk` then fills in the weights.

    Args:
        family: A name in `HEAD_FAMILIES`.
        folder_or_id: Folder or Hub id of any ZEN model.
        revision: Commit, branch or tag on the Hub.
        overrides: Fields of the head's config, such as `num_labels`; `backbone_config`, a `ZenConfig`, for a trunk of
            another form.

    Returns:
        A config of the class that the family has in transformers.

    Raises:
        FileNotFoundError: As `zen_backbone_config`.
        ValueError: An unknown family, an unknown field, a `backbone_config` that is no `ZenConfig`, too few decoder
            layers, or as `zen_backbone_config`.
    """
    known = _family(family)
    hub_options, fields = split_options(overrides)
    trunk = fields.pop("backbone_config", None) or zen_backbone_config(
        folder_or_id, known.form, num_stages=known.num_stages, revision=revision, **(known.trunk or {}), **hub_options
    )
    if not isinstance(trunk, ZenConfig):
        raise ValueError(f"backbone_config must be a ZenConfig, as zen_backbone_config makes it, not {trunk!r}")
    config_class = CONFIG_MAPPING[family]
    names = {*config_class.__dataclass_fields__, *config_class.attribute_map, "num_labels"}
    _refuse_unknown(fields, names, f"{config_class.__name__} has no field")
    if fields.get("decoder_layers", known.decoder_layers) < known.decoder_layers:
        raise ValueError(
            f"{config_class.__name__} needs decoder_layers >= {known.decoder_layers}, not {fields['decoder_layers']}"
        )
    return AutoConfig.for_model(family, backbone_config=trunk, **{**known.fields(trunk, fields), **fields})


def head_processor(
    family: str,
    folder_or_id: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    revision: str | None = None,
    **overrides: Any,
) -> Any:
    """The image processor of a head, making images as the trunk knows them.

    It brings the annotations and post-processing of the family; mean, standard deviation and interpolation are those
    of the ZEN processor in the folder, and the size is fixed, since an image off the grid of patches is an error.

    Args:
        family: A name in `HEAD_FAMILIES`.
        folder_or_id: Folder or Hub id of a ZEN model with its processor.
        size: Pixels, one number or (height, width). `None`: that of the ZEN processor.
        revision: Commit, branch or tag on the Hub.
        overrides: Settings of the family's processor.

    Returns:
        An image processor of the class that the family has in transformers.

    Raises:
        FileNotFoundError: As `zen_backbone_config`; or there is no processor.
        ValueError: An unknown family or setting, or a size off the grid that the head needs.
    """
    known = _family(family)
    hub_options, settings = split_options(overrides)
    trunk = stored_config(folder_or_id, revision, hub_options)
    processor_class = getattr(transformers, known.processor)
    _refuse_unknown(settings, get_type_hints(processor_class.valid_kwargs), f"{known.processor} has no setting")
    try:
        own = ZenImageProcessor.from_pretrained(folder_or_id, revision=revision or "main", **hub_options)
    except OSError as error:
        raise FileNotFoundError(f"no ZenImageProcessor in {folder_or_id}: {in_a_line(error)}") from error
    if size is None:
        size = own.size["height"], own.size["width"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    step = known.size_multiple * trunk.patch_size
    if len(sides) != 2 or any(side <= 0 or side % step for side in sides):
        raise ValueError(
            f"{known.model} on patches of {trunk.patch_size} pixels needs a height and width that are multiples of "
            f"{step}, not {' x '.join(str(side) for side in sides)}"
        )
    height, width = sides
    same = {name: getattr(own, name) for name in ("image_mean", "image_std", "resample")}
    fixed = {"size": {"height": height, "width": width}, "do_resize": True}
    return processor_class(**{**same, **fixed, **known.processing(trunk), **settings})


def start_depth(model: Model, depth: float) -> Model:
    """Let a fresh `DPTForDepthEstimation` begin at a depth, instead of at 0, where it can stay for ever.

    Its last layer is a ReLU behind a convolution without bias to begin with: where that is negative, which for half
    of all random weights is everywhere, the prediction is 0 and no gradient comes back. The other depth heads end in
    functions that cannot die.

    Args:
        model: The head, before training.
        depth: In the unit of the labels, such as the median of the training set.

    Returns:
        `model` itself.

    Raises:
        ValueError: Another model, or a depth that is not positive.
    """
    if type(model).__name__ != "DPTForDepthEstimation":
        raise ValueError(f"start_depth is for DPTForDepthEstimation; {type(model).__name__} does not end in a ReLU")
    if not depth > 0:
        raise ValueError(f"depth must be positive, not {depth}")
    last = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.out_channels == 1][-1]
    assert last.bias is not None
    nn.init.constant_(last.bias, depth)
    return model


def _refuse_unknown(given: Iterable[str], known: Collection[str], complaint: str) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"{complaint} {name!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))


def _family(name: str) -> HeadFamily:
    if name not in HEAD_FAMILIES:
        close = difflib.get_close_matches(name, HEAD_FAMILIES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown family of heads {name!r}{hint}; there are {', '.join(sorted(HEAD_FAMILIES))}")
    return HEAD_FAMILIES[name]


__all__ = ["HEAD_FAMILIES", "HeadFamily", "head_config", "head_processor", "start_depth"]
