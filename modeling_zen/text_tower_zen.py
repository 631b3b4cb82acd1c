"""`TextTower`: the text side of a model on the Hub, borrowed by the heads of ZEN that read language.

Traps of the models it borrows from:

- The weights are not ours to pass on. They stay where they are, are loaded when first needed, and the tower is no
  `nn.Module`: a model that holds one neither trains nor saves nor counts them.
- SigLIP and SigLIP 2 read every text padded to full length, without a mask (arXiv:2303.15343, 4.1: 16 tokens there,
  64 in the released models), and pool the last token, mostly padding. Padded to the longest of a batch, as pipelines
  do for a model of our type, the same text would get another embedding in every batch. The tower pads what it gets.
- The `pad_token_id` in the configs of SigLIP 2 is that of SigLIP. Only the tokenizer knows the right one.
- `AutoTokenizer` makes an empty tokenizer of a folder without the files of one, and `AutoModel` fills missing weights
  with random numbers. Both are errors here.
"""

from pathlib import Path
from typing import Any, Unpack

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import logging
from transformers.utils.generic import TransformersKwargs

from .adapter_zen import in_a_line, is_folder
from .configuration_zen import ZenConfig

logger = logging.get_logger(__name__)

# Of `save_pretrained`: what is meant for an upload, not for the weights.
_OF_UPLOADS = ("push_to_hub", "repo_id", "commit_message", "create_pr", "private", "token")


