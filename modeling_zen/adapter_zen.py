"""What PEFT leaves out of an adapter folder: the config of the model below it, without which its head is not known.

An adapter folder holds weights, those of the head among them, and the name of the encoder. How many labels there are,
what they are called or which depths a head can say stands in neither. `head_config.json` beside `adapter_config.json`
says it. The name is not config.json, because transformers takes a folder with that for a whole model.

Here too is what must agree between two models for weights of one to mean the same in the other (`ENCODER_FIELDS`).
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from .configuration_zen import ZenConfig

HEAD_CONFIG = "head_config.json"
ADAPTER_CONFIG = "adapter_config.json"

# Fields of ZenConfig that shape the weights of the encoder or say what they mean: with one of them changed the same
# numbers are another function. Learned positions belong to `image_size` as well, see `encoder_differences`.
ENCODER_FIELDS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "mlp",
    "hidden_act",
    "patch_size",
    "num_channels",
    "num_summary_tokens",
    "num_register_tokens",
    "layer_norm_eps",
    "qkv_bias",
    "position_embedding",
    "position_resize",
    "rope_theta",
    "rope_min_period",
    "final_layer_norm",
)
# The other fields of the encoder, by which two that are the same function of the same weights may differ.
FREE_ENCODER_FIELDS = (
    "image_size",
    "layerscale_value",
    "drop_path_rate",
    "attention_dropout",
    "initializer_range",
)
# Of the other fields, those by which two heads that are the same function of the same weights may differ.
_FREE_HEAD_FIELDS = frozenset(
    {
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
# Arguments of `from_pretrained` that say where to look.
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


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
        ValueError: The file is damaged, or holds no `ZenConfig`.
    """
    options = {name: hub_options[name] for name in HUB_OPTIONS if hub_options.get(name) is not None}
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
        fields = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{HEAD_CONFIG} in {folder_or_id} is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{HEAD_CONFIG} in {folder_or_id} holds a {type(fields).__name__}, not the fields of a config")
    try:
        return ZenConfig.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{HEAD_CONFIG} in {folder_or_id}: {error}") from error


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
    options = {**arguments, **{name: adapter_options[name] for name in HUB_OPTIONS if name in adapter_options}}
    if adapter is source and (given is not None or not may_be_adapter(source)):
        return arguments
    stored = read_head_config(adapter, **options)
    if stored is None:
        return arguments
    fields = stored.to_dict()
    if isinstance(given, ZenConfig):
        options = {name: arguments[name] for name in HUB_OPTIONS if name in arguments}
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
    differing = encoder_differences(stored, own)
    if head:
        not_of_the_head = {*ENCODER_FIELDS, *FREE_ENCODER_FIELDS, *_FREE_HEAD_FIELDS}
        differing += _differences(
            stored, own, [name for name in ZenConfig._field_names() if name not in not_of_the_head]
        )
        differing += _label_differences(stored, own)
    if differing:
        raise ValueError(f"{source} holds the adapter of another model: {'; '.join(differing)}")


def encoder_differences(stored: ZenConfig, own: ZenConfig) -> list[str]:
    """By which fields the encoders of two configs are other functions, a text each; none if they are the same."""
    learned = stored.position_embedding == "learned"
    return _differences(stored, own, [*ENCODER_FIELDS, *(["position_grid"] if learned else [])])


def may_be_adapter(source: Any) -> bool:
    """Whether this is a folder with an adapter, or could be the id of one on the Hub."""
    if source is None:
        return False
    return not is_folder(source) or (Path(source) / ADAPTER_CONFIG).is_file()


def is_folder(source: str | os.PathLike) -> bool:
    """Whether this means a folder, be it there or not, rather than a repository on the Hub ("name", "owner/name")."""
    folder = Path(source)
    looks = folder.is_absolute() or len(folder.parts) > 2 or str(source).startswith((".", "~"))
    return isinstance(source, Path) or looks or folder.exists()


def refuse_unknown_options(caller: str, options: Iterable[str], known: Iterable[str] = HUB_OPTIONS) -> None:
    """Refuse arguments that say nothing about where to look: transformers and PEFT would drop them in silence.

    Raises:
        ValueError: Naming the first, and the right ones.
    """
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise ValueError(f"{caller} has no argument {wrong[0]!r}; it has {', '.join(sorted(known))}")


def in_a_line(error: BaseException) -> str:
    """The first line of an error, without its full stop; those of transformers go on with advice."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _differences(stored: ZenConfig, own: ZenConfig, names: Iterable[str]) -> list[str]:
    return [
        f"{name} is {_short(getattr(stored, name))} there and {_short(getattr(own, name))} here"
        for name in names
        if getattr(stored, name) != getattr(own, name)
    ]


def _label_differences(stored: ZenConfig, own: ZenConfig) -> list[str]:
    """In number, in the first name, and in whether they exclude each other."""
    if stored.num_labels != own.num_labels:
        return _differences(stored, own, ["num_labels"])
    there: dict[Any, str] = dict(stored.id2label or {})
    here: dict[Any, str] = dict(own.id2label or {})
    texts = [
        f"id2label[{index}] is {name!r} there and {here.get(index)!r} here"
        for index, name in there.items()
        if name != here.get(index)
    ]
    # What transformers makes of an unnamed problem, and writes into the config with the first loss.
    unnamed = "regression" if own.num_labels == 1 else "single_label_classification"
    problems = {config.problem_type or unnamed for config in (stored, own)}
    return texts[:1] + (_differences(stored, own, ["problem_type"]) if len(problems) > 1 else [])


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


__all__ = [
    "ADAPTER_CONFIG",
    "ENCODER_FIELDS",
    "FREE_ENCODER_FIELDS",
    "HEAD_CONFIG",
    "HUB_OPTIONS",
    "encoder_differences",
    "in_a_line",
    "is_folder",
    "may_be_adapter",
    "read_head_config",
    "refuse_another_model",
    "refuse_unknown_options",
    "save_head_config",
    "with_head_config",
]
