"""What PEFT leaves out of an adapter folder: the config of the model below it, without which its head is not known.

An adapter folder holds weights, those of the head among them, and the name of the encoder. How many labels there are,
what they are called or which depths a head can say stands in neither. `head_config.json` beside `adapter_config.json`
says it. The name is not config.json, because transformers takes a folder with that for a whole model.
"""

import json
import os
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from .configuration_zen import ZenConfig

HEAD_CONFIG = "head_config.json"
ADAPTER_CONFIG = "adapter_config.json"

# Fields by which models may differ that are the same function of the same weights, or that shape the weights anyway.
_FREE_FIELDS = frozenset(
    {
        "image_size",
        "layerscale_value",
        "drop_path_rate",
        "attention_dropout",
        "initializer_range",
        "out_features",
        "out_indices",
        "apply_layernorm",
        "reshape_hidden_states",
        "return_class_token",
        "pyramid_scale_factors",
        "num_frames",
        "classifier_dropout",
        "temporal_dropout",
        "norm_pix_loss",
    }
)
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


def save_head_config(config: ZenConfig, model_class: str, folder: str | os.PathLike) -> None:
    """Write the config of a model with an adapter into the folder of the adapter."""
    fields = {**config.to_dict(), "architectures": [model_class]}
    del fields["transformers_version"]
    target = Path(folder) / HEAD_CONFIG
    unfinished = target.with_suffix(".tmp")
    unfinished.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    unfinished.replace(target)


def read_head_config(folder_or_id: Any, **hub_options: Any) -> ZenConfig | None:
    """The config in an adapter folder or repository; `None` if there is none.

    Raises:
        ValueError: The file is damaged, or as `ZenConfig`.
    """
    options = {name: hub_options[name] for name in _HUB_OPTIONS if hub_options.get(name) is not None}
    file = cached_file(
        str(folder_or_id),
        HEAD_CONFIG,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **options,
    )
    if file is None:
        return None
    try:
        return ZenConfig.from_dict(json.loads(Path(file).read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{HEAD_CONFIG} in {folder_or_id} is no JSON: {error}") from None


def with_head_config(source: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `from_pretrained`, with the config of the model an adapter belongs to if `source` is one.

    Fields that the caller sets otherwise stay as the caller sets them.

    Args:
        source: What is to be loaded. An Auto class puts the encoder here and the adapter among the arguments.
        arguments: The other arguments of `from_pretrained`.

    Raises:
        ValueError: As `read_head_config`.
    """
    adapter_options = arguments.get("adapter_kwargs") or {}
    adapter = adapter_options.get("_adapter_model_path", source)
    given = arguments.get("config")
    if adapter is source and (given is not None or not may_be_adapter(source)):
        return arguments
    options = {**arguments, **{name: adapter_options[name] for name in _HUB_OPTIONS if name in adapter_options}}
    stored = read_head_config(adapter, **options)
    if stored is None:
        return arguments
    fields = stored.to_dict()
    if isinstance(given, ZenConfig):
        options = {name: arguments[name] for name in _HUB_OPTIONS if name in arguments}
        below = ZenConfig.from_pretrained(source, **options).to_dict()
        fields |= {name: value for name, value in given.to_dict().items() if below.get(name) != value}
        config = ZenConfig.from_dict(fields)
        config._attn_implementation = given._attn_implementation
        return {**arguments, "config": config}
    config, rest = ZenConfig.from_dict(fields, return_unused_kwargs=True, **arguments)
    return {**rest, "config": config}


def refuse_another_model(stored: ZenConfig, own: ZenConfig, source: Any, *, head: bool) -> None:
    """Refuse the adapter of a model with other fields than this one.

    Args:
        stored: Config of the model that the adapter belongs to.
        own: Config of the model that it is to be loaded into.
        source: Where the adapter comes from, for the error.
        head: Whether the head counts too, or the encoder only.

    Raises:
        ValueError: Naming the fields, and their values there and here.
    """
    names = ZenConfig._field_names()
    # The fields of the encoder come first, up to those of ZenBackbone.
    names = [*names, "id2label"] if head else names[: names.index("out_features")]
    free = _FREE_FIELDS - ({"image_size"} if stored.position_embedding == "learned" else set())
    differing = [
        f"{name} is {_short(getattr(stored, name))} there and {_short(getattr(own, name))} here"
        for name in names
        if name not in free and getattr(stored, name) != getattr(own, name)
    ]
    if differing:
        raise ValueError(f"{source} holds the adapter of another model: {'; '.join(differing)}")


def may_be_adapter(source: Any) -> bool:
    """Whether this is a folder with an adapter, or could be the id of one on the Hub ("owner/name")."""
    if source is None:
        return False
    folder = Path(str(source))
    if folder.exists():
        return (folder / ADAPTER_CONFIG).is_file()
    return len(folder.parts) <= 2 and not folder.is_absolute()


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


__all__ = [
    "HEAD_CONFIG",
    "may_be_adapter",
    "read_head_config",
    "refuse_another_model",
    "save_head_config",
    "with_head_config",
]
