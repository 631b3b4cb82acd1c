"""Loading, swapping and merging adapters of ZEN, strictly.

PEFT warns, or not even that, where an adapter does not fit: layers that a file lacks stay untrained, and hot-swapping
sets them to zero. Here each is an error.

    model = load_adapter(head, "path/to/phase", "phase")
    load_adapter(model, "path/to/other", "other")
    model(pixel_values, adapter_names=["phase", "other", "__base__"])  # a row each, LoRA only
    swap_adapter(model, "path/to/newer", "other")
    head = merge_adapter(model)
"""

import copy
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers.utils.hub import cached_file

from modeling_zen.adapter_zen import (
    ADAPTER_CONFIG,
    in_a_line,
    is_folder,
    read_head_config,
    refuse_another_model,
    refuse_unknown_options,
)
from modeling_zen.modeling_zen import ZenModel, ZenPreTrainedModel
from modeling_zen.peft_targets import find_encoder, import_peft, remember_model

# The name by which PEFT calls the model without an adapter in a mixed batch.
PLAIN = "__base__"
_WEIGHTS = "adapter_model.safetensors"

# Fields of a PEFT config that say where an adapter comes from or how it is trained, not what it computes.
_IDLE_FIELDS = frozenset(
    {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"}
    | {"init_lora_weights", "init_ia3_weights", "init_weights", "lora_dropout", "module_dropout"}
)


def load_adapter(
    model: nn.Module, folder_or_id: str | os.PathLike, name: str = "default", *, trainable: bool = False, **hub: Any
) -> Any:
    """Put an adapter onto a model, strictly: all its weights land, and none of the model's are left to chance.

    A model that is refused is left as it was.

    Args:
        model: A model as the adapter was trained on, or a `PeftModel` of it, which gets one adapter more.
        folder_or_id: Folder or Hub id of the adapter.
        name: What to call it; no dot.
        trainable: Whether to train it further. Weights of an adapter that is not the active one get no gradient before
            `set_adapter`, which is PEFT's, makes it that.
        hub: `cache_dir`, `force_download`, `local_files_only`, `revision`, `subfolder` or `token`.

    Returns:
        The `PeftModel` (`model`, if it is one), in evaluation mode; the first adapter is the active one.

    Raises:
        ImportError: PEFT is not installed.
        FileNotFoundError: There is no adapter.
        ValueError: The name is taken or cannot be one; the model has an adapter that is not PEFT's own; the adapter
            belongs to another model or is damaged; or its weights are not exactly those that the model needs.
    """
    peft = import_peft()
    refuse_unknown_options("load_adapter", hub)
    if isinstance(model, peft.PeftModel) and name in model.peft_config:
        raise ValueError(f"the model has an adapter {name!r} already; swap_adapter replaces it")
    # PEFT keeps it in a ModuleDict, and tells it from "weight" in the names of weights by where it stands.
    if not name or "." in name or hasattr(nn.ModuleDict(), name) or name in ("weight", "bias", PLAIN):
        raise ValueError(f"an adapter cannot be called {name!r}; take another name, without a dot")
    _refuse_adapters_of_transformers(model)
    config, weights = read_adapter(folder_or_id, **hub)
    _refuse_another_base(model.get_base_model() if isinstance(model, peft.PeftModel) else model, folder_or_id, hub)
    return put_adapter(model, config, weights, name, source=folder_or_id, trainable=trainable)


def swap_adapter(model: Any, folder_or_id: str | os.PathLike, name: str = "default", **hub: Any) -> None:
    """Replace the weights of an adapter, in place, by those of another one that is made alike.

    In place: a compiled model stays compiled. Unlike `peft.utils.hotswap` it works for every method, takes the head
    along, and refuses an adapter for fewer layers.

    Args:
        model: A `PeftModel`.
        folder_or_id: Folder or Hub id of the new adapter.
        name: The adapter to replace.
        hub: As in `load_adapter`.

    Raises:
        ImportError: PEFT is not installed.
        FileNotFoundError: There is no adapter in the folder.
        ValueError: `model` has no adapter of this name, or it is merged; or the new one is made otherwise, belongs to
            another model, is damaged or does not hold exactly the same weights.
    """
    peft = import_peft()
    refuse_unknown_options("swap_adapter", hub)
    _refuse_adapters_of_transformers(model)
    if not isinstance(model, peft.PeftModel) or name not in model.peft_config:
        known = f"it has {', '.join(model.peft_config)}" if isinstance(model, peft.PeftModel) else "it has none"
        raise ValueError(f"{type(model).__name__} has no adapter {name!r} to replace; {known}")
    if any(name in getattr(module, "merged_adapters", ()) for module in model.modules()):
        raise ValueError(f"the adapter {name!r} is merged into the model; call unmerge_adapter() before replacing it")
    config, weights = read_adapter(folder_or_id, **hub)
    _refuse_another_base(model.get_base_model(), folder_or_id, hub)
    old, new = model.peft_config[name].to_dict(), config.to_dict()
    differing = [key for key in new if key not in _IDLE_FIELDS and _plain(old.get(key)) != _plain(new[key])]
    if differing:
        texts = [f"{key} is {new[key]!r} there and {old.get(key)!r} here" for key in differing]
        raise ValueError(f"{folder_or_id} cannot replace the adapter {name!r}: {'; '.join(texts)}")
    refuse_inexact(peft.get_peft_model_state_dict(model, adapter_name=name), weights, folder_or_id)
    peft.set_peft_model_state_dict(model, weights, adapter_name=name)


def merge_adapter(model: Any) -> nn.Module:
    """Merge the active adapter into its model, and its head, and take PEFT away: an ordinary model, to save as such.

    `PeftModel.merge_and_unload` of PEFT 0.21 does the same, but for LoRA only where a head is more than one layer.

    Args:
        model: A `PeftModel`; it is of no use afterwards.

    Returns:
        The model below, all of it trainable again.

    Raises:
        ImportError: PEFT is not installed.
        ValueError: `model` is no `PeftModel`, or a merged weight would not be finite.
    """
    peft = import_peft()
    _refuse_adapters_of_transformers(model)
    if not isinstance(model, peft.PeftModel):
        raise ValueError(f"{type(model).__name__} is no PeftModel and has no adapter to merge")
    model.merge_adapter(safe_merge=True)
    base: Any = model.get_base_model()
    tuner_layer = importlib.import_module("peft.tuners.tuners_utils").BaseTunerLayer
    trained_whole = importlib.import_module("peft.utils").ModulesToSaveWrapper
    modules: list[tuple[str, Any]] = list(base.named_modules())
    for name, module in modules:
        if isinstance(module, tuner_layer):
            base.set_submodule(name, module.get_base_layer())
        elif isinstance(module, trained_whole):
            base.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    if hasattr(base, "peft_config"):
        del base.peft_config
    return base.requires_grad_()


def read_adapter(folder_or_id: str | os.PathLike, **hub: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The PEFT configuration of an adapter and its weights, on the CPU, from safetensors only.

    Raises:
        ImportError: PEFT is not installed.
        FileNotFoundError: There is no adapter, or no weights in safetensors.
        ValueError: A file is damaged.
    """
    peft = import_peft()
    refuse_unknown_options("read_adapter", hub)
    config_file, weights_file = (_file_of(folder_or_id, name, hub) for name in (ADAPTER_CONFIG, _WEIGHTS))
    try:
        config = peft.PeftConfig.from_pretrained(str(config_file.parent))
        if config.peft_type is None:
            raise ValueError("it names no 'peft_type'")
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # no JSON, or not of an adapter
        raise ValueError(f"{config_file} does not configure an adapter of PEFT: {in_a_line(error)}") from error
    try:
        return config, load_file(weights_file)
    except SafetensorError as error:
        raise ValueError(f"{weights_file} cannot be read: {in_a_line(error)}") from error


def put_adapter(
    model: nn.Module,
    config: Any,
    weights: Mapping[str, torch.Tensor],
    name: str,
    *,
    source: str | os.PathLike,
    trainable: bool = False,
) -> Any:
    """Put an adapter that was read before onto a model, strictly; see `load_adapter`.

    Raises:
        ImportError: PEFT is not installed.
        ValueError: The weights are not exactly those that the model needs.
    """
    peft = import_peft()
    config = copy.copy(config)
    config.inference_mode = not trainable
    # Tried on a copy without memory first: PEFT cannot take back what it has put into a model.
    blank = _without_memory(model)
    try:
        tried = _with_adapter(blank, config, name, low_cpu_mem_usage=True)
    except ValueError as error:
        raise ValueError(f"{source} holds an adapter that does not fit {_class_name(model)}: {error}") from error
    refuse_inexact(peft.get_peft_model_state_dict(tried, adapter_name=name), weights, source)
    adapted = _with_adapter(model, config, name)
    peft.set_peft_model_state_dict(adapted, weights, adapter_name=name)
    return adapted.eval()


def _with_adapter(model: nn.Module, config: Any, name: str, **options: Any) -> Any:
    peft = import_peft()
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    config = remember_model(copy.deepcopy(config), base)  # PEFT writes into it
    if not isinstance(model, peft.PeftModel):
        return peft.PeftModel(model, config, adapter_name=name, **options)
    model.add_adapter(name, config, **options)
    return model


def _without_memory(model: nn.Module) -> nn.Module:
    """A copy of a model on the meta device, which takes no time and no memory."""
    tensors: dict[int, Any] = {}
    for parameter in model.parameters():
        tensors[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in model.buffers():
        tensors[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, tensors)


def _file_of(folder_or_id: str | os.PathLike, name: str, hub: Mapping[str, Any]) -> Path:
    """A file of an adapter, here or in the cache of the Hub."""
    source = os.fspath(folder_or_id)
    options = {option: value for option, value in hub.items() if value is not None}
    if is_folder(folder_or_id):
        file = Path(source) / options.get("subfolder", "") / name
        if not file.is_file():
            raise FileNotFoundError(f"no adapter can be read from {source}: {file} does not exist")
        return file
    try:
        found = cached_file(source, name, **options)
    except OSError as error:
        raise FileNotFoundError(f"no adapter can be read from {source}: {in_a_line(error)}") from error
    assert found is not None  # with these options it raises
    return Path(found)


def _refuse_adapters_of_transformers(model: Any) -> None:
    """Those that an Auto class or `add_adapter` has put into the model itself, where a PeftModel does not see them."""
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            f"this {type(model).__name__} got its adapter from transformers (an Auto class, from_pretrained or "
            "add_adapter) and is no PeftModel; load the model without it, and the adapter by load_adapter"
        )


def _refuse_another_base(model: nn.Module, source: str | os.PathLike, hub: Mapping[str, Any]) -> None:
    stored = read_head_config(source, **hub)
    if stored is None:
        return
    adapted = (stored.architectures or [""])[0]
    if adapted not in [parent.__name__ for parent in type(model).__mro__]:
        raise ValueError(f"{source} holds the adapter of a {adapted}, not of a {type(model).__name__}")
    head = isinstance(model, ZenPreTrainedModel) and not isinstance(model, ZenModel)
    refuse_another_model(stored, find_encoder(model)[1].config, source, head=head)


def refuse_inexact(
    own: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor], source: str | os.PathLike
) -> None:
    """Refuse weights of an adapter that are not those of the model, by name and shape.

    Raises:
        ValueError: Saying how many are missing, unknown or of another shape, with an example of each.
    """
    missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    misshapen = sorted(key for key in own.keys() & given.keys() if own[key].shape != given[key].shape)
    faults = {
        "missing": missing,
        "unknown to the model": unknown,
        "of another shape": [f"{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}" for key in misshapen],
    }
    texts = [f"{len(keys)} {fault}, such as {keys[0]}" for fault, keys in faults.items() if keys]
    if texts:
        raise ValueError(f"{source} does not hold exactly the weights of an adapter of this model: {'; '.join(texts)}")


def _plain(value: Any) -> Any:
    """PEFT reads a set of names back as a list, in any order."""
    return sorted(value, key=str) if isinstance(value, set | list | tuple) else value


def _class_name(model: Any) -> str:
    return type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__


__all__ = ["PLAIN", "load_adapter", "merge_adapter", "put_adapter", "read_adapter", "refuse_inexact", "swap_adapter"]
