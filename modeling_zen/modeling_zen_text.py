"""Heads of ZEN that read language: classes named by prompts, and questions with a closed set of answers.

Their text side is borrowed from the Hub (`text_tower_zen.py`), and not needed where texts are given as features.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils.generic import ModelOutput, TransformersKwargs, can_return_tuple

from .configuration_zen import ZenConfig
from .fusion_zen import ZenFusionLayer
from .labels_zen import IGNORED_LABEL, check_classes, check_for_problem, check_presence
from .modeling_zen import ZenModel, ZenPreTrainedModel, axial_rotary_embedding
from .text_tower_zen import TextTower


@dataclass
class ZenZeroShotImageClassificationOutput(ModelOutput):
    """What `ZenForZeroShotImageClassification` returns.

    Attributes:
        loss: Scalar, with labels.
        logits_per_image: (batch, texts), scaled and shifted cosines. Softmax over the texts of a CLIP, sigmoid of each
            of a SigLIP.
        logits_per_text: (texts, batch), its transpose.
        image_embeds: (batch, projection_dim), of length 1.
        text_embeds: (texts, projection_dim), of length 1.
        hidden_states: On request, as in `ZenModel.forward`.
        attentions: On request, as in `ZenModel.forward`.
    """

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ZenLanguageModel(ZenPreTrainedModel):
    """An encoder and a borrowed text side, `text_tower`; what the heads of this file share."""

    input_modalities = ["image", "text"]  # noqa: RUF012

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.zen = ZenModel(config)
        self.text_tower = TextTower(config)  # no module: neither saved nor trained nor counted

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Save as every ZEN model, with the tokenizer of `config.text_model`, where pipelines look for it.

        If it cannot be had (no network), the weights are saved all the same, and a warning says what is missing.
        """
        super().save_pretrained(save_directory, **kwargs)
        if self.config.text_model is not None and kwargs.get("is_main_process", True):
            self.text_tower.save_tokenizer(save_directory, **kwargs)


class ZenAdaptor(nn.Module):
    """Linear, LayerNorm, GELU, Linear: layer by layer the head that distillation trains, so that it can be copied."""

    def __init__(self, config: ZenConfig) -> None:
        super().__init__()
        width = config.adaptor_hidden_size or max(1536, 2 * config.hidden_size)
        self.fc1 = nn.Linear(config.hidden_size, width)
        self.norm = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, config.projection_dim)

    def forward(self, summary: torch.Tensor) -> torch.Tensor:
        """(batch, hidden) -> (batch, projection_dim)."""
        return self.fc2(nn.functional.gelu(self.norm(self.fc1(summary))))


