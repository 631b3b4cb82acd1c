"""The ZEN encoder: a vision transformer for surgical frames, written as transformers writes its newest ones.

A plain pre-norm ViT (arXiv:2010.11929) with registers (arXiv:2309.16588), LayerScale (arXiv:2103.17239) and the axial
rotary positions of DINOv3 (arXiv:2508.10104). What differs from the DINOv3 model of transformers:

- `num_summary_tokens` learned tokens instead of one class token; `pooler_output` is their mean.
- Any height and width that are multiples of the patch are taken; any other is an error, never a cropped grid.
- Positions are never random, also not in training, and there is no buffer for them: they follow from the grid at each
  forward in float32, so that casting the model to half precision cannot coarsen them.
- Stochastic depth grows with depth, as in the paper that introduced it (arXiv:1603.09382).
- `from_pretrained` is strict: a missing, unknown or misshapen weight is an error, not a warning and random numbers.

This file travels to the Hub with the weights and must not import anything of the project but `configuration_zen`.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Unpack

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils.generic import TransformersKwargs
from transformers.utils.output_capturing import capture_outputs

from .configuration_zen import ZenConfig


class ZenEmbeddings(nn.Module):
    """The token sequence: summary tokens, registers, then one token per patch, row by row."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.config = config
        self.summary_tokens = nn.Parameter(torch.empty(1, config.num_summary_tokens, config.hidden_size))
        self.register_tokens = (
            nn.Parameter(torch.empty(1, config.num_register_tokens, config.hidden_size))
            if config.num_register_tokens
            else None
        )
        self.patch_embeddings = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(batch, channels, rows * patch, columns * patch) -> (batch, prefix + rows * columns, hidden)."""
        # (batch, hidden, rows, columns) -> (batch, rows * columns, hidden)
        patches = self.patch_embeddings(pixel_values).flatten(2).transpose(1, 2)
        prefix = [tokens for tokens in (self.summary_tokens, self.register_tokens) if tokens is not None]
        return torch.cat([*(tokens.expand(len(patches), -1, -1) for tokens in prefix), patches], dim=1)


def axial_rotary_embedding(
    rows: int, columns: int, head_dim: int, theta: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the angles by which the patches of a grid are turned, as in DINOv3 (arXiv:2508.10104, 3.2).

    The centre of a patch has coordinates (y, x) in (-1, 1), each relative to its own side of the image. Every image
    therefore spans the same range: a larger one samples it more finely instead of reaching into positions never
    trained, and a wide frame keeps its coordinates when it is squeezed into a square. With F = head_dim / 4
    frequencies `f_k = theta ** (-k / F)`, the angles of a patch are `2 pi (y f_0 ... y f_(F-1), x f_0 ... x f_(F-1))`,
    repeated for the other half of the channels.

    Returns:
        cos, sin: Both (rows * columns, head_dim), float32.
    """
    y = (2 * torch.arange(rows, dtype=torch.float32, device=device) + 1) / rows - 1
    x = (2 * torch.arange(columns, dtype=torch.float32, device=device) + 1) / columns - 1
    # (rows, columns, 2) -> (rows * columns, 2, 1)
    centers = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1).unsqueeze(-1)
    count = head_dim // 4
    frequencies = theta ** (-torch.arange(count, dtype=torch.float32, device=device) / count)
    # (rows * columns, 2, count) -> (rows * columns, head_dim / 2) -> (rows * columns, head_dim)
    angles = (2 * math.pi * centers * frequencies).flatten(1).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate_patches(tokens: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the patches of queries or keys by their angles; the tokens in front of them have no position.

    Args:
        tokens: (batch, heads, prefix + patches, head_dim).
        cos: (patches, head_dim), float32.
        sin: (patches, head_dim), float32.

    Returns:
        Shape and dtype of `tokens`; the rotation itself is computed in float32.
    """
    prefix, patches = tokens.split((tokens.shape[-2] - cos.shape[-2], cos.shape[-2]), dim=-2)
    first, second = patches.chunk(2, dim=-1)
    patches = patches * cos + torch.cat((-second, first), dim=-1) * sin
    return torch.cat((prefix, patches.to(tokens.dtype)), dim=-2)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out, for those who want the attention maps.

    Args:
        module: The attention layer; only its training mode is read.
        query: (batch, heads, tokens, head_dim); so are `key` and `value`.
        key: See `query`.
        value: See `query`.
        attention_mask: Added to the scores, broadcast to (batch, heads, tokens, tokens); `None` for ZEN itself.
        scaling: What the scores are multiplied by.
        dropout: Chance that a weight becomes zero in training.
        kwargs: What only other implementations of the interface read.

    Returns:
        The result (batch, tokens, heads, head_dim) and the weights (batch, heads, tokens, tokens).
    """
    scores = query @ key.transpose(-2, -1) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class ZenAttention(nn.Module):
    """Multi-head self-attention through the attention interface of transformers (eager, sdpa, flash, flex)."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.dropout = float(config.attention_dropout)
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(batch, tokens, hidden) -> the same shape, and the attention weights where the implementation has them."""
        # (batch, tokens, hidden) -> (batch, heads, tokens, head_dim)
        shape = (*hidden_states.shape[:-1], self.num_heads, self.head_dim)
        query = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        query = rotate_patches(query, *position_embeddings)
        key = rotate_patches(key, *position_embeddings)

        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, weights = attention(
            self,
            query,
            key,
            value,
            None,  # no mask: every token sees every token
            dropout=self.dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        # (batch, tokens, heads, head_dim) -> (batch, tokens, hidden)
        return self.o_proj(output.flatten(-2)), weights


class ZenMLP(nn.Module):
    """Two linear layers around an activation."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        assert config.intermediate_size is not None  # the config has filled it in
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act_fn = ACT2FN[config.hidden_act]
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden) -> the same shape."""
        return self.down_proj(self.act_fn(self.up_proj(hidden_states)))


class ZenGatedMLP(ZenMLP):
    """SwiGLU (arXiv:2002.05202): the activation of one linear layer gates another."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.gate_proj = nn.Linear(config.hidden_size, self.up_proj.out_features)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden) -> the same shape."""
        return self.down_proj(self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class ZenLayerScale(nn.Module):
    """A learned factor per channel on a residual branch, small at first so that deep stacks start near the identity."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((config.hidden_size,), float(config.layerscale_value)))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden) -> the same shape."""
        return hidden_states * self.scale


class ZenDropPath(nn.Module):
    """Stochastic depth (arXiv:1603.09382): in training a residual branch is left out for whole samples."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden) -> the same shape; kept samples are enlarged so that the mean stays."""
        if self.rate == 0.0 or not self.training:
            return hidden_states
        keep = torch.rand(len(hidden_states), 1, 1, device=hidden_states.device) >= self.rate
        return hidden_states * keep.to(hidden_states.dtype) / (1 - self.rate)

    def extra_repr(self) -> str:
        """The rate, for `print(model)`."""
        return f"rate={self.rate:.3g}"


class ZenLayer(GradientCheckpointingLayer):
    """Attention and MLP, each normalised before, scaled after and added to what came in."""

    def __init__(self, config: ZenConfig, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ZenAttention(config)
        self.layer_scale1 = ZenLayerScale(config)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ZenGatedMLP(config) if config.mlp == "swiglu" else ZenMLP(config)
        self.layer_scale2 = ZenLayerScale(config)
        self.drop_path = ZenDropPath(drop_path_rate)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """(batch, tokens, hidden) -> the same shape; `position_embeddings` as `axial_rotary_embedding` makes them."""
        attended, _ = self.attention(self.norm1(hidden_states), position_embeddings, **kwargs)
        hidden_states = hidden_states + self.drop_path(self.layer_scale1(attended))
        return hidden_states + self.drop_path(self.layer_scale2(self.mlp(self.norm2(hidden_states))))


class ZenPreTrainedModel(PreTrainedModel):
    """What all ZEN models share: flags for transformers, initialisation, strict loading."""

    config: ZenConfig
    config_class = ZenConfig
    base_model_prefix = "zen"
    main_input_name = "pixel_values"
    input_modalities = ["image"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _no_split_modules = ["ZenEmbeddings", "ZenLayer"]  # noqa: RUF012 - transformers replaces it on instances
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": ZenLayer, "attentions": ZenAttention}  # noqa: RUF012
    _input_embed_layer = "patch_embeddings"

    # Names (or their beginnings) of weights that a checkpoint may lack. Empty for the encoder; a model that puts a
    # fresh head on a pretrained encoder names its head here.
    _weights_that_may_be_new: tuple[str, ...] = ()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear | nn.Conv2d):
            init.trunc_normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ZenEmbeddings):
            init.trunc_normal_(module.summary_tokens, mean=0.0, std=self.config.initializer_range)
            if module.register_tokens is not None:
                init.trunc_normal_(module.register_tokens, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, ZenLayerScale):
            init.constant_(module.scale, self.config.layerscale_value)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Load a model as transformers does, but refuse a checkpoint that does not hold exactly its weights.

        transformers fills what a checkpoint lacks with random numbers, drops what it does not know, and warns about
        both. Here each is an error. Only weights that begin with a name in `_weights_that_may_be_new` may be missing,
        and only with `ignore_mismatched_sizes=True`, which is the caller's own word, may a shape differ.

        Returns:
            The model in evaluation mode; with `output_loading_info=True` also the report of transformers.

        Raises:
            ValueError: Naming the weights that are missing, unknown or of another shape; or a weight file is damaged.
        """
        wants_report = kwargs.pop("output_loading_info", False)
        try:
            loaded: Any = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise ValueError(f"the weights in {pretrained_model_name_or_path} cannot be read: {error}") from error
        model, report = loaded
        # For a folder with an adapter this is the report on the adapter alone; the encoder was checked before it.
        cls._refuse_inexact(pretrained_model_name_or_path, report["missing_keys"], report["unexpected_keys"])
        return loaded if wants_report else model

    @staticmethod
    def _finalize_model_loading(model: Any, load_config: Any, loading_info: Any) -> Any:
        """Check the weights before transformers fills the gaps and warns (it calls this inside `from_pretrained`)."""
        model._adjust_missing_and_unexpected_keys(loading_info)
        model._refuse_inexact(
            load_config.pretrained_model_name_or_path,
            loading_info.missing_keys,
            loading_info.unexpected_keys,
            () if load_config.ignore_mismatched_sizes else loading_info.mismatched_keys,
        )
        return PreTrainedModel._finalize_model_loading(model, load_config, loading_info)

    @classmethod
    def _refuse_inexact(
        cls, source: Any, missing: Iterable[str], unknown: Iterable[str], misshapen: Iterable[tuple] = ()
    ) -> None:
        faults = {
            "missing": [key for key in missing if not key.startswith(cls._weights_that_may_be_new)],
            "unknown to the model": list(unknown),
            "of another shape": [f"{key} is {tuple(found)}, not {tuple(right)}" for key, found, right in misshapen],
        }
        texts = [f"{len(keys)} {fault}: {_first_few(keys)}" for fault, keys in faults.items() if keys]
        if texts:
            source = "the state dict" if source is None else source
            raise ValueError(f"{source} does not hold exactly the weights of {cls.__name__}: {'; '.join(texts)}")


def _first_few(keys: list[str], limit: int = 10) -> str:
    """Names in order, and how many more there are; a wholly foreign checkpoint has hundreds."""
    rest = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(sorted(keys)[:limit]) + rest


class ZenModel(ZenPreTrainedModel):
    """The ZEN encoder: frames in, summary and dense tokens out.

    Example:
        >>> model = ZenModel(ZenConfig.from_size("nano"))
        >>> outputs = model(torch.zeros(2, 3, 224, 320))
        >>> outputs.pooler_output.shape
        torch.Size([2, 192])
        >>> model.dense_tokens(outputs.last_hidden_state, 224, 320).shape
        torch.Size([2, 192, 14, 20])
    """

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        config.validate_architecture()  # a config can be changed after it was made
        self.embeddings = ZenEmbeddings(config)
        last = max(config.num_hidden_layers - 1, 1)
        self.layers = nn.ModuleList(
            ZenLayer(config, drop_path_rate=config.drop_path_rate * index / last)
            for index in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutputWithPooling:
        """Encode a batch of frames.

        Args:
            pixel_values: (batch, channels, height, width), floating point, normalised as `ZenImageProcessor` does.
                Height and width are multiples of the patch size. Cast to the dtype of the weights.
            kwargs: `output_hidden_states` (True, a layer index or a list of them), `output_attentions` (with eager
                attention only), `return_dict`.

        Returns:
            last_hidden_state: (batch, summary + register + rows * columns tokens, hidden) after the final LayerNorm;
                patches row by row from the top left.
            pooler_output: (batch, hidden), the mean of the summary tokens of `last_hidden_state`.
            hidden_states: On request, the embeddings and the output of each layer, before the final LayerNorm.
            attentions: On request, per layer (batch, heads, tokens, tokens).

        Raises:
            ValueError: `pixel_values` has another number of axes or channels, holds integers (8-bit pixels that were
                not normalised), or its sides are no multiples of the patch (naming the nearest legal sizes).
        """
        self._check(pixel_values)
        rows, columns = self.config.grid_size(*pixel_values.shape[-2:])
        hidden_states = self.embeddings(pixel_values.to(self.embeddings.patch_embeddings.weight.dtype))
        position_embeddings = axial_rotary_embedding(
            rows,
            columns,
            head_dim=self.config.hidden_size // self.config.num_attention_heads,
            theta=self.config.rope_theta,
            device=hidden_states.device,
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, position_embeddings=position_embeddings, **kwargs)
        hidden_states = self.norm(hidden_states)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_states, pooler_output=self.summary_tokens(hidden_states).mean(dim=1)
        )

    def summary_tokens(self, last_hidden_state: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden) -> (batch, num_summary_tokens, hidden): what describes the whole frame."""
        return last_hidden_state[:, : self.config.num_summary_tokens]

    def dense_tokens(self, last_hidden_state: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """The patch tokens as a map.

        Args:
            last_hidden_state: (batch, tokens, hidden), as `forward` returns it.
            height: Height of the `pixel_values` it came from, in pixels.
            width: Their width, in pixels.

        Returns:
            (batch, hidden, height / patch, width / patch), a view.

        Raises:
            ValueError: The number of tokens is not that of such an image.
        """
        rows, columns = self.config.grid_size(height, width)
        patches = last_hidden_state[:, self.config.num_prefix_tokens :]
        if patches.shape[1] != rows * columns:
            raise ValueError(
                f"last_hidden_state holds {patches.shape[1]} patches, but an image of {height} x {width} pixels has "
                f"{rows} x {columns} = {rows * columns}"
            )
        # (batch, rows * columns, hidden) -> (batch, hidden, rows, columns)
        return patches.transpose(1, 2).unflatten(2, (rows, columns))

    def _check(self, pixel_values: torch.Tensor) -> None:
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"pixel_values must be (batch, {self.config.num_channels}, height, width), "
                f"not {tuple(pixel_values.shape)}"
            )
        if not pixel_values.is_floating_point():
            raise ValueError(
                f"pixel_values must be normalised floating point numbers, not {pixel_values.dtype}; "
                "ZenImageProcessor makes them from 8-bit images"
            )


__all__ = ["ZenModel", "ZenPreTrainedModel"]
