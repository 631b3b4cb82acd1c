"""Presets of PEFT for ZEN: where an adapter of each method sits, and what is trained and saved beside it.

    head = ZenForImageClassification.from_pretrained("path/to/zen", num_labels=7)
    model = peft.get_peft_model(head, adapter_config("lora", head))
    ...  # train
    model.save_pretrained("path/to/phase")
    head = AutoModelForImageClassification.from_pretrained("path/to/phase")  # with its 7 labels and their names

Loading, swapping and merging adapters is the matter of `modeling_zen.adapters`, several at once that of
`modeling_zen.multitask`.
"""

import dataclasses
import difflib
import importlib
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from torch import nn

from modeling_zen.adapter_zen import save_head_config
from modeling_zen.configuration_zen import ZenConfig
from modeling_zen.modeling_zen import ZenBackbone, ZenModel, ZenPreTrainedModel

# Layers of the encoder, as PEFT names them below each block.
ATTENTION = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj")
MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def adapter_config(method: str, model: nn.Module, **overrides: Any) -> Any:
    """The configuration of an adapter for a ZEN model, ready for `peft.get_peft_model` or `model.add_adapter`.

    - `"lora"` (arXiv:2106.09685): rank 16 on all linear layers of the encoder; adapting all of them rather than
      queries and values alone is what closes the gap to full fine-tuning (arXiv:2305.14314, section 4).
    - `"dora"` (arXiv:2402.09353): the same with magnitude and direction apart; slower, and better at low ranks.
    - `"ia3"` (arXiv:2205.05638): one factor per channel of keys, values and the last layer of the MLP; the fewest
      parameters.
    - `"oft"` (arXiv:2306.07280): orthogonal rotations of queries and values in blocks of 32 channels, which keep the
      angles between neurons.

    Only the encoder gets adapters. The head is trained whole and saved with the adapter: in a `ZenFor...` model what
    a checkpoint of the encoder may lack, in a model of transformers all that is not its backbone. An adapter of a ZEN
    model is saved with `head_config.json`, from which the Auto class of the head makes the model again.

    Args:
        method: One of the names above.
        model: A ZEN model, any model of transformers around one ZEN backbone, or a `PeftModel` of either.
        overrides: Fields of the PEFT configuration to set otherwise, such as `r=8`.

    Returns:
        A `peft.PeftConfig`.

    Raises:
        ImportError: PEFT is not installed.
        ValueError: An unknown method or field; there is not exactly one ZEN encoder in `model`; or a weight of its
            head lies where PEFT can neither train nor save it.
    """
    if method not in _METHODS:
        raise ValueError(f"unknown adapter method {method!r}; the presets are {', '.join(_METHODS)}")
    peft = import_peft()
    model = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    name, encoder = find_encoder(model)
    config_name, fields = _METHODS[method](name, encoder.config)
    config_class = getattr(peft, config_name)
    known = [field.name for field in dataclasses.fields(config_class) if field.init]
    for field in overrides:
        if field not in known:
            close = difflib.get_close_matches(field, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else f"; it has {', '.join(known)}"
            raise ValueError(f"{config_name} has no field {field!r}{hint}")
    config = config_class(**{"modules_to_save": _head(model, name) or None, **fields, **overrides})
    return remember_model(config, model)


def remember_model(config: Any, model: nn.Module) -> Any:
    """Let a PEFT configuration be saved with `head_config.json`, if it is that of a ZEN model.

    Args:
        config: A `peft.PeftConfig`, changed in place.
        model: The model that the adapter is for, without PEFT around it.

    Returns:
        `config` itself.
    """
    if isinstance(model, ZenPreTrainedModel):
        if not hasattr(type(config), "_zen_model"):
            plain: Any = type(config)
            config.__class__ = _saving_head_config(plain)
        config._zen_model = (model.config, type(model).__name__)
    return config


def _lora(encoder: str, config: ZenConfig) -> tuple[str, dict[str, Any]]:
    # alpha = rank: the adapter enters with factor 1, whatever the rank
    return "LoraConfig", {"r": 16, "lora_alpha": 16, "target_modules": _pattern(encoder, *ATTENTION, *MLP)}


def _dora(encoder: str, config: ZenConfig) -> tuple[str, dict[str, Any]]:
    name, fields = _lora(encoder, config)
    return name, {**fields, "use_dora": True}


def _ia3(encoder: str, config: ZenConfig) -> tuple[str, dict[str, Any]]:
    targets = ("attention.k_proj", "attention.v_proj", "mlp.down_proj")
    return "IA3Config", {
        "target_modules": _pattern(encoder, *targets),
        "feedforward_modules": _pattern(encoder, "mlp.down_proj"),
    }


def _oft(encoder: str, config: ZenConfig) -> tuple[str, dict[str, Any]]:
    targets = _pattern(encoder, "attention.q_proj", "attention.v_proj")
    # Blocks have to divide the width; where 32 does not, PEFT would take a size of its own.
    return "OFTConfig", {"oft_block_size": math.gcd(32, config.hidden_size), "target_modules": targets}


_METHODS: dict[str, Callable[[str, ZenConfig], tuple[str, dict[str, Any]]]] = {
    "lora": _lora,
    "dora": _dora,
    "ia3": _ia3,
    "oft": _oft,
}


def _pattern(encoder: str, *layers: str) -> str:
    """A pattern for the whole name of these layers in every block of the encoder, and of nothing outside it."""
    prefix = re.escape(f"{encoder}.") if encoder else ""
    return rf"{prefix}layers\.\d+\.({'|'.join(re.escape(layer) for layer in layers)})"


def find_encoder(model: nn.Module) -> tuple[str, ZenModel]:
    """The one ZEN encoder in a model and its name there.

    Raises:
        ValueError: There is none, or more than one.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, ZenModel)}
    if len(found) != 1:
        texts = f"there are {len(found)}: {', '.join(found)}" if found else "there is none"
        raise ValueError(f"adapters sit on the one ZEN encoder of a model, but in this {type(model).__name__} {texts}")
    [(name, encoder)] = found.items()
    return name, encoder


def _head(model: nn.Module, encoder: str) -> list[str]:
    """Names of the modules to train whole; PEFT takes every module whose name ends in one of them."""
    if isinstance(model, ZenPreTrainedModel):
        prefixes = model._weights_that_may_be_new
    else:
        prefixes = tuple(f"{name}." for name in _beside(model, encoder))
        if isinstance(model.get_submodule(encoder), ZenBackbone):
            prefixes += (f"{encoder}.pyramid.",)
    modules = dict(model.named_modules())
    names = [
        part
        for name in sorted({prefix[:-1] for prefix in prefixes if prefix.endswith(".")} & modules.keys())
        for part in _wrappable(modules, name)
    ]
    weights = [name for name, _ in model.named_parameters()]
    inside = tuple(f"{name}." for name in names)
    below = f"{encoder}." if encoder else ""
    loose = [name for name in weights if not name.startswith(inside) and not name.startswith(below)]
    loose = [name for name in loose if not isinstance(model, ZenPreTrainedModel) or name.startswith(prefixes)]
    if loose:
        raise ValueError(
            f"PEFT saves layers only, but {', '.join(loose)} of {type(model).__name__} lie in none, so that an "
            "adapter would lose them"
        )
    hit = [
        name for name, _ in model.named_modules() if name.endswith(tuple(names)) and not f"{name}.".startswith(inside)
    ]
    if hit:
        raise ValueError(
            f"PEFT would take {', '.join(hit)} for the head of {type(model).__name__}: the names end alike"
        )
    return names


def _wrappable(modules: Mapping[str, nn.Module], name: str) -> list[str]:
    """A module as PEFT can take it: itself, or its parts if it is a mere list or a part has a name that ends alike."""
    inner = [key for key in modules if key.startswith(f"{name}.")]
    alike = any(key.endswith(name) for key in inner)
    if not alike and not isinstance(modules[name], nn.ModuleList | nn.ModuleDict):
        return [name]
    children = [
        key
        for key in inner
        if "." not in key.removeprefix(f"{name}.") and next(modules[key].parameters(), None) is not None
    ]
    return [part for child in children for part in _wrappable(modules, child)]


def _beside(model: nn.Module, encoder: str) -> list[str]:
    """Names of the largest modules with weights that do not hold the encoder."""
    names, parent = [], ""
    for part in encoder.split("."):
        for child, module in model.get_submodule(parent).named_children():
            if child != part and next(module.parameters(), None) is not None:
                names.append(f"{parent}.{child}" if parent else child)
        parent = f"{parent}.{part}" if parent else part
    return names


@cache
def _saving_head_config(config_class: Any) -> Any:
    """A class of PEFT configurations that lays the config of the model beside them, whoever saves the adapter."""

    class WithHeadConfig(config_class):
        _zen_model: Any = None  # config and class name of the model; PEFT saves fields of its dataclass only

        def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
            super().save_pretrained(save_directory, **kwargs)
            if self._zen_model is not None:
                config, class_name = self._zen_model
                save_head_config(config, class_name, save_directory)

    WithHeadConfig.__name__ = WithHeadConfig.__qualname__ = config_class.__name__
    return WithHeadConfig


def import_peft() -> Any:
    """The package, which only adapters need.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ImportError("adapters need PEFT: pip install peft") from error


__all__ = ["adapter_config", "find_encoder", "import_peft", "remember_model"]
