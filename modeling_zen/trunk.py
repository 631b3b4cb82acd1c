"""The weights of a ZEN trunk in any model with a `ZenBackbone` inside, loaded strictly.

A head of transformers that is built from a config has a random trunk, and `AutoBackbone.from_pretrained` reads no local
folders. `load_trunk` fills the trunk of a head, `load_zen_backbone` makes a backbone alone. Which config a head needs,
so that its trunk comes out as it expects it, is the matter of `modeling_zen.head_families`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from modeling_zen.adapter_zen import (
    ENCODER_FIELDS,
    FREE_ENCODER_FIELDS,
    HUB_OPTIONS,
    encoder_differences,
    in_a_line,
    is_folder,
    refuse_unknown_options,
)
from modeling_zen.configuration_zen import ZenConfig
from modeling_zen.modeling_zen import ZenBackbone, ZenModel

Model = TypeVar("Model", bound=nn.Module)
Form = Literal["map", "tokens", "patches", "pyramid"]

# What a head of transformers takes over with the trunk: the fields of the encoder, and the bounds of its depths.
_TAKEN_OVER = (*ENCODER_FIELDS, *FREE_ENCODER_FIELDS, "min_depth", "max_depth")
# Arguments of `from_pretrained` that say where to look; `revision` is one by itself here.
_HUB_OPTIONS = frozenset(HUB_OPTIONS) - {"revision"}

# What `ZenBackbone` returns, by the words of transformers' heads.
_FORMS: dict[str, dict[str, Any]] = {
    "map": {},  # (batch, hidden, rows, columns) per stage
    "tokens": {"reshape_hidden_states": False},  # (batch, 1 + rows * columns, hidden) per stage, without registers
    "patches": {"reshape_hidden_states": False, "return_class_token": False},  # (batch, rows * columns, hidden)
    "pyramid": {"pyramid_scale_factors": [4, 2, 1, 0.5]},  # maps of strides 4, 8, 16, 32 with patches of 16
}


def zen_backbone_config(
    folder_or_id: str | Path, form: Form = "map", *, num_stages: int = 1, revision: str | None = None, **overrides: Any
) -> ZenConfig:
    """The config of a ZEN trunk, for the `backbone_config` of a head.

    Args:
        folder_or_id: Folder or Hub id of any ZEN model.
        form: `"map"` (batch, hidden, rows, columns) per stage; `"tokens"` (batch, 1 + rows * columns, hidden), the
            summary token first; `"patches"`, the same without it; `"pyramid"`, maps of 4, 2, 1 and 1/2 times the grid
            (`pyramid_scale_factors` for others).
        num_stages: Stages to return, spread evenly over the depth: 3, 6, 9, 12 of twelve layers. 1 is the last.
        revision: Commit, branch or tag on the Hub.
        overrides: Fields of `ZenConfig`, such as `drop_path_rate` or `out_features`; and `cache_dir`,
            `local_files_only`, `subfolder`, `token` or `force_download` of `from_pretrained`.

    Returns:
        The encoder's fields as stored and those of the form; nothing of a head the folder was saved with.

    Raises:
        FileNotFoundError: There is no such folder, or no config in it.
        ValueError: An unknown form, more stages than layers, or as `ZenConfig`.
    """
    if form not in _FORMS:
        raise ValueError(f"unknown form {form!r}; a ZenBackbone returns {', '.join(_FORMS)}")
    hub_options, fields = split_options(overrides)
    stored = stored_config(folder_or_id, revision, hub_options)
    kept = {name: getattr(stored, name) for name in _TAKEN_OVER}
    if not {"out_features", "out_indices"} & fields.keys():
        fields["out_indices"] = _spread(num_stages, fields.get("num_hidden_layers", stored.num_hidden_layers))
    return ZenConfig(**{**kept, **_FORMS[form], **fields})


def load_zen_backbone(
    folder_or_id: str | Path, *, revision: str | None = None, dtype: torch.dtype | None = None, **overrides: Any
) -> ZenBackbone:
    """A `ZenBackbone` with the weights of any ZEN model; what `AutoBackbone.from_pretrained` cannot do for folders.

    Args:
        folder_or_id: Folder or Hub id of any ZEN model.
        revision: Commit, branch or tag on the Hub.
        dtype: Of the weights. `None`: as stored.
        overrides: Fields of `ZenConfig`, such as `out_features` or `pyramid_scale_factors` (a pyramid other than the
            stored one is new); and `cache_dir`, `local_files_only`, `subfolder`, `token` or `force_download`.

    Returns:
        The backbone, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such folder, or no config in it.
        ValueError: As `load_trunk` and `ZenConfig`.
    """
    hub_options, fields = split_options(overrides)
    stored = stored_config(folder_or_id, revision, hub_options)
    kept = {name: getattr(stored, name) for name in _TAKEN_OVER}
    for name in ("apply_layernorm", "reshape_hidden_states", "return_class_token", "pyramid_scale_factors"):
        kept[name] = getattr(stored, name)
    if not {"out_features", "out_indices"} & fields.keys():
        kept["out_features"] = stored.out_features
    backbone = ZenBackbone(ZenConfig(**{**kept, **fields}))
    load_trunk(backbone, folder_or_id, revision=revision or "main", **hub_options)
    # A config that names no dtype was never saved with weights of another one than torch's own.
    as_stored = stored.dtype if isinstance(stored.dtype, torch.dtype) else torch.float32
    wanted: Any = dtype or as_stored  # the stubs of transformers know no dtype as an argument of `to`
    return backbone.to(wanted).eval()


def load_trunk(
    head_model: Model, folder_or_id: str | Path, *, revision: str | None = None, **hub_options: Any
) -> Model:
    """Load the weights of a ZEN encoder into the one `ZenBackbone` inside a model, strictly.

    The model keeps its dtype, device and mode; everything outside the trunk stays as it is. The layers of
    `pyramid_scale_factors` are loaded too if the folder has them for the same factors and stages, and stay new
    otherwise.

    Args:
        head_model: A model of transformers that was built from a config with a ZEN `backbone_config`, or any other
            module with a `ZenBackbone` in it.
        folder_or_id: Folder or Hub id of any ZEN model.
        revision: Commit, branch or tag on the Hub.
        hub_options: `cache_dir`, `local_files_only`, `subfolder`, `token` or `force_download`.

    Returns:
        `head_model` itself.

    Raises:
        FileNotFoundError: There is no such folder, or no config in it.
        ValueError: The model has no `ZenBackbone` or several; the encoder of the folder has another shape; or the
            weights are not exactly those of the trunk.
    """
    name, backbone = _only_backbone(head_model)
    refuse_unknown_options("load_trunk", hub_options, _HUB_OPTIONS)
    stored = stored_config(folder_or_id, revision, hub_options)
    differing = encoder_differences(stored, backbone.config)
    if differing:
        raise ValueError(f"{folder_or_id} holds another encoder than {name}: {'; '.join(differing)}")
    same_pyramid = stored.pyramid_scale_factors is not None and (
        (stored.pyramid_scale_factors, stored.out_features)
        == (backbone.config.pyramid_scale_factors, backbone.config.out_features)
    )
    source_class: type[ZenModel] = ZenBackbone if same_pyramid else ZenModel
    source = source_class.from_pretrained(folder_or_id, revision=revision or "main", **hub_options).state_dict()
    own = backbone.state_dict()
    if any(weight.is_meta for weight in own.values()):
        raise ValueError(f"{name} has no memory yet (it is on the meta device), so that no weights can be loaded")
    new = {key: weight for key, weight in own.items() if key.startswith(ZenBackbone._weights_that_may_be_new)}
    missing, unknown = sorted(own.keys() - source.keys() - new.keys()), sorted(source.keys() - own.keys())
    if missing or unknown:
        raise ValueError(
            f"{name} is no plain ZenBackbone any more, so that {folder_or_id} does not fit: "
            f"{len(missing)} of its weights are not in the folder (such as {missing[0] if missing else '-'}) and "
            f"{len(unknown)} of the folder are not in it (such as {unknown[0] if unknown else '-'}); "
            "load the trunk before adapters or quantisation"
        )
    backbone.load_state_dict({**new, **source}, strict=True)
    return head_model


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those that say where to look, and the others."""
    hub_options = {name: value for name, value in options.items() if name in _HUB_OPTIONS}
    return hub_options, {name: value for name, value in options.items() if name not in _HUB_OPTIONS}


