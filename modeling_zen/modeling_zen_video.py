"""Heads of ZEN for videos: one label per clip, or one per frame from the frames so far."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.utils.generic import ModelOutput, TransformersKwargs, can_return_tuple

from .configuration_zen import ZenConfig
from .labels_zen import check_for_problem
from .modeling_zen import ZenMLP, ZenModel, ZenPreTrainedModel
from .temporal_loss_zen import frame_loss
from .temporal_zen import TEMPORAL_HEADS, ZenTemporalLinear, ZenTemporalState, init_as_torch

# Cosines of the position in a clip: the fastest tells apart the neighbors among 16 frames, the usual number per clip.
NUM_POSITION_WAVES = 16


class ZenAttentivePooler(nn.Module):
    """One vector of a clip: a learned query attends over the features of its frames.

    As the attentive probe of V-JEPA (arXiv:2404.08471, section 4): cross-attention with one learned query, and an MLP,
    each with a residual connection. Over frames rather than patches, since the encoder has already pooled those.

    The order of frames counts: each feature gets a learned mixture of `cos(pi k x)`, k = 1 ... 16, added to it, where x
    in (0, 1) is the place of the frame among those of its clip. A place relative to the clip, so that sampling the same
    clip more densely, or padding it, moves nothing.
    """

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.position_proj = ZenTemporalLinear(NUM_POSITION_WAVES, width, bias=False)
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.q_proj = nn.Linear(width, width)
        self.kv_proj = nn.Linear(width, 2 * width)
        self.o_proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = ZenMLP(config)
        self.norm3 = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, features: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        """(batch, frames, hidden) and which frames are real (batch, frames) -> (batch, hidden)."""
        place = frame_places(frame_mask)
        waves = torch.arange(1, NUM_POSITION_WAVES + 1, device=place.device)
        positions = (math.pi * place.unsqueeze(-1) * waves).cos().to(features.dtype)
        features = self.norm1(features + self.position_proj(positions))
        # (batch, frames, 2 * hidden) -> 2 x (batch, heads, frames, head_dim)
        key, value = self.kv_proj(features).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query = self.query.expand(len(features), -1, -1)
        # (batch, 1, hidden) -> (batch, heads, 1, head_dim)
        heads = self.q_proj(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        pooled = nn.functional.scaled_dot_product_attention(heads, key, value, attn_mask=frame_mask[:, None, None])
        # (batch, heads, 1, head_dim) -> (batch, 1, hidden)
        query = query + self.o_proj(pooled.transpose(1, 2).flatten(-2))
        query = query + self.mlp(self.norm2(query))
        return self.norm3(query).squeeze(1)


def frame_places(frame_mask: torch.Tensor) -> torch.Tensor:
    """Where each real frame lies in its clip: (i + 1/2) / n for the i-th of n, counted from 0.

    Args:
        frame_mask: (batch, frames), bool, true where there is a frame.

    Returns:
        (batch, frames), float32, in (0, 1); of no meaning where there is no frame.
    """
    rank = frame_mask.cumsum(dim=1)
    return (rank - 0.5) / rank[:, -1:]


class ZenForVideoClassification(ZenPreTrainedModel):
    """One label, several labels or numbers per clip: attentive pooling over the frames, then a linear layer.

    Example:
        >>> model = ZenForVideoClassification(ZenConfig.from_size("nano", num_labels=7))
        >>> model(torch.zeros(2, 8, 3, 64, 64)).logits.shape
        torch.Size([2, 7])
    """

    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)  # type: ignore[assignment]
    _no_split_modules = ["ZenEmbeddings", "ZenLayer", "ZenAttentivePooler"]  # noqa: RUF012
    _weights_that_may_be_new = ("pooler.", "classifier.")

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # two if none were named
        self.num_labels = config.num_labels
        self.zen = ZenModel(config)
        self.pooler = ZenAttentivePooler(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ZenAttentivePooler):
            init.trunc_normal_(module.query, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, ZenTemporalLinear):
            init_as_torch(module)

    @can_return_tuple
    def forward(
        self,
        pixel_values_videos: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ImageClassifierOutput:
        """Classify a batch of clips.

        Args:
            pixel_values_videos: (batch, frames, channels, height, width), as `ZenVideoProcessor` makes them.
            frame_mask: (batch, frames), bool: true where there is a frame, false where a shorter clip was filled up.
                The filling counts nowhere; it must be finite.
            labels: As in `ZenForImageClassification.forward`, one row per clip.
            kwargs: As in `ZenModel.forward`.

        Returns:
            loss: Cross-entropy, binary cross-entropy or squared error, a mean; with `labels`.
            logits: (batch, num_labels).
            hidden_states, attentions: On request, those of the encoder: (batch * frames, ...), clip by clip.

        Raises:
            ValueError: There are no frames, `frame_mask` does not fit or leaves a clip without one, labels are of
                another shape, dtype or range, or as `check_pixel_values`.
        """
        outputs = encode_frames(self.zen, pixel_values_videos, **kwargs)
        # (batch * frames, hidden) -> (batch, frames, hidden)
        assert outputs.pooler_output is not None
        features = outputs.pooler_output.unflatten(0, pixel_values_videos.shape[:2])
        if frame_mask is None:
            frame_mask = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        _check_frame_mask(frame_mask, features)
        logits = self.classifier(self.dropout(self.pooler(features, frame_mask.to(features.device))))
        loss = None
        if labels is not None:
            check_for_problem(labels, self.config, batch=len(logits))
            labels = labels if labels.is_floating_point() else labels.long()
            loss = self.loss_function(labels, logits.float(), self.config, **kwargs)
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


@dataclass
class ZenVideoFrameClassifierOutput(ModelOutput):
    """What `ZenForVideoFrameClassification` returns.

    Attributes:
        loss: As `frame_loss`; with `labels`.
        logits: (batch, frames, num_labels), of the last stage.
        stage_logits: (batch, stages, frames, num_labels), of all stages.
        temporal_state: What the next call needs to go on from here, if asked for.
        frame_features: (batch, frames, hidden), as given or as the encoder made them.
        hidden_states: On request, those of the encoder: (batch * frames, tokens, hidden) each.
        attentions: Likewise, (batch * frames, heads, tokens, tokens) each.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    stage_logits: torch.Tensor | None = None
    temporal_state: ZenTemporalState | None = None
    frame_features: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ZenForVideoFrameClassification(ZenPreTrainedModel):
    """One label, or several, for every frame of a video from the frames so far: phases, steps, gestures, presence.

    `ZenConfig.temporal_head` names the head: `"convolution"` or `"transformer"`. Either is causal, takes a video of any
    length whole or in pieces, and counts frames, not seconds: run it at the frame rate that it was trained at.

    Labels are one per frame unless `problem_type="multi_label_classification"`.

    Raises:
        ValueError: `problem_type` is regression.

    Example, a stream frame by frame:
        >>> model = ZenForVideoFrameClassification(ZenConfig.from_size("nano", num_labels=7)).eval()
        >>> state = None
        >>> for frame in torch.zeros(3, 1, 1, 3, 64, 64):
        ...     outputs = model(frame, temporal_state=state, use_state=True)
        ...     state = outputs.temporal_state
        >>> outputs.logits.shape
        torch.Size([1, 1, 7])

    Example, the usual two steps of training, of which the second is cheap:
        >>> features = model.get_frame_features(torch.zeros(1, 5, 3, 64, 64))
        >>> model(frame_features=features, labels=torch.zeros(1, 5, dtype=torch.long)).loss.shape
        torch.Size([])
    """

    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)  # type: ignore[assignment]
    _no_split_modules = ["ZenEmbeddings", "ZenLayer", "ZenTemporalConvolution", "ZenTemporalTransformer"]  # noqa: RUF012
    _weights_that_may_be_new = ("temporal_head.",)

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        if config.problem_type == "regression":
            raise ValueError(
                "problem_type 'regression' is none of ZenForVideoFrameClassification: it has "
                "'single_label_classification' and 'multi_label_classification'"
            )
        self.num_labels = config.num_labels
        self.zen = ZenModel(config)
        self.temporal_head = TEMPORAL_HEADS[config.temporal_head](config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ZenTemporalLinear):
            init_as_torch(module)

    @can_return_tuple
    def forward(
        self,
        pixel_values_videos: torch.Tensor | None = None,
        frame_features: torch.Tensor | None = None,
        temporal_state: ZenTemporalState | None = None,
        labels: torch.Tensor | None = None,
        use_state: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ZenVideoFrameClassifierOutput:
        """Classify the next frames of a batch of videos.

        Videos of unequal length are filled up at the end: no frame sees those after it, and the filling has labels that
        are ignored. Only the state after a filled-up video is of no use.

        Args:
            pixel_values_videos: (batch, frames, channels, height, width), as `ZenVideoProcessor` makes them. All are
                encoded at once; of a long video, give pieces, or features.
            frame_features: (batch, frames, hidden) instead, as `get_frame_features` makes them.
            temporal_state: That of the output for the frames before these. `None`: these are the first.
            labels: (batch, frames) integers below `num_labels`, or (batch, frames, num_labels) floats from 0 to 1 for
                several labels per frame; -100 counts nowhere.
            use_state: Whether to return the state after these frames. `None`: if one was given. It carries gradients
                to these frames unless made without any or `detach`ed.
            kwargs: As in `ZenModel.forward`.

        Returns:
            See `ZenVideoFrameClassifierOutput`.

        Raises:
            ValueError: Not exactly one of frames and features is given, shapes do not fit, the state is of another head
                or of other videos, labels are of another shape, dtype or range, or as `check_pixel_values`.
        """
        if (pixel_values_videos is None) == (frame_features is None):
            raise ValueError("exactly one of pixel_values_videos and frame_features must be given")
        encoded: Any = BaseModelOutputWithPooling()
        if pixel_values_videos is not None:
            encoded = encode_frames(self.zen, pixel_values_videos, **kwargs)
            frame_features = encoded.pooler_output.unflatten(0, pixel_values_videos.shape[:2])
        assert frame_features is not None
        self._check_features(frame_features)
        head: Any = self.temporal_head
        features = frame_features.to(next(head.parameters()).dtype)
        if temporal_state is None:
            state = head.empty_state(len(features), like=features)
        else:
            head.check_state(temporal_state, len(features))
            state = temporal_state
        stage_logits, state = head(features, state)
        loss = None
        if labels is not None:
            multi_label = self.config.problem_type == "multi_label_classification"
            loss = frame_loss(stage_logits, labels.to(stage_logits.device), multi_label=multi_label)
        return ZenVideoFrameClassifierOutput(
            loss=loss,
            logits=stage_logits[:, -1],
            stage_logits=stage_logits,
            temporal_state=state if use_state or (use_state is None and temporal_state is not None) else None,
            frame_features=frame_features,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    @torch.no_grad()
    def get_frame_features(self, pixel_values_videos: torch.Tensor, frames_per_pass: int = 64) -> torch.Tensor:
        """What the temporal head reads of each frame, without gradients and in bounded memory: worth storing.

        The feature is `pooler_output` of `ZenModel`, the mean of the summary tokens: what pretraining made to describe
        the whole frame, equally wide for every number of summary tokens and every size of frame.

        Args:
            pixel_values_videos: (batch, frames, channels, height, width); moved to the device of the model pass by
                pass, so that a long video can lie elsewhere.
            frames_per_pass: Frames encoded at once, over all videos.

        Returns:
            (batch, frames, hidden), on the device of the model.

        Raises:
            ValueError: `frames_per_pass` is below 1, the encoder is in training mode and would make noise, there are no
                frames, or as `check_pixel_values`.
        """
        if frames_per_pass < 1:
            raise ValueError(f"frames_per_pass must be at least 1, not {frames_per_pass}")
        if self.zen.training and (self.config.drop_path_rate or self.config.attention_dropout):
            raise ValueError(
                "the encoder is in training mode, where its features are noisy: call model.zen.eval() first"
            )
        passes = _frames(pixel_values_videos).split(frames_per_pass)
        features = [self.zen(frames.to(self.device), return_dict=True).pooler_output for frames in passes]
        return torch.cat(features).unflatten(0, pixel_values_videos.shape[:2])

    def _check_features(self, features: torch.Tensor) -> None:
        width = self.config.hidden_size
        if features.ndim != 3 or features.shape[-1] != width:
            raise ValueError(f"frame_features must be (batch, frames, {width}), not {tuple(features.shape)}")
        if not features.numel():
            raise ValueError(f"frame_features holds no frame: its shape is {tuple(features.shape)}")


def encode_frames(encoder: ZenModel, pixel_values_videos: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
    """The output of the encoder for all frames (batch * frames, ...) of (batch, frames, channels, height, width).

    Raises:
        ValueError: There are no frames, or as `check_pixel_values`.
    """
    return encoder(_frames(pixel_values_videos), return_dict=True, **kwargs)


def _frames(pixel_values_videos: torch.Tensor) -> torch.Tensor:
    if pixel_values_videos.ndim != 5:
        raise ValueError(
            f"pixel_values_videos must be (batch, frames, channels, height, width), not "
            f"{tuple(pixel_values_videos.shape)}"
        )
    if not pixel_values_videos.shape[0] * pixel_values_videos.shape[1]:
        raise ValueError(f"pixel_values_videos holds no frame: its shape is {tuple(pixel_values_videos.shape)}")
    return pixel_values_videos.flatten(0, 1)


def _check_frame_mask(frame_mask: torch.Tensor, features: torch.Tensor) -> None:
    if frame_mask.shape != features.shape[:2] or frame_mask.dtype != torch.bool:
        raise ValueError(
            f"frame_mask must be bool of shape {tuple(features.shape[:2])} (batch, frames), not {frame_mask.dtype} of "
            f"{tuple(frame_mask.shape)}"
        )
    if not torch.compiler.is_compiling() and not frame_mask.any(dim=1).all():
        rows = (~frame_mask.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"frame_mask leaves no frame of clip {rows[0]} of the batch")


__all__ = ["ZenForVideoClassification", "ZenForVideoFrameClassification", "ZenVideoFrameClassifierOutput"]