class TextTower:
    """The text side of `config.text_model` at `config.text_model_revision`: frozen, in evaluation mode, without code
    from the Hub.

    A copy (`copy.deepcopy`, pickle) starts without the weights and loads them again when it needs them.

    Every method raises:
        FileNotFoundError: The text model, or the part of it that is needed, is neither a folder nor on the Hub, or the
            Hub cannot be reached.
        ValueError: `config.text_model` is `None`; the text model is damaged, has no text side, or lacks weights of it.
    """

    def __init__(self, config: ZenConfig) -> None:
        self.config = config
        # By what it was loaded for, so that a change of the config or of the dtype loads anew.
        self._models: dict[tuple[str | None, str | None, torch.dtype], tuple[nn.Module, dict[str, float]]] = {}
        self._tokenizers: dict[tuple[str | None, str | None], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the text model; its `model_max_length` is no more than the text side can read."""
        source = (self.config.text_model, self.config.text_model_revision)
        if source not in self._tokenizers:
            limit = longest_text(self._open(AutoConfig, "config"))
            tokenizer = self._open(AutoTokenizer, "tokenizer")
            if not any(tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys()):
                raise FileNotFoundError(f"text_model {self.config.text_model!r} holds no tokenizer")
            if limit is not None:
                tokenizer.model_max_length = min(tokenizer.model_max_length, limit)
            self._tokenizers = {source: tokenizer}
        return self._tokenizers[source]

    def save_tokenizer(self, save_directory: Any, **kwargs: Any) -> None:
        """Lay the tokenizer into a folder; warn if it cannot be had, instead of raising.

        Args:
            save_directory: The folder.
            kwargs: As of `PreTrainedModel.save_pretrained`; what is about uploads is heeded.
        """
        try:
            tokenizer = self.tokenizer
        except (FileNotFoundError, ValueError) as error:
            logger.warning(
                f"{save_directory} is saved without a tokenizer, which pipelines look for there: {error}; add it later "
                "with model.text_tower.save_tokenizer(folder)"
            )
            return
        tokenizer.save_pretrained(save_directory, **{name: kwargs[name] for name in _OF_UPLOADS if name in kwargs})

    def logit_scale_and_bias(self) -> tuple[float, float]:
        """Logarithm of the factor of the cosines of images and texts, and what is added to the product (CLIP: 0).

        Raises:
            ValueError: Also if the text model compares no texts with images.
        """
        _, logits = self._load(torch.float32)
        if "logit_scale" not in logits:
            raise ValueError(f"text_model {self.config.text_model!r} has no logit_scale: it is not of the CLIP family")
        return logits["logit_scale"], logits.get("logit_bias", 0.0)

    # Loading files and padding cannot be compiled.
    @torch.compiler.disable
    @torch.no_grad()
    def embed(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        device: torch.device,
        dtype: torch.dtype,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Texts in the space that they share with images.

        Args:
            input_ids: (texts, tokens), int64, as `tokenizer` makes them, padded to any common length.
            attention_mask: (texts, tokens), 0 at padding; `None` if there is none.
            device: Where to compute.
            dtype: In what to compute.
            kwargs: Of the text model, such as `output_hidden_states`.

        Returns:
            pooler_output: (texts, width), not normalised.
            last_hidden_state: (texts, tokens, text width), where the text model gives it; SigLIP: of full length.
            hidden_states, attentions: On request, where the text model gives them, of as many tokens.

        Raises:
            ValueError: Also if the texts are no tokens of this text model, a text is too long, or the text model
                compares no texts with images.
        """
        model, _ = self._load(dtype)
        if not hasattr(model, "get_text_features"):
            raise ValueError(
                f"text_model {self.config.text_model!r} is a {type(model).__name__}, which has no text tower aligned "
                "with images; CLIP, SigLIP and SigLIP 2 have one"
            )
        input_ids, attention_mask, _ = self._prepare(model, input_ids, attention_mask)
        output = model.to(device).get_text_features(
            input_ids=input_ids.to(device),
            attention_mask=None if attention_mask is None else attention_mask.to(device),
            **{**kwargs, "return_dict": True},
        )
        if isinstance(output, torch.Tensor):  # some families still return the features themselves
            return BaseModelOutputWithPooling(pooler_output=output)
        return output

    @torch.compiler.disable
    @torch.no_grad()
    def token_states(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, device: torch.device, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of every token of texts, by the text side of CLIP or SigLIP or by any text encoder.

        Args:
            input_ids: As in `embed`.
            attention_mask: As in `embed`; without one every token counts (SigLIP: every token but padding).
            device: As in `embed`.
            dtype: As in `embed`.

        Returns:
            The features (texts, tokens, text width), and which tokens count (texts, tokens), bool.

        Raises:
            ValueError: Also if the texts are no tokens of this text model, or a text is too long.
        """
        model, _ = self._load(dtype)
        padded, mask, mine = self._prepare(model, input_ids, attention_mask)
        if attention_mask is None and "siglip" in model.config.model_type:
            attention_mask = input_ids != self.tokenizer.pad_token_id
        encoder = getattr(model, "text_model", model).to(device)
        states = encoder(input_ids=padded.to(device), attention_mask=None if mask is None else mask.to(device))[0]
        counts = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return states[:, mine], counts.to(device).bool()

    def _open(self, auto_class: Any, part: str, **kwargs: Any) -> Any:
        name, revision = self.config.text_model, self.config.text_model_revision
        if name is None:
            raise ValueError(
                "the config names no text_model: set it to the Hub id or folder of one, or give the texts as features"
            )
        local = is_folder(name)
        place = "folder" if local else f"Hub, revision {revision or 'main'}"
        failed = f"the {part} of text_model {name!r} ({place})"
        if local and not Path(name).is_dir():
            raise FileNotFoundError(f"{failed} cannot be loaded: there is no such folder")
        try:
            return auto_class.from_pretrained(name, revision=revision, trust_remote_code=False, **kwargs)
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
            kind = FileNotFoundError if isinstance(error, OSError) else ValueError
            raise kind(f"{failed} cannot be loaded: {in_a_line(error)}") from error

    def _load(self, dtype: torch.dtype) -> tuple[Any, dict[str, float]]:
        """The text side in `dtype`, and `logit_scale` and `logit_bias` where the model has them."""
        key = (self.config.text_model, self.config.text_model_revision, dtype)
        if key not in self._models:
            # In float32 whatever is asked for: the scale is an exponent, and half precision would round it.
            # What is of another shape is looked at below, as what is missing: there the keys are known.
            options = {"output_loading_info": True, "ignore_mismatched_sizes": True}
            model, report = self._open(AutoModel, "weights", dtype=torch.float32, **options)
            names = ("logit_scale", "logit_bias")
            logits = {name: float(getattr(model, name)) for name in names if hasattr(model, name)}
            kept = self._text_side(model)
            absent = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
            missing = sorted(absent & {name for name, _ in model.named_parameters()})
            if missing:
                raise ValueError(
                    f"text_model {self.config.text_model!r} lacks weights of its text side, or has them in another "
                    f"shape: {', '.join(missing[:3])}" + (f" and {len(missing) - 3} more" if missing[3:] else "")
                )
            self._models = {key: (kept.eval().requires_grad_(False).to(dtype), logits)}
        return self._models[key]

    def _text_side(self, model: Any) -> Any:
        """What is left of a model without what reads images, in place.

        A model of two sides keeps its class and `get_text_features`; of any other the encoder of texts is returned.
        """
        if hasattr(model, "get_text_features") and hasattr(model, "text_model"):
            for name, _ in list(model.named_children()):
                if "text" not in name:
                    delattr(model, name)
            return model
        if model.main_input_name != "input_ids" or not isinstance(model.get_input_embeddings(), nn.Embedding):
            raise ValueError(f"text_model {self.config.text_model!r} is a {type(model).__name__}, which reads no text")
        if hasattr(model, "pooler"):
            model.pooler = None  # not read here, and many checkpoints lack it
        return model.get_encoder() if model.config.is_encoder_decoder else model

    def _prepare(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, slice]:
        """Texts and mask as the text side was trained with them, and where in them the given tokens stand."""
        self._check_tokens(model, input_ids, attention_mask)
        length, limit = input_ids.shape[-1], longest_text(model.config)
        if limit is not None and length > limit:
            raise ValueError(
                f"a text has {length} tokens, but text_model {self.config.text_model!r} reads at most {limit}: shorten "
                f"it, or call the tokenizer with truncation=True, max_length={limit}"
            )
        if not self._pads(model, input_ids):
            return input_ids, None if "siglip" in model.config.model_type else attention_mask, slice(None)
        assert limit is not None
        pad, side = self.tokenizer.pad_token_id, self.tokenizer.padding_side
        if pad is None:
            raise ValueError(
                f"the tokenizer of text_model {self.config.text_model!r} has no padding token, and texts must be "
                f"padded to {limit} tokens"
            )
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask.to(input_ids.device) == 0, pad)
        before = limit - length if side == "left" else 0
        padded = nn.functional.pad(input_ids, (before, limit - length - before), value=pad)
        return padded, None, slice(before, before + length)

    def _check_tokens(self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
        if input_ids.ndim != 2 or not input_ids.numel() or input_ids.is_floating_point():
            raise ValueError(
                f"input_ids must be integers (texts, tokens), not {input_ids.dtype} {tuple(input_ids.shape)}"
            )
        if attention_mask is not None and attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask must be {tuple(input_ids.shape)} as input_ids, not {tuple(attention_mask.shape)}"
            )
        known = getattr(getattr(model.config, "text_config", model.config), "vocab_size", None)
        if known is not None and input_ids.device.type == "cpu" and not 0 <= input_ids.min() <= input_ids.max() < known:
            foreign = input_ids[(input_ids < 0) | (input_ids >= known)][0]
            raise ValueError(
                f"input_ids holds token {int(foreign)}, but text_model {self.config.text_model!r} knows tokens 0 to "
                f"{known - 1}: make them by model.text_tower.tokenizer"
            )

    def _pads(self, model: Any, input_ids: torch.Tensor) -> bool:
        """Whether these texts must still be padded to full length."""
        return "siglip" in model.config.model_type and input_ids.shape[-1] < (longest_text(model.config) or 0)


def longest_text(config: Any) -> int | None:
    """Tokens that the text side of a model with this config can read; `None` where there is no limit."""
    limit = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


__all__ = ["TextTower"]
