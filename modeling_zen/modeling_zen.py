"""The ZEN encoder: a vision transformer for surgical frames, written as transformers writes its newest ones.

A plain pre-norm ViT (arXiv:2010.11929) with registers (arXiv:2309.16588), LayerScale (arXiv:2103.17239) and the axial
rotary positions of DINOv3 (arXiv:2508.10104). What differs from the DINOv3 model of transformers:

- `num_summary_tokens` learned tokens instead of one class token; `pooler_output` is their mean.
- Any height and width that are multiples of the patch are taken; any other is an error, never a cropped grid.
- Positions are never random, also not in training, and there is no buffer for them: they follow from the grid at each
  forward in float32, so that casting the model to half precision cannot coarsen them.
- Learned absolute positions can stand in for the rotary ones, so that weights of other families run unchanged.
- Stochastic depth grows with depth, as in the paper that introduced it (arXiv:1603.09382).
- `from_pretrained` is strict: a missing, unknown or misshapen weight is an error, not a warning and random numbers.

The files of this package with `_zen` in their names travel to the Hub with the weights; they import nothing of the
project but each other.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Unpack

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneMixin, filter_output_hidden_states
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput, BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils.generic import TransformersKwargs, can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .adapter_zen import read_head_config, refuse_another_model, save_head_config, with_head_config
from .configuration_zen import ZenConfig

# Far beyond any pixel after normalisation (2.7 with ImageNet's numbers, 3.7 with the narrowest in use), far below 255.
LARGEST_NORMALIZED = 20.0


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
        self.position_embeddings = (
            nn.Parameter(torch.empty(1, config.hidden_size, *config.position_grid))
            if config.position_embedding == "learned"
            else None
        )

    def forward(
        self,
        pixel_values: torch.Tensor,
        masked_patches: torch.Tensor | None = None,
        mask_token: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(batch, channels, rows * patch, columns * patch) -> (batch, prefix + rows * columns, hidden).

        Where `masked_patches` (batch, rows * columns) is true, `mask_token` (hidden,) stands for the patch.
        """
        patches = self.patch_embeddings(pixel_values)
        if (masked_patches is None) != (mask_token is None):
            raise ValueError("masked_patches and mask_token go together: patches are hidden behind that token")
        if masked_patches is not None and mask_token is not None:
            # (batch, rows * columns) -> (batch, 1, rows, columns)
            mask = masked_patches.view(patches.shape[0], 1, *patches.shape[-2:])
            patches = torch.where(mask, mask_token.to(patches.dtype).view(1, -1, 1, 1), patches)
        if self.position_embeddings is not None:
            patches = patches + resize_positions(
                self.position_embeddings, patches.shape[-2], patches.shape[-1], self.config.position_resize
            )
        # (batch, hidden, rows, columns) -> (batch, rows * columns, hidden)
        patches = patches.flatten(2).transpose(1, 2)
        prefix = [tokens for tokens in (self.summary_tokens, self.register_tokens) if tokens is not None]
        return torch.cat([*(tokens.expand(patches.shape[0], -1, -1) for tokens in prefix), patches], dim=1)


def resize_positions(positions: torch.Tensor, rows: int, columns: int, method: str) -> torch.Tensor:
    """Learned positions (1, hidden, stored rows, stored columns) for another grid: (1, hidden, rows, columns).

    Computed in float32, returned in the dtype of `positions`. See `ZenConfig.position_resize` for the methods. A grid
    as stored comes back as it is, except by `"bilinear_crop"` when it is no square.
    """
    dtype = positions.dtype
    if method == "bilinear_crop":
        side = max(rows, columns)
        square = nn.functional.interpolate(positions.float(), (side, side), mode="bilinear", align_corners=False)
        return square[:, :, :rows, :columns].to(dtype)
    if positions.shape[-2:] == (rows, columns):
        return positions
    antialias = method == "bicubic_antialias"
    return nn.functional.interpolate(
        positions.float(), (rows, columns), mode="bicubic", align_corners=False, antialias=antialias
    ).to(dtype)


