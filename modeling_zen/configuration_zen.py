"""`ZenConfig`: every number that shapes a ZEN encoder, named in one place and checked when it is set."""

import difflib
import math
from typing import Any, Literal, Self

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneConfigMixin
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
        "use_cache",
    }
)


@strict
class ZenConfig(BackboneConfigMixin, PreTrainedConfig):
    """Configuration of a ZEN encoder and the heads on it. `ZenConfig()` is the small size, `from_size` any ready one.

    One class for all of them, as one folder of weights serves them all; a field that a head does not read is idle.

    Args:
        hidden_size: Width of a token, a multiple of four times `num_attention_heads` (2-D rotary positions turn pairs
            of channels, half of them by the row, half by the column).
        intermediate_size: Width inside the MLP. `None` becomes `4 * hidden_size`.
        mlp: `"gelu"` is two linear layers around an activation; `"swiglu"` gates the first one (three linear layers,
            so for the parameters of `"gelu"` set `intermediate_size` to 8/3 of the width).
        hidden_act: Which formula of that activation. `None` becomes `"gelu"`, or `"silu"` for `"swiglu"`; other
            members of the family, such as `"quick_gelu"`, exist for converted weights.
        image_size: Pixels, one number or (height, width). Only what the image processor should aim at: the model
            takes every size that is a multiple of the patch. With learned positions, their grid is that of this size.
        num_summary_tokens: Learned tokens that come first and describe the whole frame.
        num_register_tokens: Learned tokens that come next and are thrown away; they keep patches free of global
            bookkeeping (arXiv:2309.16588).
        layerscale_value: What every residual branch is multiplied by before training.
        drop_path_rate: Chance that a sample skips the last layer in training; it grows linearly from 0 at the first.
        position_embedding: `"rotary"` turns queries and keys by the axial angles of DINOv3; `"learned"` adds one vector
            per patch of an image of `image_size`, for weights converted from DINOv2, ViT or C-RADIO.
        position_resize: How learned positions are brought to another grid. `"bicubic"` as DINOv2 of transformers,
            `"bicubic_antialias"` as DINOv2 with registers and timm, `"bilinear_crop"` as C-RADIO (a square as large as
            the longer side, of which the shorter side is cut).
        rope_theta: Ratio between the shortest and longest period of the rotary positions.
        rope_min_period: The shortest of these periods, in half sides of the image.
        final_layer_norm: Whether the tokens are normalised after the last layer. C-RADIO does not.
        out_features: Names of the stages whose maps `ZenBackbone` returns (`"stem"`, `"stage1"`, ...); or their numbers
            as `out_indices`. Default: the last.
        apply_layernorm: Whether `ZenBackbone` normalises every map, not only that of the last stage.
        reshape_hidden_states: `ZenBackbone` returns maps (batch, channels, rows, columns); otherwise token sequences,
            always without registers, as the DPT family reads them.
        return_class_token: Of such sequences, whether the first token is the (mean) summary token.
        pyramid_scale_factors: `ZenBackbone` returns one map per factor, (rows * factor, columns * factor), each made by
            learned layers as in ViTDet (arXiv:2203.16527, 3): `[4, 2, 1, 0.5]` are strides 4, 8, 16, 32 of patch 16.
            They come from the one stage of `out_features`, or each from its own if there are as many.
        temporal_head: Of `ZenForVideoFrameClassification`: `"convolution"` is a causal multi-stage temporal
            convolution (TeCNO, arXiv:2003.10751), `"transformer"` a causal transformer over a window of past frames.
        temporal_window: Frames that a layer of the causal transformer looks back, itself included.
        triplets: Of `ZenForActionTriplet`: per class (instrument, verb, target), as indices of `instruments`, `verbs`
            and `targets`. `modeling_zen.CHOLECT50` holds the official 100.
        min_depth: Smallest depth that `ZenForDepthEstimation` can predict, in the unit of the labels.
        max_depth: The largest.
        text_model: Hub id or folder of the language-aligned teacher (`ZenForZeroShotImageClassification`) or of a text
            encoder (`ZenForVisualQuestionAnswering`). Its weights stay where they are and are loaded when needed.
        text_model_revision: Commit of `text_model`.
        text_hidden_size: Width of the token features of `text_model` (`ZenForVisualQuestionAnswering`).
        projection_dim: Width of the space that images and texts share in `text_model`.
        adaptor_hidden_size: Width inside the adaptor of `ZenForZeroShotImageClassification`. `None` means
            `max(1536, 2 * hidden_size)`, as in the heads that distillation trains.
        fusion_num_layers: Layers in which a question reads the frame (`ZenForVisualQuestionAnswering`).

    Raises:
        ValueError: A value outside its range, values that do not fit together, or an unknown field (the message names
            the closest right one).
        StrictDataclassFieldValidationError: A value of the wrong type.
    """

    model_type = "zen"
    # Beside the logits in outputs; `Trainer` would gather them over a whole evaluation.
    keys_to_ignore_at_inference = ["stage_logits", "temporal_state", "frame_features"]  # noqa: RUF012

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
    qkv_bias: bool = True  # as ViT
    position_embedding: Literal["rotary", "learned"] = "rotary"  # any size without interpolation; as DINOv3
    position_resize: Literal["bicubic", "bicubic_antialias", "bilinear_crop"] = "bicubic"  # learned positions only
    rope_theta: float | int = 100.0  # DINOv3
    rope_min_period: float | int = 1.0  # half sides; DINOv3
    final_layer_norm: bool = True  # as ViT

    # ZenBackbone. Names and defaults are those of the backbones of transformers.
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None
    apply_layernorm: bool = True
    reshape_hidden_states: bool = True
    return_class_token: bool = True  # the DPT family reads it
    pyramid_scale_factors: list[float | int] | None = None  # None: the maps as they are

    # Heads
    num_frames: int = 16  # per clip; as VideoMAE and V-JEPA 2; pipeline("video-classification") samples that many
    classifier_dropout: float | int = 0.0  # chance; probes are regularised by weight decay instead
    temporal_head: Literal["convolution", "transformer"] = "convolution"  # the field's protocol for phases (TeCNO)
    temporal_hidden_size: int = 64  # channels; MS-TCN, arXiv:1903.01945
    temporal_num_stages: int = 2  # TeCNO; more smooth further and see the errors of the first no better
    temporal_num_layers: int = 9  # per stage; looks back 1022 frames, 17 minutes at 1 frame/s; TeCNO
    temporal_kernel_size: int = 3  # frames; MS-TCN
    temporal_num_heads: int = 4  # of the transformer; 16 channels each
    temporal_window: int = 256  # frames of the transformer; 4 minutes at 1 frame/s
    temporal_dropout: float | int | None = None  # chance; None: 0.5 in the convolution (MS-TCN), 0.1 in the transformer
    instruments: list[str] | None = None  # names; None: not a triplet model
    verbs: list[str] | None = None
    targets: list[str] | None = None
    triplets: list[list[int]] | None = None
    semantic_loss_ignore_index: int = 255  # label of pixels that count nowhere; the name and default of transformers
    min_depth: float | int = 1.0  # mm: nothing nearer is in focus
    max_depth: float | int = 300.0  # mm: deeper than any insufflated abdomen
    norm_pix_loss: bool = True  # masked patches are predicted with mean 0 and variance 1; MAE, arXiv:2111.06377
    text_model: str | None = None  # None: not a text model
    text_model_revision: str | None = None  # None: the newest
    text_hidden_size: int = 768  # channels; BERT base, SigLIP base
    projection_dim: int = 768  # channels; SigLIP base
    adaptor_hidden_size: int | None = None  # channels; None: max(1536, 2 * hidden_size), as EUPE
    fusion_num_layers: int = 2  # enough to ask "where" after "what"; closed sets of surgical questions are simple

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuse unknown fields, fill in what is `None`, and check the values against each other."""
        if not type(self).__module__.startswith("transformers_modules."):
            # To those who have the package it has registered the pipeline; for the copy that lies in the folder,
            # `pipeline()` would ask to be trusted.
            kwargs.pop("custom_pipelines", None)
        self._refuse_foreign(kwargs)
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.temporal_dropout is None:
            self.temporal_dropout = 0.5 if self.temporal_head == "convolution" else 0.1
        if self.hidden_act is None:
            self.hidden_act = "silu" if self.mlp == "swiglu" else "gelu"
        self.stage_names = ["stem", *(f"stage{index}" for index in range(1, self.num_hidden_layers + 1))]
        # Given by the caller or read from a file, where their names have no underscore.
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
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
        if "out_features" in overrides or "out_indices" in overrides:  # two ways to say one thing: the new one holds
            config_dict = {name: config_dict[name] for name in config_dict.keys() - {"out_features", "out_indices"}}
        return super().from_dict({**config_dict, **overrides}, **kwargs)

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens in front of the patches: summary tokens and registers."""
        return self.num_summary_tokens + self.num_register_tokens

    @property
    def position_grid(self) -> tuple[int, int]:
        """Rows and columns of patches of an image of `image_size`: the grid of learned positions."""
        sides = [self.image_size] * 2 if isinstance(self.image_size, int) else list(self.image_size)
        return self.grid_size(*sides)

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
        self._check_heads()

    def _check_heads(self) -> None:
        if self.temporal_hidden_size % (2 * self.temporal_num_heads):
            raise ValueError(
                f"temporal_hidden_size {self.temporal_hidden_size} must be a multiple of 2 * temporal_num_heads "
                f"({2 * self.temporal_num_heads}): rotary positions turn pairs of channels"
            )
        if self.min_depth >= self.max_depth:
            raise ValueError(f"min_depth {self.min_depth} must be less than max_depth {self.max_depth}")
        factors = self.pyramid_scale_factors
        if factors is not None:
            wrong = [factor for factor in factors if factor not in (0.25, 0.5, 1, 2, 4)]
            if wrong or not factors:
                raise ValueError(f"pyramid_scale_factors must be out of 4, 2, 1, 0.5 and 0.25, not {factors}")
            if not self.reshape_hidden_states:
                raise ValueError("pyramid_scale_factors make maps; they need reshape_hidden_states=True")
            if len(self._out_features or ()) not in (1, len(factors)):
                raise ValueError(
                    f"pyramid_scale_factors has {len(factors)} factors: out_features must name 1 stage or as many, "
                    f"not {len(self._out_features or ())}"
                )
        parts = {"instruments": self.instruments, "verbs": self.verbs, "targets": self.targets}
        if self.triplets is None:
            return
        absent = [name for name, names in parts.items() if not names]
        if absent:
            raise ValueError(f"triplets need names for their parts: {', '.join(absent)} must be given too")
        sizes = [len(names) for names in parts.values() if names]
        for index, triplet in enumerate(self.triplets):
            if len(triplet) != 3 or not all(0 <= part < size for part, size in zip(triplet, sizes, strict=True)):
                raise ValueError(
                    f"triplets[{index}] is {triplet}, not three indices below {sizes[0]} (instruments), "
                    f"{sizes[1]} (verbs) and {sizes[2]} (targets)"
                )

    def _check_ranges(self) -> None:
        at_least_one = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "patch_size",
            "num_channels",
            "num_summary_tokens",
            "num_frames",
            "temporal_hidden_size",
            "temporal_num_stages",
            "temporal_num_layers",
            "temporal_kernel_size",
            "temporal_num_heads",
            "temporal_window",
            "text_hidden_size",
            "projection_dim",
            "fusion_num_layers",
            *(["adaptor_hidden_size"] if self.adaptor_hidden_size is not None else []),
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.num_register_tokens < 0:
            raise ValueError(f"num_register_tokens must be 0 or more, not {self.num_register_tokens}")
        positive = ("layerscale_value", "layer_norm_eps", "initializer_range", "rope_theta", "rope_min_period")
        for name in (*positive, "min_depth", "max_depth"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a positive number, not {value}")
        for name in ("drop_path_rate", "attention_dropout", "classifier_dropout", "temporal_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and less than 1, not {getattr(self, name)}")

    @classmethod
    def _field_names(cls) -> list[str]:
        """The fields of ZEN as a user writes them, without those of the base class, in the order they stand above."""
        base = PreTrainedConfig.__dataclass_fields__
        return [name.removeprefix("_") for name in cls.__dataclass_fields__ if name not in base]

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