class ZenForZeroShotImageClassification(ZenLanguageModel):
    """Frames and prompts in the space of a language-aligned teacher: ZEN sees, the teacher's text tower reads.

    `adaptor` brings the summary of a frame into the space that `config.text_model` (CLIP, SigLIP, SigLIP 2) shares
    between images and texts. `logit_scale` and `logit_bias` are that teacher's, once an adaptor is loaded by
    `load_adaptor`; a fresh head has those with which CLIP begins (arXiv:2103.00020, 2.5), and can be trained.

    Example:
        >>> config = ZenConfig.from_size("nano", projection_dim=512)
        >>> model = ZenForZeroShotImageClassification(config)
        >>> model(torch.zeros(2, 3, 224, 224), text_embeds=torch.randn(5, 512)).logits_per_image.shape
        torch.Size([2, 5])
    """

    _weights_that_may_be_new = ("adaptor.", "logit_scale", "logit_bias")

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.adaptor = ZenAdaptor(config)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.logit_bias = nn.Parameter(torch.empty(()))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ZenForZeroShotImageClassification):
            init.constant_(module.logit_scale, math.log(1 / 0.07))
            init.zeros_(module.logit_bias)

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutputWithPooling:
        """Frames in the shared space.

        Args:
            pixel_values: (batch, channels, height, width), as in `ZenModel.forward`.
            kwargs: As in `ZenModel.forward`.

        Returns:
            pooler_output: (batch, projection_dim), not normalised, as in the CLIP family.
            last_hidden_state, hidden_states, attentions: Those of the encoder.
        """
        outputs = self.zen(pixel_values, **{**kwargs, "return_dict": True})
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=self.adaptor(outputs.pooler_output),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Texts in the shared space, by the text tower of `config.text_model`, without gradients.

        Args:
            input_ids: (texts, tokens), int64, as `text_tower.tokenizer` makes them, padded to any common length.
            attention_mask: (texts, tokens), 0 at padding.
            kwargs: `output_hidden_states`, `output_attentions` and `return_dict`.

        Returns:
            pooler_output: (texts, projection_dim), not normalised, as in the CLIP family.
            last_hidden_state: (texts, tokens, width of the tower); the tokens of SigLIP are padded to full length.
            hidden_states, attentions: Those of the tower, on request, of as many tokens.

        Raises:
            FileNotFoundError: The text model cannot be had.
            ValueError: As `TextTower.embed`; or its width is not `config.projection_dim`.
        """
        dtype = self.adaptor.fc2.weight.dtype
        outputs = self.text_tower.embed(input_ids, attention_mask, self.device, dtype, **kwargs)
        self._check_width(outputs.pooler_output, f"text_model {self.config.text_model!r} gives texts")
        return outputs

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ZenZeroShotImageClassificationOutput:
        """Compare every frame with every text.

        Args:
            pixel_values: (batch, channels, height, width), as in `ZenModel.forward`.
            input_ids: (texts, tokens), as in `get_text_features`.
            attention_mask: (texts, tokens), as in `get_text_features`.
            text_embeds: (texts, projection_dim), instead of `input_ids`: embeddings of texts computed before, of any
                length. No text model is needed then.
            labels: (batch,), int64: which text each frame goes with, -100 for a frame that does not count; the loss is
                cross-entropy over the texts (CLIP's, without its other half), averaged over the frames that count. Or
                (batch, texts), floating point in 0 to 1: whether each text goes with the frame; the loss is the binary
                cross-entropy, summed over texts, averaged over frames (SigLIP's, arXiv:2303.15343, equation 1, with the
                unit matrix for a batch of pairs).
            token_type_ids: Not read: a prompt is one segment. Some tokenizers give it.
            kwargs: As in `ZenModel.forward`.

        Returns:
            `ZenZeroShotImageClassificationOutput`.

        Raises:
            FileNotFoundError: As `get_text_features`.
            ValueError: As `get_text_features`; neither or both of `input_ids` and `text_embeds` are given; their width
                is not `projection_dim`; labels of another shape, dtype or range.
        """
        if (input_ids is None) == (text_embeds is None):
            raise ValueError("the texts must be given either as input_ids or as text_embeds")
        if text_embeds is not None:
            self._check_width(text_embeds, "text_embeds holds texts")
        image = self.get_image_features(pixel_values, **{**kwargs, "return_dict": True})
        if text_embeds is None:
            assert input_ids is not None
            text_embeds = self.get_text_features(input_ids, attention_mask, return_dict=True).pooler_output
        image_embeds = nn.functional.normalize(image.pooler_output, dim=-1)
        text_embeds = nn.functional.normalize(text_embeds.to(image_embeds), dim=-1)
        logits_per_text = text_embeds @ image_embeds.T * self.logit_scale.exp() + self.logit_bias
        return ZenZeroShotImageClassificationOutput(
            loss=None if labels is None else zero_shot_loss(logits_per_text.T, labels),
            logits_per_image=logits_per_text.T,
            logits_per_text=logits_per_text,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            hidden_states=image.hidden_states,
            attentions=image.attentions,
        )

    @torch.no_grad()
    def load_adaptor(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Take over a trained adaptor, strictly.

        Args:
            state_dict: `adaptor.fc1.weight`, `adaptor.fc1.bias`, `adaptor.norm.weight`, `adaptor.norm.bias`,
                `adaptor.fc2.weight`, `adaptor.fc2.bias`; `logit_scale` and `logit_bias` may be there too, otherwise
                they are read from the text model. The adaptor must speak the teacher's own space: the inverse of the
                normalizer that its head was trained with belongs into `fc2`.

        Raises:
            FileNotFoundError: The text model is needed and cannot be had.
            ValueError: Weights are missing, unknown or of another shape; nothing has been changed then.
        """
        state = dict(state_dict)
        if not {"logit_scale", "logit_bias"} & state.keys():
            scale, bias = self.text_tower.logit_scale_and_bias()
            state |= {"logit_scale": torch.tensor(scale), "logit_bias": torch.tensor(bias)}
        wanted = {
            name: weight for name, weight in self.named_parameters() if name.startswith(self._weights_that_may_be_new)
        }
        shared = [name for name in state if name in wanted]
        faults = {
            "missing": [name for name in wanted if name not in state],
            "unknown": [name for name in state if name not in wanted],
            "of another shape": [
                f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
                for name in shared
                if state[name].shape != wanted[name].shape
            ],
        }
        texts = [f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names]
        if texts:
            raise ValueError(f"the state dict does not hold exactly the adaptor's weights; {'; '.join(texts)}")
        for name in shared:
            wanted[name].copy_(state[name])

    def _check_width(self, embeds: torch.Tensor, what: str) -> None:
        if embeds.ndim != 2 or embeds.shape[-1] != self.config.projection_dim:
            raise ValueError(
                f"{what} of shape {tuple(embeds.shape)}, but projection_dim asks for (texts, "
                f"{self.config.projection_dim})"
            )


def zero_shot_loss(logits_per_image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of `ZenForZeroShotImageClassification.forward`: logits (batch, texts) to a scalar, in float32.

    Raises:
        ValueError: `labels` is neither (batch,) of numbers of texts nor (batch, texts) of floating point numbers from
            0 to 1.
    """
    batch, texts = logits_per_image.shape
    logits, labels = logits_per_image.float(), labels.to(logits_per_image.device)
    if labels.is_floating_point() and labels.shape == (batch, texts):
        check_presence("labels", labels, (batch, texts))
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum") / batch
    if not labels.is_floating_point() and labels.shape == (batch,):
        check_classes("labels", labels, (batch,), texts, ignored=IGNORED_LABEL)
        count = (labels != IGNORED_LABEL).sum().clamp(min=1)  # a batch without a label: 0, not the mean of nothing
        return nn.functional.cross_entropy(logits, labels.long(), ignore_index=IGNORED_LABEL, reduction="sum") / count
    raise ValueError(
        f"labels must be ({batch},) integers or ({batch}, {texts}) floating point numbers, not {labels.dtype} "
        f"{tuple(labels.shape)}"
    )


class ZenForVisualQuestionAnswering(ZenLanguageModel):
    """One of `num_labels` answers to a question about a frame.

    The words of the question, as the frozen text encoder `config.text_model` (BERT and its kin, or the text side of
    CLIP or SigLIP) gives them, attend to the summary and the patches of the frame in `config.fusion_num_layers` layers;
    their mean is classified. Where a patch is, rotary positions do not write into its token: it is added here.

    Example:
        >>> config = ZenConfig.from_size("nano", num_labels=18, text_hidden_size=512)
        >>> model = ZenForVisualQuestionAnswering(config)
        >>> model(torch.zeros(2, 3, 224, 224), question_states=torch.randn(2, 7, 512)).logits.shape
        torch.Size([2, 18])
    """

    _weights_that_may_be_new = ("question_projection.", "patch_positions.", "fusion.", "fusion_norm.", "classifier.")

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        self.loss_type = "ForSequenceClassification"  # of transformers: by problem_type, one answer or soft labels
        self.question_projection = nn.Linear(config.text_hidden_size, config.hidden_size)
        head_dim = config.hidden_size // config.num_attention_heads
        self.patch_positions = nn.Linear(head_dim, config.hidden_size, bias=False)
        self.fusion = nn.ModuleList(ZenFusionLayer(config) for _ in range(config.fusion_num_layers))
        self.fusion_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(float(config.classifier_dropout))
        assert config.num_labels is not None  # transformers counts id2label
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        question_states: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Answer one question per frame.

        Args:
            pixel_values: (batch, channels, height, width), as in `ZenModel.forward`.
            input_ids: (batch, words), int64, as `text_tower.tokenizer` makes them, padded to any common length.
            attention_mask: (batch, words), 0 at padding.
            question_states: (batch, words, text_hidden_size), instead of `input_ids`: the features of the words
                computed before. No text model is needed then.
            labels: (batch,), int64: the answer, -100 for none; or (batch, num_labels), floating point in 0 to 1: how
                right each answer is (`problem_type="multi_label_classification"`, binary cross-entropy).
            token_type_ids: Not read: a question is one segment. Some tokenizers give it.
            kwargs: As in `ZenModel.forward`.

        Returns:
            loss: Scalar, with labels.
            logits: (batch, num_labels).
            hidden_states, attentions: Those of the encoder, on request, as in `ZenModel.forward`.

        Raises:
            FileNotFoundError: The text model is needed and cannot be had.
            ValueError: As `TextTower.token_states`; neither or both of `input_ids` and `question_states` are given;
                their width is not `text_hidden_size`; not one question per frame; a question without a word (looked
                for on the CPU only); labels of another shape, dtype or range.
        """
        if (input_ids is None) == (question_states is None):
            raise ValueError("the questions must be given either as input_ids or as question_states")
        outputs = self.zen(pixel_values, **{**kwargs, "return_dict": True})
        weight = self.question_projection.weight
        source = "question_states holds questions"
        if question_states is None:
            assert input_ids is not None
            source = f"text_model {self.config.text_model!r} gives questions"
            question_states, attention_mask = self.text_tower.token_states(
                input_ids, attention_mask, weight.device, weight.dtype
            )
        if attention_mask is None:
            attention_mask = torch.ones(question_states.shape[:2], dtype=torch.bool, device=weight.device)
        mask = attention_mask.to(weight.device).bool()
        self._check_questions(question_states, mask, len(pixel_values), source)

        words = self.question_projection(question_states.to(weight))
        frame = self._frame_tokens(outputs.last_hidden_state, *pixel_values.shape[-2:])
        for layer in self.fusion:
            words = layer(words, frame, mask[:, None, None])
        # (batch, words, hidden) -> (batch, hidden), the mean of the words that count
        shares = (mask / mask.sum(dim=1, keepdim=True)).to(words.dtype)
        pooled = (self.fusion_norm(words) * shares.unsqueeze(-1)).sum(dim=1)
        logits = self.classifier(self.dropout(pooled))
        loss = None
        if labels is not None:
            check_for_problem(labels, self.config, batch=len(logits))
            count = (labels != IGNORED_LABEL).sum().clamp(min=1)  # read by the cross-entropy only
            labels = labels.float() if labels.is_floating_point() else labels.long()
            loss = self.loss_function(labels, logits.float(), self.config, num_items_in_batch=count)
        return SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _frame_tokens(self, last_hidden_state: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Summary tokens and, with their positions, patches: (batch, summary + rows * columns, hidden)."""
        rows, columns = self.config.grid_size(height, width)
        size = self.patch_positions.in_features
        cos, sin = axial_rotary_embedding(
            rows, columns, size, self.config.rope_theta, last_hidden_state.device, self.config.rope_min_period
        )
        # Both halves of the channels repeat the same angles: one of each, (rows * columns, head_dim).
        angles = torch.cat([cos[:, : size // 2], sin[:, : size // 2]], dim=-1)
        patches = last_hidden_state[:, self.config.num_prefix_tokens :]
        patches = patches + self.patch_positions(angles.to(patches.dtype))
        return torch.cat([self.zen.summary_tokens(last_hidden_state), patches], dim=1)

    def _check_questions(self, states: torch.Tensor, mask: torch.Tensor, batch: int, source: str) -> None:
        width = self.config.text_hidden_size
        if states.ndim != 3 or len(states) != batch or states.shape[-1] != width:
            raise ValueError(
                f"{source} of shape {tuple(states.shape)}, but {batch} frames and text_hidden_size ask for "
                f"({batch}, words, {width})"
            )
        if mask.shape != states.shape[:2]:
            raise ValueError(f"attention_mask must be {tuple(states.shape[:2])}, not {tuple(mask.shape)}")
        # Only where looking costs nothing, as in `check_pixel_values`.
        if mask.device.type == "cpu" and not torch.compiler.is_compiling() and not mask.any(dim=1).all():
            raise ValueError(f"question {int(mask.any(dim=1).int().argmin())} has no word: its attention_mask is all 0")


__all__ = ["ZenForVisualQuestionAnswering", "ZenForZeroShotImageClassification"]
