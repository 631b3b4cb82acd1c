"""Several ZEN heads on one encoder, which runs once per batch: phase, segmentation and depth of the same frames.

    model = ZenMultiTask.from_pretrained("path/to/zen", {"phase": "path/to/phase", "depth": "path/to/depth_lora"})
    outputs = model(pixel_values_videos)
    outputs["phase"].logits, outputs["depth"].predicted_depth

Heads that were trained on the frozen encoder read one and the same pass. A head with a LoRA adapter needs a pass of its
own through the adapter; its frames ride as further rows of the same batch, by the mixed batches of PEFT.
"""

import copy
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput
from transformers.utils.peft_utils import find_adapter_config_file

from modeling_zen.adapter_zen import (
    HEAD_CONFIG,
    HUB_OPTIONS,
    encoder_differences,
    may_be_adapter,
    read_head_config,
    refuse_another_model,
    refuse_unknown_options,
)
from modeling_zen.adapters import PLAIN, put_adapter, read_adapter, refuse_inexact
from modeling_zen.configuration_zen import ZenConfig
from modeling_zen.modeling_zen import ZenModel, ZenPreTrainedModel, auto_classes
from modeling_zen.trunk import stored_config

# One folder or branch is not that of every task.
_HUB_OPTIONS = frozenset(HUB_OPTIONS) - {"revision", "subfolder"}
# How PEFT begins the names of weights in a file.
_PREFIX = "base_model.model."


