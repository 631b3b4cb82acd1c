"""Zero-shot: no sample is learned from; frames are compared with prompts that name the classes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Problem, Samples
from evaluation.protocols.prompts import Prompts
from evaluation.protocols.selection import Chosen
from evaluation.protocols.text_aligned import TextAligned

NAME = "zero_shot"
FRAMES_AT_ONCE = 64


def zero_shot_scores(
    classifier: TextAligned, problem: Problem, prompts: Prompts, *, pixels: Pixels
) -> tuple[np.ndarray, Chosen, dict[str, Any]]:
    """Scores of the test samples against prompts.

    A class is the mean of the unit embeddings of its prompts, brought to length one (the ensemble in text space of
    CLIP, arXiv 2103.00020, section 3.1.4); a sample is that of its frames. With their cosine s_c and the model's scale:

        "single": scale · s_c, whose softmax CLIP would give.
        "multi": scale · (s_c - s_c'), where c' is the opposite that the prompts have for c, or, without one,
            scale · (s_c - mean of s over the other classes): how much more of c than of anything else is there.

    Args:
        classifier: the model.
        problem: of classes; its training side is not read.
        prompts: that name all of them.
        pixels: frames; those of the test side that are missing there are decoded.

    Returns:
        Scores float32 (N_test, C), what was chosen (nothing), and JSON-able details.

    Raises:
        ValueError: a problem of values, which no prompt can name.
    """
    target = problem.target
    if target.kind == "value":
        raise ValueError(f"{target.name} is a value: prompts name classes")
    classes = torch.stack([_mean_unit(classifier.texts(prompts.of(name))) for name in target.classes])
    samples = _embedded(classifier, problem.test, pixels)
    cosines = samples @ classes.T  # (N, C)
    if target.kind == "multi":
        others = cosines.sum(dim=1, keepdim=True) - cosines
        baseline = others / max(len(target.classes) - 1, 1)
        for column, name in enumerate(target.classes):
            if against := prompts.against(name):
                baseline[:, column] = samples @ _mean_unit(classifier.texts(against))
        cosines = cosines - baseline
    details = {
        "text_model": classifier.name,
        "prompts": sum(len(prompts.of(name)) + len(prompts.against(name)) for name in target.classes),
        "prompts_sha256": prompts.sha256,
    }
    chosen = Chosen({}, "fixed before the run", "no sample is learned from")
    return (classifier.scale * cosines).cpu().numpy(), chosen, details


def _embedded(classifier: TextAligned, samples: Samples, pixels: Pixels) -> Tensor:
    """Unit embeddings of samples, float32 (N, D)."""
    flat = [frame for frames in samples.frames for frame in frames]
    pixels.add(flat)
    starts = tqdm(range(0, len(flat), FRAMES_AT_ONCE), "frames against prompts", unit="batch")
    embedded = torch.cat([classifier.images(pixels.read(flat[start : start + FRAMES_AT_ONCE])) for start in starts])
    return torch.stack([_mean_unit(own) for own in embedded.split([len(frames) for frames in samples.frames])])


def _mean_unit(rows: Tensor) -> Tensor:
    """The mean of rows (N, D) at length one, (D,)."""
    return torch.nn.functional.normalize(rows.mean(dim=0), dim=0)
