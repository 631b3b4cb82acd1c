"""What a probe is: a small predictor fitted on stored features, and the registry of all probes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.datasets.samples import Kind
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.problem import Problem
from evaluation.protocols.selection import Chosen
from training.registry import Registry


@dataclass(frozen=True)
class Probe:
    """One probe.

    Attributes:
        name: what it is registered under.
        kinds: of targets that it serves.
        temporal: whether it looks at a whole video, so that its samples must follow each other in time.
        causal: of a temporal probe, whether a score depends on the past alone, as it must in the theatre; else None.
        fit: `(inputs, problem, seed)` -> scores of the test side, finite float32 (N_test, C) as `Problem` has them, and
            what was chosen. Targets of the test side are never looked at. The same seed gives the same scores.
    """

    name: str
    kinds: tuple[Kind, ...]
    temporal: bool
    causal: bool | None
    fit: Callable[[Inputs, Problem, int], tuple[np.ndarray, Chosen]]


PROBES: Registry[Probe] = Registry("probe")
