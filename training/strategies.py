"""The strategy that a run asks for, built and on its device."""

import torch

from modeling_zen import ZenImageProcessor, ZenModel
from training.corpus import Corpus
from training.objectives import STRATEGIES, Objective, Setup
from training.settings import PretrainConfig


def build_objective(
    config: PretrainConfig, student: ZenModel, processor: ZenImageProcessor, corpus: Corpus, device: torch.device
) -> Objective:
    """The objective of `config.strategy` in training mode.

    Raises:
        UserError: settings that student, corpus or teachers do not fit; see the strategy.
    """
    setup = Setup(config, student, processor, corpus, device)
    return STRATEGIES.get(config.strategy).build(setup).to(device).train()
