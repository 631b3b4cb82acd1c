"""Temporal probes: a multi-stage temporal convolutional network over the pooled features of whole videos.

Two stages of dilated residual convolutions along time; the second refines the class probabilities of the first. Offline
(Farha and Gall, MS-TCN, CVPR 2019) a score depends on the whole video; causal (Czempiel et al., TeCNO, MICCAI 2020) on
the present and the past alone, as in the theatre. The two answer different questions and are named apart.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.datasets.samples import Kind
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.probe import PROBES, Probe
from evaluation.protocols.problem import Problem, Samples
from evaluation.protocols.selection import Chosen
from evaluation.protocols.training_loop import Learner, Loader, fit_by_steps
from training.diagnostics.standardizer import Standardizer


@dataclass(frozen=True)
class TemporalSettings:
    """Sizes of the network and its training."""

    stages: int = 2  # as in TeCNO
    maps: int = 64  # channels of every layer (MS-TCN)
    most_layers: int = 9  # of a stage, which sees 2^(layers + 1) - 1 samples: 17 minutes at one a second
    dropout: float = 0.5  # in every layer (MS-TCN)
    smoothing: float = 0.15  # lambda of MS-TCN
    learning_rate: float = 5e-3  # of AdamW; what is chosen is where to stop
    weight_decay: float = 0.01  # PyTorch's default
    passes: int = 10  # over the training videos, one a step, between the limits below
    steps: tuple[int, int] = (30, 1_000)  # fewest: fits a handful of videos; most: what more than 100 videos would add


SETTINGS = TemporalSettings()


class DilatedResidualLayer(nn.Module):
    """x + W relu(dilated convolution of width 3), with dropout; zeros stand before the start and after the end."""

    def __init__(self, dilation: int, causal: bool, settings: TemporalSettings) -> None:
        super().__init__()
        self.padding = (2 * dilation, 0) if causal else (dilation, dilation)
        self.convolution = nn.Conv1d(settings.maps, settings.maps, 3, dilation=dilation)
        self.mix = nn.Conv1d(settings.maps, settings.maps, 1)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """(1, maps, N) -> (1, maps, N)."""
        return rows + self.dropout(self.mix(F.relu(self.convolution(F.pad(rows, self.padding)))))


class TemporalConvolutions(nn.Module):
    """The stages, `layers` in each with dilations 1, 2, 4 ..."""

    def __init__(
        self, width: int, classes: int, layers: int, kind: Kind, causal: bool, settings: TemporalSettings
    ) -> None:
        super().__init__()
        self.kind = kind
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(classes if stage else width, settings.maps, 1),
                *(DilatedResidualLayer(2**layer, causal, settings) for layer in range(layers)),
                nn.Conv1d(settings.maps, classes, 1),
            )
            for stage in range(settings.stages)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of one video (N, D) in order of time -> logits of every stage (stages, N, C)."""
        rows, logits = features.T[None], []
        for stage in self.stages:
            logits.append(stage(rows))  # (1, C, N)
            rows = logits[-1].softmax(dim=1) if self.kind == "single" else logits[-1].sigmoid()
        return torch.cat(logits).transpose(1, 2)


def fit_temporal(inputs: Inputs, problem: Problem, seed: int, *, causal: bool) -> tuple[np.ndarray, Chosen]:
    """Train on whole videos, one a step; the loss of every stage is `losses.loss_of` + lambda * `truncated_smoothing`.

    Args:
        inputs: whose pooled features are used, standardised by training samples.
        problem: "single" or "multi", along videos.
        seed: of the training.
        causal: whether a score may depend on the present and the past alone.

    Returns:
        float32 (N_test, C): logits of the last stage, and what was chosen.

    Raises:
        ValueError: a target of values, whose second stage would refine probabilities that do not exist.
    """
    if problem.target.kind == "value":
        raise ValueError("temporal probes serve targets of kind 'single' and 'multi', not 'value'")
    standardize = Standardizer.of(inputs.pooled(problem.train))
    longest = max(video.stop - video.start for video in problem.train.sequences())
    # A layer whose dilation reaches beyond the longest video would see nothing but padding.
    layers = min(SETTINGS.most_layers, max(1, math.ceil(math.log2(longest))))

    def open_samples(samples: Samples) -> Loader:
        rows = torch.from_numpy(standardize(inputs.pooled(samples)))
        return lambda video: (rows[video],)

    learner = Learner(
        build=lambda: TemporalConvolutions(
            len(standardize.mean), len(problem.target.classes), layers, problem.target.kind, causal, SETTINGS
        ),
        open=open_samples,
        units=lambda samples: [np.arange(video.start, video.stop) for video in samples.sequences()],
        recipes=((SETTINGS.learning_rate, SETTINGS.weight_decay),),
        passes=SETTINGS.passes,
        steps=SETTINGS.steps,
        batch=1,
        score_batch=1,
        smoothing=SETTINGS.smoothing,
    )
    return fit_by_steps(learner, problem, seed)


for _name, _causal in (("tcn_causal", True), ("tcn_offline", False)):
    PROBES.register(_name)(
        Probe(
            _name,
            ("single", "multi"),
            temporal=True,
            causal=_causal,
            fit=functools.partial(fit_temporal, causal=_causal),
        )
    )