def axial_rotary_embedding(
    rows: int,
    columns: int,
    head_dim: int,
    theta: float,
    device: torch.device,
    min_period: float = 1.0,
    num_prefix_tokens: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the angles by which the tokens of a frame are turned, as in DINOv3 (arXiv:2508.10104, 3.2).

    The centre of a patch has coordinates (y, x) in (-1, 1), each relative to its own side of the image. Every image
    therefore spans the same range: a larger one samples it more finely instead of reaching into positions never
    trained, and a wide frame keeps its coordinates when it is squeezed into a square. With F = head_dim / 4
    frequencies `f_k = theta ** (-k / F) / min_period`, the angles of a patch are
    `2 pi (y f_0 ... y f_(F-1), x f_0 ... x f_(F-1))`, repeated for the other half of the channels. The tokens in front
    of the patches have no position: their angles are 0.

    Returns:
        cos, sin: Both (num_prefix_tokens + rows * columns, head_dim), float32; `sin` negative in the first half of the
            channels, as `rotate_tokens` wants it.
    """
    y = (2 * torch.arange(rows, dtype=torch.float32, device=device) + 1) / rows - 1
    x = (2 * torch.arange(columns, dtype=torch.float32, device=device) + 1) / columns - 1
    # (rows, columns, 2) -> (rows * columns, 2, 1)
    centers = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1).unsqueeze(-1)
    count = head_dim // 4
    frequencies = theta ** (-torch.arange(count, dtype=torch.float32, device=device) / count) / min_period
    # (rows * columns, 2, count) -> (rows * columns, head_dim / 2) -> (rows * columns, head_dim)
    angles = (2 * math.pi * centers * frequencies).flatten(1)
    angles = nn.functional.pad(angles, (0, 0, num_prefix_tokens, 0))
    return angles.cos().repeat(1, 2), torch.cat((-angles.sin(), angles.sin()), dim=-1)


def rotate_tokens(tokens: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn queries or keys by their angles: channels k and k + head_dim / 2 are the two axes of one plane.

    With the sign inside `sin` this is the fewest passes over memory, which is what a rotation costs.

    Args:
        tokens: (batch, heads, tokens, head_dim).
        cos: (tokens, head_dim), float32, as `axial_rotary_embedding` gives it.
        sin: (tokens, head_dim), float32, as `axial_rotary_embedding` gives it.

    Returns:
        Shape and dtype of `tokens`; the rotation itself is computed in float32.
    """
    first, second = tokens.chunk(2, dim=-1)
    return torch.addcmul(tokens * cos, torch.cat((second, first), dim=-1), sin).to(tokens.dtype)


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
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(batch, tokens, hidden) -> the same shape, and the attention weights where the implementation has them."""
        # (batch, tokens, hidden) -> (batch, heads, tokens, head_dim)
        shape = (*hidden_states.shape[:-1], self.num_heads, self.head_dim)
        query = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        if position_embeddings is not None:
            query = rotate_tokens(query, *position_embeddings)
            key = rotate_tokens(key, *position_embeddings)

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

    def forward(self, hidden_states: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        """`hidden_states + scale * branch`, in one pass over memory; all (batch, tokens, hidden)."""
        return torch.addcmul(hidden_states, branch, self.scale)


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
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """(batch, tokens, hidden) -> the same shape.

        `position_embeddings` are as `axial_rotary_embedding` makes them, `None` if the tokens carry learned positions.
        """
        attended, _ = self.attention(self.norm1(hidden_states), position_embeddings, **kwargs)
        hidden_states = self.layer_scale1(hidden_states, self.drop_path(attended))
        return self.layer_scale2(hidden_states, self.drop_path(self.mlp(self.norm2(hidden_states))))


class ZenPreTrainedModel(PreTrainedModel):
    """What all ZEN models share: flags for transformers, initialisation, strict loading."""

    config: ZenConfig
    config_class = ZenConfig
    base_model_prefix = "zen"
    main_input_name = "pixel_values"
    input_modalities = ["image"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    # Losses of ZEN are means over the batch, which Trainer has to divide by the batches it accumulates. Of a model that
    # takes any keyword it would believe that the model has done so.
    accepts_loss_kwargs = False
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
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
            init.trunc_normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ZenEmbeddings):
            init.trunc_normal_(module.summary_tokens, mean=0.0, std=self.config.initializer_range)
            if module.register_tokens is not None:
                init.trunc_normal_(module.register_tokens, mean=0.0, std=self.config.initializer_range)
            if module.position_embeddings is not None:
                init.trunc_normal_(module.position_embeddings, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, ZenLayerScale):
            init.constant_(module.scale, self.config.layerscale_value)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Load a model as transformers does, but refuse a checkpoint that does not hold exactly its weights.

        transformers fills what a checkpoint lacks with random numbers, drops what it does not know, and warns about
        both. Here each is an error. Only weights that begin with a name in `_weights_that_may_be_new` may be missing,
        and only with `ignore_mismatched_sizes=True`, which is the caller's own word, may a shape differ.

        A folder with an adapter is loaded onto the encoder that it names, as the model whose adapter it is.

        Returns:
            The model in evaluation mode; with `output_loading_info=True` also the report of transformers.

        Raises:
            ValueError: Naming the weights that are missing, unknown or of another shape; a weight file is damaged; or
                the weights are wanted from a pickle.
            OSError: There are no weights in safetensors, or there is no such folder or repository.
        """
        if not kwargs.setdefault("use_safetensors", True):
            raise ValueError("ZEN loads weights from safetensors only: a pickle can run any code when it is opened")
        wants_report = kwargs.pop("output_loading_info", False)
        kwargs = with_head_config(pretrained_model_name_or_path, kwargs)
        if "_adapter_model_path" in (kwargs.get("adapter_kwargs") or {}):  # an Auto class, which has seen the encoder
            zen_class = cls._class_of_adapter(kwargs["config"])
            if zen_class is not cls:
                kwargs["output_loading_info"] = wants_report
                return zen_class.from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        try:
            loaded: Any = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise ValueError(f"the weights in {pretrained_model_name_or_path} cannot be read: {error}") from error
        return loaded if wants_report else loaded[0]

    def load_adapter(self, peft_model_id: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Load an adapter as transformers does, but refuse one that does not hold exactly its weights.

        Raises:
            ValueError: Naming the weights that are missing, unknown or of another shape; or the adapter belongs to a
                model with another config.
        """
        if "load_config" not in kwargs and peft_model_id is not None:  # there is one inside `from_pretrained`
            stored = read_head_config(peft_model_id, **kwargs)
            if stored is not None:
                refuse_another_model(stored, self.config, peft_model_id, head=self.base_model is not self)
        # transformers 5.23 misses the name under which PEFT keeps the magnitudes of DoRA, and leaves them as they were.
        magnitudes = WeightRenaming(r"(lora_magnitude_vector\.[^.]+)$", r"\1.weight")
        known = kwargs["load_config"].weight_mapping if "load_config" in kwargs else get_model_conversion_mapping(self)
        options = {"ignore_mismatched_sizes": True, "weight_mapping": [*(known or ()), magnitudes]}
        report = super().load_adapter(peft_model_id, *args, **{**kwargs, **options})
        self._refuse_inexact(
            peft_model_id, report.missing_keys, report.unexpected_keys, report.mismatched_keys, may_be_new=()
        )
        return report

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Save as transformers does, with the code of all ZEN classes, so that one folder serves every Auto class.

        And our pipeline. The Auto class of a head that is saved here leads back to that head.
        """
        from .pipeline_zen import CUSTOM_PIPELINES  # here, because loading a model needs no pipeline

        entries = {name: _file_and_class(zen_classes[0]) for name, zen_classes in auto_classes().items()}
        self.config.auto_map = {"AutoConfig": _file_and_class(type(self.config)), **entries}
        before = getattr(self.config, "custom_pipelines", {})
        self.config.custom_pipelines = CUSTOM_PIPELINES
        try:
            super().save_pretrained(save_directory, *args, **kwargs)
        finally:
            self.config.custom_pipelines = before  # `ZenConfig` says why it may be in the file only
        if self._hf_peft_config_loaded and kwargs.get("is_main_process", True):  # that was an adapter only
            save_head_config(self.config, type(self).__name__, save_directory)

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
    def _class_of_adapter(cls, config: Any) -> "type[ZenPreTrainedModel]":
        """Of the classes behind one Auto class, the one that an adapter was saved from."""
        name = (config.architectures or [""])[0]
        for default, *others in auto_classes().values():
            if cls is default:
                return next((other for other in others if other.__name__ == name), cls)
        return cls

    @classmethod
    def _may_be_left_out(cls) -> tuple[str, ...]:
        """Beginnings of the names of weights that a checkpoint may hold in vain."""
        return ()

    @classmethod
    def _refuse_inexact(
        cls,
        source: Any,
        missing: Iterable[str],
        unknown: Iterable[str],
        misshapen: Iterable[tuple] = (),
        may_be_new: tuple[str, ...] | None = None,
    ) -> None:
        may_be_new = cls._weights_that_may_be_new if may_be_new is None else may_be_new
        faults = {
            "missing": [key for key in missing if not key.startswith(may_be_new)],
            "unknown to the model": [key for key in unknown if not key.startswith(cls._may_be_left_out())],
            "of another shape": [f"{key} is {tuple(found)}, not {tuple(right)}" for key, found, right in misshapen],
        }
        texts = [f"{len(keys)} {fault}: {first_few(keys)}" for fault, keys in faults.items() if keys]
        if texts:
            source = "the state dict" if source is None else source
            raise ValueError(f"{source} does not hold exactly the weights of {cls.__name__}: {'; '.join(texts)}")


def _file_and_class(zen_class: type) -> str:
    """What `auto_map` calls a class: file.Class."""
    return f"{zen_class.__module__.rsplit('.', 1)[-1]}.{zen_class.__name__}"


def first_few(keys: list[str], limit: int = 10) -> str:
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
        self.norm = (
            nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.final_layer_norm else nn.Identity()
        )
        self.post_init()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: torch.Tensor,
        masked_patches: torch.Tensor | None = None,
        mask_token: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Encode a batch of frames.

        Args:
            pixel_values: (batch, channels, height, width), floating point, normalised as `ZenImageProcessor` does.
                Height and width are multiples of the patch size. Cast to the dtype of the weights.
            masked_patches: (batch, rows * columns), bool; the patches to hide behind `mask_token`.
            mask_token: (hidden,); the encoder has none of its own, a masked image model brings it.
            kwargs: `output_hidden_states` (True, a layer index or a list of them), `output_attentions` (with eager
                attention only), `return_dict`.

        Returns:
            last_hidden_state: (batch, summary + register + rows * columns tokens, hidden) after the final LayerNorm;
                patches row by row from the top left.
            pooler_output: (batch, hidden), the mean of the summary tokens of `last_hidden_state`.
            hidden_states: On request, the embeddings and the output of each layer, before the final LayerNorm.
            attentions: On request, per layer (batch, heads, tokens, tokens).

        Raises:
            ValueError: As `check_pixel_values`.
        """
        rows, columns = check_pixel_values(pixel_values, self.config)
        hidden_states = self.embeddings(
            pixel_values.to(self.embeddings.patch_embeddings.weight.dtype), masked_patches, mask_token
        )
        position_embeddings = None
        if self.config.position_embedding == "rotary":
            position_embeddings = axial_rotary_embedding(
                rows,
                columns,
                head_dim=self.config.hidden_size // self.config.num_attention_heads,
                theta=self.config.rope_theta,
                device=hidden_states.device,
                min_period=self.config.rope_min_period,
                num_prefix_tokens=self.config.num_prefix_tokens,
            )
        for layer in self.layers:
            hidden_states = layer(hidden_states, position_embeddings=position_embeddings, **kwargs)
        hidden_states = self.norm(hidden_states)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_states, pooler_output=self.summary_tokens(hidden_states).mean(dim=1)
        )

    @classmethod
    def _may_be_left_out(cls) -> tuple[str, ...]:
        """The encoder of a folder that was saved with a head is loaded without it."""
        heads = [zen_class for zen_classes in auto_classes().values() for zen_class in zen_classes]
        return tuple(prefix for head in heads for prefix in head._weights_that_may_be_new)

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


def check_pixel_values(pixel_values: torch.Tensor, config: ZenConfig) -> tuple[int, int]:
    """Refuse what cannot be a batch of normalised frames.

    Values are looked at only where that costs nothing worth mentioning: on the CPU, outside of `torch.compile`.

    Returns:
        Rows and columns of patches.

    Raises:
        ValueError: `pixel_values` has another number of axes or channels, is empty, holds integers, NaN, infinity or
            numbers as large as pixels (all of which were not normalised), or its sides are no multiples of the patch
            (naming the nearest legal sizes).
    """
    if pixel_values.ndim != 4 or pixel_values.shape[1] != config.num_channels:
        raise ValueError(
            f"pixel_values must be (batch, {config.num_channels}, height, width), not {tuple(pixel_values.shape)}"
        )
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values must be normalised floating point numbers, not {pixel_values.dtype}; "
            "ZenImageProcessor makes them from 8-bit images"
        )
    grid = config.grid_size(*pixel_values.shape[-2:])
    if not len(pixel_values):
        raise ValueError(f"pixel_values holds no frame: its shape is {tuple(pixel_values.shape)}")
    if pixel_values.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (float(value) for value in torch.aminmax(pixel_values.detach()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("pixel_values holds NaN or infinity")
        if max(-low, high) > LARGEST_NORMALIZED:
            raise ValueError(
                f"pixel_values holds values from {low:.3g} to {high:.3g}, which normalised frames never do; "
                "ZenImageProcessor makes them from 8-bit images"
            )
    return grid


class ZenPyramid(nn.Module):
    """Maps of several strides from maps of one, as ViTDet makes its simple feature pyramid (arXiv:2203.16527, 3).

    Every factor of two upwards is a transposed convolution, every factor of two downwards a max pooling.
    """

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        width = config.hidden_size
        # Named by factor too: a pyramid of other factors must not take over the layers of this one.
        self.scales = nn.ModuleDict()
        for index, factor in enumerate(config.pyramid_scale_factors or ()):
            steps: list[nn.Module] = []
            for _ in range(round(math.log2(max(factor, 1)))):
                # GELU between two steps: without it they were one linear map.
                steps += [*([nn.GELU()] if steps else []), nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)]
            for _ in range(round(-math.log2(min(factor, 1)))):
                steps.append(nn.MaxPool2d(kernel_size=2, stride=2))
            self.scales[f"{index}_x{factor:g}".replace(".", "_")] = nn.Sequential(*steps)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """One map (batch, hidden, rows, columns) for all scales, or one each, to one per scale."""
        if len(maps) not in (1, len(self.scales)):  # `out_features` can be set after the config was checked
            raise ValueError(f"{len(self.scales)} pyramid_scale_factors need 1 map or as many, not {len(maps)}")
        sources = maps * len(self.scales) if len(maps) == 1 else maps
        return [scale(source) for scale, source in zip(self.scales.values(), sources, strict=True)]


class ZenBackbone(BackboneMixin, ZenModel):
    """The encoder as the heads of transformers want it: UperNet, DPT, Mask2Former, DETR and their kin.

    `ZenConfig` says which stages come back and in which form: maps, maps of several strides, or token sequences.

    Example:
        >>> config = ZenConfig.from_size("nano", out_features=["stage6"], pyramid_scale_factors=[2, 1, 0.5])
        >>> [tuple(feature_map.shape) for feature_map in ZenBackbone(config)(torch.zeros(1, 3, 64, 96)).feature_maps]
        [(1, 192, 8, 12), (1, 192, 4, 6), (1, 192, 2, 3)]
    """

    _weights_that_may_be_new = ("pyramid.",)

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_size] * (config.num_hidden_layers + 1)
        if config.pyramid_scale_factors is not None:
            self.pyramid = ZenPyramid(config)
            self.post_init()

    @property
    def channels(self) -> list[int]:
        """Channels of each map that `forward` returns."""
        return [self.config.hidden_size] * len(self.config.pyramid_scale_factors or self.out_features)

    @can_return_tuple
    @filter_output_hidden_states
    def forward(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BackboneOutput:
        """Encode a batch of frames.

        Args:
            pixel_values: As in `ZenModel.forward`.
            kwargs: As in `ZenModel.forward`.

        Returns:
            feature_maps: Per stage of `out_features` (batch, hidden, rows, columns); one per factor with
                `pyramid_scale_factors`; (batch, [1 +] rows * columns, hidden) with `reshape_hidden_states=False`.
            hidden_states, attentions: On request, as in `ZenModel.forward`.

        Raises:
            ValueError: As `check_pixel_values`.
        """
        outputs = ZenModel.forward(self, pixel_values, **kwargs)  # not super(): the mixin stands between
        maps = []
        for name, hidden_state in zip(self.stage_names, outputs.hidden_states, strict=True):
            if name not in self.out_features:
                continue
            if self.config.apply_layernorm or name == self.stage_names[-1]:
                hidden_state = self.norm(hidden_state)
            maps.append(self._as_configured(hidden_state, *pixel_values.shape[-2:]))
        if self.config.pyramid_scale_factors is not None:
            maps = self.pyramid(maps)
        return BackboneOutput(
            feature_maps=tuple(maps),  # type: ignore[arg-type]  # annotated upstream as a tuple of one
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _as_configured(self, hidden_state: torch.Tensor, height: int, width: int) -> torch.Tensor:
        if self.config.reshape_hidden_states:
            return self.dense_tokens(hidden_state, height, width)
        patches = hidden_state[:, self.config.num_prefix_tokens :]
        if not self.config.return_class_token:
            return patches
        return torch.cat([self.summary_tokens(hidden_state).mean(dim=1, keepdim=True), patches], dim=1)


def auto_classes() -> dict[str, tuple[type[ZenPreTrainedModel], ...]]:
    """The ZEN classes behind each Auto class of transformers, by the name of the latter.

    Where there are several, the first is the default and `architectures` in config.json asks for another.
    """
    # Here and not above, because those files import this one. transformers reads these lines too: they are why the
    # code of every class is laid beside the weights, whichever class is saved.
    from .modeling_zen_image import (
        ZenForActionTriplet,
        ZenForDepthEstimation,
        ZenForImageClassification,
        ZenForMaskedImageModeling,
        ZenForSemanticSegmentation,
    )
    from .modeling_zen_text import ZenForVisualQuestionAnswering, ZenForZeroShotImageClassification
    from .modeling_zen_video import ZenForVideoClassification, ZenForVideoFrameClassification

    return {
        "AutoModel": (ZenModel,),
        "AutoBackbone": (ZenBackbone,),
        "AutoModelForImageClassification": (ZenForImageClassification, ZenForActionTriplet),
        "AutoModelForVideoClassification": (ZenForVideoClassification, ZenForVideoFrameClassification),
        "AutoModelForSemanticSegmentation": (ZenForSemanticSegmentation,),
        "AutoModelForDepthEstimation": (ZenForDepthEstimation,),
        "AutoModelForMaskedImageModeling": (ZenForMaskedImageModeling,),
        "AutoModelForZeroShotImageClassification": (ZenForZeroShotImageClassification,),
        "AutoModelForVisualQuestionAnswering": (ZenForVisualQuestionAnswering,),
    }


__all__ = ["ZenBackbone", "ZenModel", "ZenPreTrainedModel"]