class ZenMultiTask(nn.Module):
    """Task heads on one shared encoder.

    Train it without adapters to fine-tune the encoder on several tasks at once. With adapters the encoder is frozen and
    stays in evaluation mode, since PEFT has no mixed batches in training: each adapter is trained alone, before.

    Args:
        encoder: The shared one.
        heads: A ZEN head per task. Each gives up its own encoder, which must be a copy of the shared one or, of a head
            that was trained with an adapter, of no matter: it is not looked at, and the head goes to the device and
            dtype of the shared encoder.
        adapters: PEFT configuration and weights of the tasks that have an adapter, as `read_adapter` gives them; those
            of the head may be among the weights.

    Raises:
        ImportError: There are adapters, but PEFT is not installed.
        ValueError: A name that no module can have; a head whose encoder is another one, or the same elsewhere or in
            another dtype, or that hides patches from it; an adapter that is not plain LoRA or does not fit.
    """

    def __init__(
        self,
        encoder: ZenModel,
        heads: Mapping[str, ZenPreTrainedModel],
        adapters: Mapping[str, tuple[Any, Mapping[str, torch.Tensor]]] | None = None,
    ) -> None:
        super().__init__()
        adapters = adapters or {}
        _check_names(heads, adapters)
        self.config = encoder.config
        self.adapted = tuple(name for name in heads if name in adapters)
        for name, head in heads.items():
            if name not in adapters:
                _refuse_another_encoder(head, encoder, name)
        self.trunk: nn.Module = _Trunk(encoder)
        for name in self.adapted:
            config, weights = copy.copy(adapters[name][0]), adapters[name][1]
            _check_adapter(config, name)
            config.modules_to_save = None  # the head has them
            below = {key: weight for key, weight in weights.items() if key.startswith(f"{_PREFIX}zen.")}
            self.trunk = put_adapter(self.trunk, config, below, name, source=f"the adapter of task {name!r}")
        self.heads = nn.ModuleDict(heads)
        for head in heads.values():
            head.zen = _GivenTokens(encoder.config)
        for name in self.adapted:
            self.heads[name].to(encoder.device, encoder.dtype)
        self.eval()

    @classmethod
    def from_pretrained(cls, encoder: str | Path, tasks: Mapping[str, str | Path], **hub: Any) -> Self:
        """Load an encoder and what was trained on it.

        Args:
            encoder: Folder or Hub id of any ZEN model.
            tasks: Per task the folder or Hub id of a saved head whose encoder was frozen, or of a LoRA adapter with its
                head, as `adapter_config` makes them. They are loaded strictly, onto this encoder, wherever an adapter
                says that its own lies.
            hub: `cache_dir`, `force_download`, `local_files_only` or `token`.

        Returns:
            The model, in evaluation mode.

        Raises:
            ImportError: There are adapters, but PEFT is not installed.
            FileNotFoundError: A folder does not exist or holds no model.
            ValueError: A folder holds no head, or not all of its weights, or an adapter without `head_config.json`; or
                as the constructor.
        """
        refuse_unknown_options("ZenMultiTask.from_pretrained", hub, _HUB_OPTIONS)
        trunk = ZenModel.from_pretrained(encoder, **hub)
        heads, adapters = {}, {}
        for name, folder in tasks.items():
            if not may_be_adapter(folder) or find_adapter_config_file(str(folder), **hub) is None:
                heads[name] = _trained_head(folder, hub)
                continue
            config = read_head_config(folder, **hub)
            if config is None:
                raise ValueError(
                    f"{folder} has no {HEAD_CONFIG}, so that the head of task {name!r} is not known; an adapter whose "
                    "configuration adapter_config has made is saved with it"
                )
            refuse_another_model(config, trunk.config, folder, head=False)
            adapters[name] = read_adapter(folder, **hub)
            heads[name] = _head_of_adapter(_head_class(config, folder), config, adapters[name][1], folder)
        return cls(trunk, heads, adapters)

    def forward(
        self,
        pixel_values: torch.Tensor,
        tasks: Iterable[str] | None = None,
        task_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> dict[str, ModelOutput]:
        """Run the encoder once and the heads of the tasks on it.

        Args:
            pixel_values: (batch, channels, height, width), or (batch, frames, channels, height, width) as heads for
                videos need them; heads for images then see (batch * frames, ...), clip by clip. Otherwise as in
                `ZenModel.forward`.
            tasks: Which to run. `None`: all.
            task_kwargs: Per task further arguments of the head, such as `labels`, or `temporal_state` and `use_state`.
            kwargs: As in `ZenModel.forward`.

        Returns:
            Per task, in the order asked for, what its head returns when it is called alone.

        Raises:
            ValueError: A task that is not there; a head for videos without videos; or as `check_pixel_values`.
        """
        names = list(self.heads) if tasks is None else list(dict.fromkeys(tasks))
        task_kwargs = task_kwargs or {}
        unknown = [name for name in (*names, *task_kwargs) if name not in self.heads]
        if unknown or not names:
            asked = f"task {unknown[0]!r} is not there" if unknown else "no task is asked for"
            raise ValueError(f"{asked}; this model has {', '.join(self.heads)}")
        videos = [name for name in names if self.heads[name].main_input_name == "pixel_values_videos"]
        if videos and pixel_values.ndim != 5:
            raise ValueError(
                f"task {videos[0]!r} reads videos, so that pixel_values must be (batch, frames, channels, height, "
                f"width), not {tuple(pixel_values.shape)}"
            )
        # (batch, frames, channels, height, width) -> (batch * frames, channels, height, width)
        frames = pixel_values.flatten(0, 1) if pixel_values.ndim == 5 else pixel_values
        tokens = self._encode(frames, names, kwargs)
        return {
            name: self.heads[name](
                pixel_values if name in videos else frames,
                given_tokens=tokens[name if name in self.adapted else PLAIN],
                **task_kwargs.get(name, {}),
            )
            for name in names
        }

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but an encoder with adapters stays in evaluation mode."""
        super().train(mode)
        if self.adapted:
            self.trunk.eval()
        return self

    def _encode(self, frames: torch.Tensor, names: list[str], kwargs: dict[str, Any]) -> dict[str, ModelOutput]:
        """The output of the encoder per adapter, and without one if a task needs that, from one pass."""
        passes = [name for name in names if name in self.adapted]
        if len(passes) < len(names):
            passes = [PLAIN, *passes]
        if self.adapted:
            kwargs = {**kwargs, "adapter_names": [name for name in passes for _ in range(len(frames))]}
        # (rows, ...) -> (passes * rows, ...)
        outputs = self.trunk(frames.repeat(len(passes), *[1] * (frames.ndim - 1)), **kwargs)
        return {
            name: _rows(outputs, index * len(frames), (index + 1) * len(frames)) for index, name in enumerate(passes)
        }


class _Trunk(nn.Module):
    """The encoder under the name that it has in a head, which is how the weights of adapters are named."""

    def __init__(self, zen: ZenModel) -> None:
        super().__init__()
        self.zen = zen
        self.config = zen.config

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        return self.zen(pixel_values, **{**kwargs, "return_dict": True})


class _GivenTokens(nn.Module):
    """Where a head has its encoder: hands out what the shared one has computed, which comes along as an argument."""

    dense_tokens = ZenModel.dense_tokens
    summary_tokens = ZenModel.summary_tokens

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, pixel_values: torch.Tensor, given_tokens: BaseModelOutputWithPooling | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        if given_tokens is None:
            raise ValueError("this head has given up its encoder to a ZenMultiTask; call that one")
        return given_tokens


def _rows(outputs: BaseModelOutputWithPooling, start: int, stop: int) -> BaseModelOutputWithPooling:
    """Some rows of each tensor of an output."""
    fields: dict[str, Any] = {
        name: tuple(layer[start:stop] for layer in value) if isinstance(value, tuple) else value[start:stop]
        for name, value in outputs.items()
    }
    return BaseModelOutputWithPooling(**fields)


def _check_names(heads: Mapping[str, ZenPreTrainedModel], adapters: Mapping[str, Any]) -> None:
    if not heads:
        raise ValueError("there is no task")
    for name in heads:
        # Names of modules: no dot, nothing that a ModuleDict has already.
        if not name.isidentifier() or hasattr(nn.ModuleDict(), name) or name == PLAIN:
            raise ValueError(f"a task cannot be called {name!r}; letters, digits and underscores make a name")
    without = [name for name in adapters if name not in heads]
    if without:
        raise ValueError(f"the adapter of task {without[0]!r} has no head; there are {', '.join(heads)}")


def _refuse_another_encoder(head: ZenPreTrainedModel, encoder: ZenModel, name: str) -> None:
    _refuse_class(type(head), f"task {name!r}")
    fields = encoder_differences(head.config, encoder.config)
    if (head.dtype, head.device) != (encoder.dtype, encoder.device):
        fields.append(f"it is {head.dtype} on {head.device} there and {encoder.dtype} on {encoder.device} here")
    if fields:
        raise ValueError(f"the encoder of task {name!r} is not the shared one: {'; '.join(fields)}")
    assert isinstance(head.zen, ZenModel)
    own, shared = head.zen.state_dict(), encoder.state_dict()
    differing = sorted(key for key in shared if key not in own or not torch.equal(own[key], shared[key]))
    if differing:
        raise ValueError(
            f"the encoder of task {name!r} is not the shared one: {len(differing)} of {len(shared)} weights differ, "
            f"such as {differing[0]}; heads can share an encoder that was frozen while they were trained, or adapted"
        )


def _refuse_class(head_class: type, source: Any) -> None:
    """Refuse a model without a head, and a head that tells the encoder more than the pixels."""
    if issubclass(head_class, ZenModel) or not issubclass(head_class, ZenPreTrainedModel):
        raise ValueError(f"{source} holds a {head_class.__name__}, which is no head")
    if "bool_masked_pos" in inspect.signature(head_class.forward).parameters:
        raise ValueError(f"{source} holds a {head_class.__name__}, which hides patches and cannot share a pass")


def _check_adapter(config: Any, name: str) -> None:
    plain = config.peft_type.value == "LORA" and not config.use_dora and config.bias == "none"
    if not plain:
        kind = "DoRA" if getattr(config, "use_dora", False) else config.peft_type.value
        raise ValueError(
            f"the adapter of task {name!r} is {kind}, but only plain LoRA without biases can share a batch; merge it "
            "and run its model alone"
        )


def _head_class(config: ZenConfig, source: Any) -> type[ZenPreTrainedModel]:
    names = config.architectures or ["nothing"]
    for zen_class in (zen_class for zen_classes in auto_classes().values() for zen_class in zen_classes):
        if zen_class.__name__ == names[0]:
            _refuse_class(zen_class, source)
            return zen_class
    raise ValueError(f"{source} holds {names[0]}, which is no ZEN head")


def _trained_head(source: str | Path, hub: Mapping[str, Any]) -> ZenPreTrainedModel:
    """A saved head, all of whose weights are in the folder: here it is to answer, not to be trained."""
    head_class = _head_class(stored_config(source, None, hub), source)
    head, report = head_class.from_pretrained(source, output_loading_info=True, **hub)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"{source} lacks {len(missing)} weights of its {head_class.__name__}, such as {missing[0]}; train and save "
            "the head first"
        )
    return head


def _head_of_adapter(
    head_class: type[ZenPreTrainedModel], config: ZenConfig, weights: Mapping[str, torch.Tensor], source: Any
) -> ZenPreTrainedModel:
    """The head in the file of an adapter, without an encoder."""
    with init.no_init_weights():
        head = head_class(config)
    head.zen = _GivenTokens(config)
    given = {key: weight for key, weight in weights.items() if not key.startswith(f"{_PREFIX}zen.")}
    refuse_inexact({f"{_PREFIX}{name}": weight for name, weight in head.state_dict().items()}, given, source)
    head.load_state_dict({key.removeprefix(_PREFIX): weight for key, weight in given.items()})
    return head.eval()


__all__ = ["ZenMultiTask"]
