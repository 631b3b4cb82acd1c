"""`FrameRecognizer`: one pass of the encoder per frame, read by a phase head and a presence head."""

from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modeling_zen.adapter_zen import encoder_differences
from modeling_zen.export.exporter import weights_sha256
from modeling_zen.export.graph import for_export
from modeling_zen.export.runtime import ZenExportedModel
from modeling_zen.modeling_zen import ZenBackbone, ZenModel
from modeling_zen.modeling_zen_image import ZenForImageClassification, frame_features
from modeling_zen.modeling_zen_video import ZenForVideoFrameClassification
from modeling_zen.temporal_zen import ZenTemporalState

MULTI_LABEL = "multi_label_classification"
PresenceHead = ZenForImageClassification | ZenForVideoFrameClassification


class FrameRecognizer:
    """An encoder and its heads, frame by frame, with the memory of the temporal ones.

    Raises:
        ValueError: A model is of another class, in training mode or has another trunk than the encoder; a head answers
            another question; or the processor makes images that the encoder cannot take.
    """

    def __init__(
        self,
        encoder: ZenModel | ZenExportedModel,
        processor: Any,
        phase_head: ZenForVideoFrameClassification | None,
        presence_head: PresenceHead | None,
    ) -> None:
        if not isinstance(encoder, ZenModel | ZenExportedModel) or isinstance(encoder, ZenBackbone):
            raise ValueError(f"encoder must be a ZenModel or a ZenExportedModel, not a {type(encoder).__name__}")
        _refuse_training("encoder", encoder)
        _check_size(encoder, processor)
        if phase_head is not None:
            check_phase_head(phase_head, "phase_head")
            check_trunk(phase_head, encoder, "phase_head")
        if presence_head is not None:
            check_presence_head(presence_head, "presence_head")
            check_trunk(presence_head, encoder, "presence_head")
        self.encoder = encoder
        self.processor = processor
        self.phase_head = phase_head
        self.presence_head = presence_head
        self._states: dict[str, ZenTemporalState] = {}

    def forget(self) -> None:
        """Begin a new video."""
        self._states.clear()

    def preprocess(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (height, width, 3) -> `pixel_values` (1, 3, height, width) of the processor."""
        # Told where the channels are, the processor need not guess, which it cannot for a frame 3 pixels high.
        return self.processor(
            images=pixels.permute(2, 0, 1), input_data_format="channels_first", return_tensors="pt"
        ).pixel_values

    @torch.no_grad()
    def encode(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """`pixel_values` (1, 3, height, width) -> what the encoder says."""
        return self.encoder(pixel_values.to(self.encoder.device, self.encoder.dtype), return_dict=True)

    @torch.no_grad()
    def recognize(self, outputs: BaseModelOutputWithPooling) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Phase probabilities (phases,) and presence probabilities (labels,), float32 on the CPU, of the next frame."""
        phase = presence = None
        if self.phase_head is not None:
            phase = self._next_logits("phase", self.phase_head, outputs).softmax(dim=-1)
        if isinstance(self.presence_head, ZenForVideoFrameClassification):
            presence = self._next_logits("presence", self.presence_head, outputs).sigmoid()
        elif self.presence_head is not None:
            classifier = self.presence_head.classifier
            features = frame_features(outputs, self.encoder.config)
            presence = classifier(features.to(classifier.weight.device, classifier.weight.dtype))[0].float().sigmoid()
        return (None if phase is None else phase.cpu(), None if presence is None else presence.cpu())

    def _next_logits(
        self, name: str, head: ZenForVideoFrameClassification, outputs: BaseModelOutputWithPooling
    ) -> torch.Tensor:
        assert outputs.pooler_output is not None
        # (1, hidden) -> (1, 1, hidden): one frame of one video
        features = outputs.pooler_output[:, None].to(head.device)
        found = head(frame_features=features, temporal_state=self._states.get(name), use_state=True)
        self._states[name] = found.temporal_state
        return found.logits[0, 0].float()


def check_phase_head(head: Any, name: str) -> None:
    """Refuse what gives no phase per frame.

    Raises:
        ValueError: Another class, in training mode, or with several labels per frame.
    """
    if not isinstance(head, ZenForVideoFrameClassification):
        raise ValueError(
            f"{name} must be a ZenForVideoFrameClassification; a {type(head).__name__} has no temporal head"
        )
    _refuse_training(name, head)
    if head.config.problem_type == MULTI_LABEL:
        raise ValueError(
            f"{name} has several labels per frame (problem_type {MULTI_LABEL!r}), but a frame is in one phase; give it "
            "as the presence head"
        )


def check_presence_head(head: Any, name: str) -> None:
    """Refuse what gives no probability per label.

    Raises:
        ValueError: Another class, in training mode, or another problem type.
    """
    if not isinstance(head, PresenceHead):
        raise ValueError(
            f"{name} must be a ZenForImageClassification or a ZenForVideoFrameClassification, not a "
            f"{type(head).__name__}"
        )
    _refuse_training(name, head)
    if head.config.problem_type != MULTI_LABEL:
        raise ValueError(f"{name} must have problem_type {MULTI_LABEL!r}, not {head.config.problem_type!r}")


def check_trunk(head: Any, encoder: ZenModel | ZenExportedModel, name: str) -> None:
    """Refuse a head that was trained on other features than the encoder makes.

    An exported encoder is compared by the hash of the weights that it was exported from; one of lower precision, with
    the weights of the head rounded as its own are.

    Raises:
        ValueError: The trunks differ.
    """
    if head.zen is encoder:
        return
    fields = encoder_differences(head.config, encoder.config)
    if fields:
        raise ValueError(f"{name} was trained on another encoder: {', '.join(fields)}; give the encoder of the head")
    if isinstance(encoder, ZenExportedModel):
        stated = encoder.facts.get("source_weights_sha256")
        if stated != weights_sha256(for_export(head.zen)):
            raise ValueError(
                f"{name} was trained on another encoder than the exported one: the hashes of their weights differ; "
                "export the encoder of the head"
            )
        return
    weights, wanted = encoder.state_dict(), head.zen.state_dict()
    differing = sorted(weights.keys() ^ wanted.keys()) or [
        key
        for key, weight in weights.items()
        if not torch.equal(weight, wanted[key].to(device=weight.device, dtype=weight.dtype))
    ]
    if differing:
        raise ValueError(
            f"{name} was trained on another encoder: {len(differing)} of its trunk's weights differ, such as "
            f"{differing[0]}; one pass of the encoder serves all heads, so give the encoder of the head"
        )


def _refuse_training(name: str, model: torch.nn.Module) -> None:
    if model.training:
        raise ValueError(f"{name} is in training mode, where its answers are noisy: call {name}.eval() first")


def _check_size(encoder: ZenModel | ZenExportedModel, processor: Any) -> None:
    """Refuse a processor whose images the encoder will refuse, before a source is opened."""
    size = dict(getattr(processor, "size", None) or {})
    height, width = size.get("height"), size.get("width")
    if height is None or width is None:
        return
    encoder.config.grid_size(height, width)
    if isinstance(encoder, ZenExportedModel) and encoder.size not in (None, (height, width)):
        raise ValueError(
            f"the processor makes images of {height} x {width} pixels (height x width), but the encoder was exported "
            f"for {encoder.size[0]} x {encoder.size[1]}"
        )


__all__ = ["FrameRecognizer", "PresenceHead", "check_phase_head", "check_presence_head", "check_trunk"]
