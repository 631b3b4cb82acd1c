"""Heads of ZEN that say what is in a frame: classes and action triplets (per pixel: `modeling_zen_dense.py`).

All are as linear as their task allows. The encoder is meant to be good enough for that, frozen or tuned; who wants a
deep decoder puts one of transformers on `ZenBackbone`. What they share:

- Labels that do not fit are refused in a sentence (`labels_zen.py`).
- Losses are computed in float32.
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.utils.generic import ModelOutput, TransformersKwargs, can_return_tuple

from .configuration_zen import ZenConfig
from .labels_zen import check_for_problem, check_presence
from .modeling_zen import ZenModel, ZenPreTrainedModel
from .modeling_zen_dense import ZenForDepthEstimation, ZenForMaskedImageModeling, ZenForSemanticSegmentation


class ZenForImageClassification(ZenPreTrainedModel):
    """A linear layer on what describes the frame: its mean summary token beside the mean of its patches.

    The features are those of DINOv2's linear evaluation and of `Dinov2ForImageClassification` (arXiv:2304.07193, 7.1):
    patches see what is small and local, such as a tool at the rim, which a summary token need not hold.

    Example:
        >>> model = ZenForImageClassification(ZenConfig.from_size("nano", num_labels=7))
        >>> model(torch.zeros(2, 3, 64, 96), labels=torch.tensor([0, 6])).logits.shape
        torch.Size([2, 7])
    """

    _weights_that_may_be_new = ("classifier.",)

    def __init__(self, config: ZenConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # the config has filled it in
        self.num_labels = config.num_labels
        self.zen = ZenModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> ImageClassifierOutput:
        """Classify a batch of frames.

        Args:
            pixel_values: As in `ZenModel.forward`.
            labels: By `config.problem_type`. `"single_label_classification"`: (batch,), integers below `num_labels`,
                -100 for frames that do not count; cross-entropy. `"multi_label_classification"`: (batch, num_labels),
                floating point from 0 to 1; binary cross-entropy. `"regression"`: (batch, num_labels), with one label
                also (batch,), floating point; mean squared error. Without a type, one label is a regression, integers
                are of the first kind and the rest of the second, as in all of transformers.
            kwargs: As in `ZenModel.forward`.

        Returns:
            loss: With labels, a scalar, the mean over what counts.
            logits: (batch, num_labels), before softmax, sigmoid or nothing.
            hidden_states, attentions: On request, as in `ZenModel.forward`.

        Raises:
            ValueError: As `check_pixel_values`; labels of another shape, dtype or range.
        """
        outputs = self.zen(pixel_values, return_dict=True, **kwargs)
        logits = self.classifier(self.dropout(frame_features(outputs, self.config)))
        loss = None
        if labels is not None:
            check_for_problem(labels, self.config, batch=len(logits))
            # Read by the cross-entropy only: a batch without a label is then a loss of 0, not the mean of nothing.
            count = (labels != -100).sum().clamp(min=1)
            labels = labels.float() if labels.is_floating_point() else labels.long()
            loss = self.loss_function(labels, logits.float(), self.config, **{"num_items_in_batch": count, **kwargs})
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


@dataclass
class ZenActionTripletOutput(ModelOutput):
    """Output of `ZenForActionTriplet`.

    Args:
        loss: Scalar, with labels.
        logits: (batch, triplets), before the sigmoid.
        instrument_logits: (batch, instruments), before the sigmoid.
        verb_logits: (batch, verbs), likewise.
        target_logits: (batch, targets), likewise.
        hidden_states: On request, as in `ZenModel.forward`.
        attentions: Likewise.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    instrument_logits: torch.Tensor | None = None
    verb_logits: torch.Tensor | None = None
    target_logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ZenForActionTriplet(ZenPreTrainedModel):
    """Which instruments are in the frame, what they do, what they do it to, and which of these go together.

    Instruments, verbs and targets have a linear layer each on the features of `ZenForImageClassification`. The logit of
    a triplet is the sum of the logits of its three parts and of a linear layer of its own. The parts are thus learned
    from all triplets that share them, and what a triplet is more than its parts is left to its own weights: the shared
    and the own weight vector of regularised multi-task learning (Evgeniou and Pontil, KDD 2004). Most triplets of
    CholecT50 are rare, their parts are not. Supervising the parts as well is the practice of the field: Tripnet
    (arXiv:2007.05405), Rendezvous (arXiv:2109.03223).

    The config holds the names and the map; an unnamed `id2label` is filled with "instrument,verb,target".

    Example:
        >>> from modeling_zen.cholect50 import CHOLECT50
        >>> model = ZenForActionTriplet(ZenConfig.from_size("nano", **CHOLECT50))
        >>> outputs = model(torch.zeros(2, 3, 64, 96), labels=torch.zeros(2, 100))
        >>> outputs.logits.shape, outputs.verb_logits.shape, model.config.id2label[17]
        (torch.Size([2, 100]), torch.Size([2, 10]), 'grasper,retract,gallbladder')
    """

    _weights_that_may_be_new = ("classifier.", "instrument_classifier.", "verb_classifier.", "target_classifier.")

    def __init__(self, config: ZenConfig) -> None:
        instruments, verbs, targets, triplets = name_triplets(config)
        super().__init__(config)
        self.num_labels = len(triplets)
        self.zen = ZenModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.instrument_classifier = nn.Linear(2 * config.hidden_size, len(instruments))
        self.verb_classifier = nn.Linear(2 * config.hidden_size, len(verbs))
        self.target_classifier = nn.Linear(2 * config.hidden_size, len(targets))
        self.classifier = nn.Linear(2 * config.hidden_size, len(triplets))
        # (3, triplets): row by row the instrument, verb and target of each.
        self.parts = nn.Buffer(torch.tensor(triplets).T.contiguous(), persistent=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.copy_(self.parts, torch.tensor(self.config.triplets).T)  # a model made on meta has no values

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        instrument_labels: torch.Tensor | None = None,
        verb_labels: torch.Tensor | None = None,
        target_labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ZenActionTripletOutput:
        """Recognise the triplets of a batch of frames.

        Args:
            pixel_values: As in `ZenModel.forward`.
            labels: (batch, triplets), floating point from 0 to 1.
            instrument_labels: (batch, instruments), likewise. `None`: present if a triplet with it is.
            verb_labels: (batch, verbs), likewise.
            target_labels: (batch, targets), likewise. Labels of the parts are for data that know more of them than
                their triplets tell, such as an instrument in a combination that is no class.
            kwargs: As in `ZenModel.forward`.

        Returns:
            See `ZenActionTripletOutput`. The loss is the mean of the four binary cross-entropies.

        Raises:
            ValueError: As `check_pixel_values`; labels of another shape, dtype or range; labels of parts alone.
        """
        outputs = self.zen(pixel_values, return_dict=True, **kwargs)
        features = self.dropout(frame_features(outputs, self.config))
        heads = (self.instrument_classifier, self.verb_classifier, self.target_classifier)
        names = ("instrument_labels", "verb_labels", "target_labels")
        part_logits = [head(features) for head in heads]
        logits = self.classifier(features)
        for scores, parts in zip(part_logits, self.parts, strict=True):
            logits = logits + scores[:, parts]  # (batch, parts) -> (batch, triplets)

        part_labels = (instrument_labels, verb_labels, target_labels)
        loss = None
        if labels is not None:
            check_presence("labels", labels, tuple(logits.shape))
            losses = [nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float())]
            for name, scores, given, parts in zip(names, part_logits, part_labels, self.parts, strict=True):
                if given is None:
                    # Most of a part's triplets are absent when it is present: any of them will do.
                    given = labels.new_zeros(scores.shape).scatter_reduce(1, parts.expand_as(labels), labels, "amax")
                check_presence(name, given, tuple(scores.shape))
                losses.append(nn.functional.binary_cross_entropy_with_logits(scores.float(), given.float()))
            loss = torch.stack(losses).mean()
        elif any(given is not None for given in part_labels):
            raise ValueError("labels of the triplets must be given beside those of their instruments, verbs or targets")
        return ZenActionTripletOutput(
            loss=loss,
            logits=logits,
            instrument_logits=part_logits[0],
            verb_logits=part_logits[1],
            target_logits=part_logits[2],
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def frame_features(outputs: BaseModelOutputWithPooling, config: ZenConfig) -> torch.Tensor:
    """The mean summary token beside the mean patch: outputs of `ZenModel` -> (batch, 2 * hidden)."""
    assert outputs.last_hidden_state is not None
    assert outputs.pooler_output is not None
    patches = outputs.last_hidden_state[:, config.num_prefix_tokens :]
    return torch.cat([outputs.pooler_output, patches.mean(dim=1)], dim=-1)


def name_triplets(config: ZenConfig) -> tuple[list[str], list[str], list[str], list[list[int]]]:
    """Give the classes of a config the names of its triplets, unless they have names.

    Returns:
        Instruments, verbs, targets and triplets of the config.

    Raises:
        ValueError: There are no triplets, or not as many as labels.
    """
    instruments, verbs, targets, triplets = config.instruments, config.verbs, config.targets, config.triplets
    if not (instruments and verbs and targets and triplets):
        raise ValueError(
            "ZenForActionTriplet needs instruments, verbs, targets and triplets in its config; "
            "modeling_zen.cholect50.CHOLECT50 holds those of CholecT50"
        )
    unnamed = all(name == f"LABEL_{index}" for index, name in (config.id2label or {}).items())
    # Two labels are what a config has that was never told a number.
    if config.num_labels != len(triplets) and not (unnamed and config.num_labels == 2):
        raise ValueError(f"num_labels is {config.num_labels}, but there are {len(triplets)} triplets")
    if unnamed:
        names = [f"{instruments[instrument]},{verbs[verb]},{targets[target]}" for instrument, verb, target in triplets]
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}
    return instruments, verbs, targets, triplets


__all__ = [
    "ZenActionTripletOutput",
    "ZenForActionTriplet",
    "ZenForDepthEstimation",
    "ZenForImageClassification",
    "ZenForMaskedImageModeling",
    "ZenForSemanticSegmentation",
]
