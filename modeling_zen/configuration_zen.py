"""`ZenConfig`: every number that shapes a ZEN encoder, named in one place and checked when it is set."""

import difflib
import math
from typing import Any, Literal, Self

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig

# width, layers, heads. Heads are always 64 wide, as in every ViT since the first one (arXiv:2010.11929, table 1).
ZEN_SIZES: dict[str, tuple[int, int, int]] = {
    "nano": (192, 6, 3),
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}

# What transformers itself writes into or reads from a config beyond the fields of its base class. Anything else that
# is not a field is a mistake of the writer. (Names that begin with an underscore belong to transformers as well.)
_KEYS_OF_TRANSFORMERS = frozenset(
    {
        "attn_implementation",
        "auto_map",
        "custom_pipelines",
        "experts_implementation",
        "fusion_config",
        "model_type",
        "name_or_path",
        "num_labels",
        "out_features",
        "out_indices",
        "output_attentions",
        "per_layer_config",
        "quantization_config",
        "stage_names",
        "task_specific_params",
        "tie_last_hidden_states",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_weights",
    }
)


@strict
class ZenConfig(PreTrainedConfig):
    """Configuration of a ZEN encoder. `ZenConfig()` is the small size; `ZenConfig.from_size(name)` makes any ready one.

    Args:
        hidden_size: Width of a token, a multiple of four times `num_attention_heads` (2-D rotary positions turn pairs
            of channels, half of them by the row, half by the column).
        intermediate_size: Width inside the MLP. `None` becomes `4 * hidden_size`.
        mlp: `"gelu"` is two linear layers around an activation; `"swiglu"` gates the first one (three linear layers,
            so for the parameters of `"gelu"` set `intermediate_size` to 8/3 of the width).
        hidden_act: Which formula of that activation. `None` becomes `"gelu"`, or `"silu"` for `"swiglu"`; other
            members of the family, such as `"quick_gelu"`, exist for converted weights.
        image_size: Pixels, one number or (height, width). Only what the image processor should aim at: the model
            takes every size that is a multiple of the patch.
        num_summary_tokens: Learned tokens that come first and describe the whole frame.
        num_register_tokens: Learned tokens that come next and are thrown away; they keep patches free of global
            bookkeeping (arXiv:2309.16588).
        layerscale_value: What every residual branch is multiplied by before training.
        drop_path_rate: Chance that a sample skips the last layer in training; it grows linearly from 0 at the first.
        rope_theta: Ratio between the shortest and longest period of the rotary positions.

    Raises:
        ValueError: A value outside its range, values that do not fit together, or an unknown field (the message names
            the closest right one).
        StrictDataclassFieldValidationError: A value of the wrong type.
    """

    model_type = "zen"

    hidden_size: int = 384  # channels; small: the default student of the distillation recipe
    num_hidden_layers: int = 12  # as ViT-S
    num_attention_heads: int = 6  # 64 channels each
    intermediate_size: int | None = None  # channels; None: 4 * hidden_size, as ViT
    mlp: Literal["gelu", "swiglu"] = "gelu"  # SwiGLU pays from ViT-g on (DINOv2, DINOv3 use it only there)
    hidden_act: str | None = None  # None: "gelu" or "silu", whichever `mlp` means
    patch_size: int = 16  # pixels; 14 x 14 patches at 224
    image_size: int | list[int] | tuple[int, ...] = 224  # pixels; a hint for processors
    num_channels: int = 3  # RGB
    num_summary_tokens: int = 1  # one class token, as ViT
    num_register_tokens: int = 4  # DINOv2-reg, DINOv3
    layerscale_value: float | int = 0.1  # up to 18 layers: CaiT, arXiv:2103.17239, section 2; smaller only for deeper
    drop_path_rate: float | int = 0.0  # chance; a student that imitates teachers does not overfit
    attention_dropout: float | int = 0.0  # chance; as every recent ViT
    layer_norm_eps: float = 1e-6  # as ViT and DINOv2
    initializer_range: float = 0.02  # standard deviation of weights and tokens; as ViT
    rope_theta: float | int = 100.0  # DINOv3
    qkv_bias: bool = True  # as ViT

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuse unknown fields, fill in what is `None`, and check the values against each other."""
        self._refuse_foreign(kwargs)
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.hidden_act is None:
            self.hidden_act = "silu" if self.mlp == "swiglu" else "gelu"
        super().__post_init__(**kwargs)
        self.validate_architecture()

    @classmethod
    def from_size(cls, size: str, **overrides: Any) -> Self:
        """A ready size (`"nano"`, `"tiny"`, `"small"`, `"base"`, `"large"`) with any field replaced by `overrides`.

        Raises:
            ValueError: `size` is none of the ready ones.
        """
        if size not in ZEN_SIZES:
            raise ValueError(f"unknown ZEN size {size!r}; the ready sizes are {', '.join(ZEN_SIZES)}")
        width, layers, heads = ZEN_SIZES[size]
        shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        return cls(**{**shape, **overrides})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, but arguments that name a field of ZEN are checked like the ones of the constructor."""
        overrides = {name: kwargs.pop(name) for name in cls._field_names() if name in kwargs}
        return super().from_dict({**config_dict, **overrides}, **kwargs)

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens in front of the patches: summary tokens and registers."""
        return self.num_summary_tokens + self.num_register_tokens

    def grid_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of an image of `height` x `width` pixels.

        Raises:
            ValueError: A side is not a positive multiple of `patch_size`; the message names the nearest legal sizes.
        """
        faults = []
        for side, pixels in (("height", height), ("width", width)):
            if pixels <= 0 or pixels % self.patch_size:
                below = max(pixels // self.patch_size, 1) * self.patch_size
                faults.append(f"{side} {pixels} (nearest: {below} or {below + self.patch_size})")
        if faults:
            raise ValueError(
                f"an image of {height} x {width} pixels (height x width) does not divide into patches of "
                f"{self.patch_size} pixels: change {' and '.join(faults)}"
            )
        return height // self.patch_size, width // self.patch_size

    def validate_architecture(self) -> None:
        """Check ranges and how the values fit together; runs on construction, on saving and when a model is built.

        Raises:
            ValueError: Naming the field, its value and what would be right.
        """
        super().validate_architecture()
        self._check_ranges()
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 4 * num_attention_heads "
                f"({4 * self.num_attention_heads}): 2-D rotary positions need heads whose width is a multiple of 4"
            )
        family = [name for name in ACT2FN if name in ("silu", "swish") or "gelu" in name]
        family = [name for name in family if ("gelu" in name) == (self.mlp == "gelu")]
        if self.hidden_act not in family:
            raise ValueError(f"hidden_act {self.hidden_act!r} is not one of mlp={self.mlp!r}: {', '.join(family)}")
        sides = [self.image_size] * 2 if isinstance(self.image_size, int) else list(self.image_size)
        if len(sides) != 2:
            raise ValueError(f"image_size must be one number or (height, width) in pixels, not {self.image_size}")
        try:
            self.grid_size(*sides)
        except ValueError as error:
            raise ValueError(f"image_size: {error}") from None

    def _check_ranges(self) -> None:
        at_least_one = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "patch_size",
            "num_channels",
            "num_summary_tokens",
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.num_register_tokens < 0:
            raise ValueError(f"num_register_tokens must be 0 or more, not {self.num_register_tokens}")
        for name in ("layerscale_value", "layer_norm_eps", "initializer_range", "rope_theta"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, not {value}")
        for name in ("drop_path_rate", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and less than 1, not {getattr(self, name)}")

    @classmethod
    def _field_names(cls) -> list[str]:
        """The fields of ZEN, without those of the base class, in the order they are written above."""
        return [name for name in cls.__dataclass_fields__ if name not in PreTrainedConfig.__dataclass_fields__]

    def _refuse_foreign(self, extra: dict[str, Any]) -> None:
        model_type = extra.get("model_type", self.model_type)
        if model_type != self.model_type:
            raise ValueError(f"this is the config of a {model_type!r} model; ZenConfig reads model_type 'zen'")
        unknown = [name for name in extra if name not in _KEYS_OF_TRANSFORMERS and not name.startswith("_")]
        if not unknown:
            return
        known = self._field_names()
        hints = []
        for name in unknown:
            close = difflib.get_close_matches(name, known, n=1)
            hints.append(f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name))
        fields = "" if len(hints) == sum("did you mean" in hint for hint in hints) else f"; it has {', '.join(known)}"
        raise ValueError(f"ZenConfig has no field {', '.join(hints)}{fields}")


__all__ = ["ZEN_SIZES", "ZenConfig"]