def stored_config(folder_or_id: str | Path, revision: str | None, hub_options: Mapping[str, Any]) -> ZenConfig:
    """The config of a ZEN folder or repository, as stored.

    Raises:
        FileNotFoundError: There is no such folder, or no config in it; or the Hub has none or cannot be reached.
        ValueError: It is the config of another model, or damaged.
    """
    local = is_folder(folder_or_id)
    if local:
        config_file = Path(folder_or_id) / (hub_options.get("subfolder") or "") / "config.json"
        if not config_file.is_file():
            raise FileNotFoundError(f"no ZEN model in {folder_or_id}: {config_file} does not exist")
    try:
        fields, _ = PreTrainedConfig.get_config_dict(folder_or_id, revision=revision or "main", **hub_options)
    except OSError as error:
        if local:  # the file is there
            raise ValueError(f"the config of {folder_or_id} cannot be read: {in_a_line(error)}") from error
        raise FileNotFoundError(
            f"no ZEN model in {folder_or_id}, which is no folder here: {in_a_line(error)}"
        ) from error
    # `ZenConfig.from_pretrained` would find the trunk's config inside that of a head, and no weights for it.
    if fields.get("model_type") != ZenConfig.model_type:
        raise ValueError(f"{folder_or_id} holds a {fields.get('model_type')!r} model, not a ZEN encoder")
    return ZenConfig.from_dict(fields)


def _spread(num_stages: int, num_layers: int) -> list[int]:
    """Indices of so many stages, the last of which is the last layer."""
    if not 1 <= num_stages <= num_layers:
        raise ValueError(f"{num_stages} stages cannot be spread over an encoder of {num_layers} layers")
    return [round(num_layers * (index + 1) / num_stages) for index in range(num_stages)]


def _only_backbone(model: nn.Module) -> tuple[str, ZenBackbone]:
    """The `ZenBackbone` in a model, and how an error calls it."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, ZenBackbone)}
    class_name = type(model).__name__
    if not found:
        raise ValueError(
            f"{class_name} holds no ZenBackbone; build it from a config whose backbone_config is a ZenConfig, "
            "as head_config makes it (DPTForSemanticSegmentation has no backbone at all)"
        )
    if len(found) > 1:
        raise ValueError(
            f"{class_name} holds {len(found)} ZenBackbones ({', '.join(found)}); give load_trunk one of them"
        )
    [(name, backbone)] = found.items()
    return (f"{class_name}.{name}" if name else class_name), backbone


__all__ = ["load_trunk", "load_zen_backbone", "split_options", "stored_config", "zen_backbone_config"]
