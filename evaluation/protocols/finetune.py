"""Full fine-tuning: a copy of the backbone and a linear head on it, trained end to end on the training samples."""

import copy
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.backbones.backbone import FrameNetwork
from evaluation.protocols.criterion import choose_held_out
from evaluation.protocols.end_to_end import FinetuneSettings, planned_steps, train
from evaluation.protocols.folds import draw_rows, inner_folds
from evaluation.protocols.headed_network import HeadedNetwork, parameter_counts
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.problem import Problem
from evaluation.protocols.selection import Chosen
from training.teachers.precision import compute_dtype

NAME = "full_finetune"
FOLDS = 5  # a fifth of the training cases tells how long to train, where there are no validation cases


def fit(
    network: FrameNetwork, problem: Problem, seed: int, *, pixels: Pixels, settings: FinetuneSettings
) -> tuple[np.ndarray, Chosen, dict[str, Any]]:
    """Train a copy of `network` through, and let it answer.

    Args:
        network: the backbone, on the device to train on; it is left as it is.
        problem: what to learn.
        seed: of the head, the order of samples and the augmentation. On a CPU equal seeds give equal scores.
        pixels: frames; those of the problem that are missing there are decoded.
        settings: how to train.

    Returns:
        Scores float32 (N_test, C), the number of steps and where it was chosen, and JSON-able details.

    Raises:
        UserError: a size of `pixels` that the network refuses, a frame that cannot be decoded, a loss that is not
            finite, or flips of a target with sides.
    """

    def build() -> HeadedNetwork:
        return HeadedNetwork(copy.deepcopy(network).float(), len(problem.target.classes))

    scores, chosen, details, _ = adapt(network, build, problem, seed, pixels=pixels, settings=settings)
    return scores, chosen, details


def adapt(
    network: FrameNetwork,
    build: Callable[[], HeadedNetwork],
    problem: Problem,
    seed: int,
    *,
    pixels: Pixels,
    settings: FinetuneSettings,
) -> tuple[np.ndarray, Chosen, dict[str, Any], HeadedNetwork]:
    """Choose a number of steps on held-out samples that are no test samples, train so long, answer the test samples.

    With validation samples, the network answers as it was at its best check. Without, one fold of the training cases
    tells how long to train, and a second network is trained so long on all of them, on the same schedule.

    Args:
        network: the backbone.
        build: makes what is trained of it, from torch's random state; its trainable parameters get trained.
        problem: as in `fit`.
        seed: as in `fit`.
        pixels: as in `fit`.
        settings: as in `fit`.

    Returns:
        As `fit`, and the network that answered.
    """
    network.check_size(pixels.image_size)
    target = problem.target
    settings.augmentation.check(target)
    for side in (problem.train, problem.val, problem.test):
        pixels.add(frame for frames in side.frames for frame in frames)
    steps, device = planned_steps(problem.train, settings), next(network.parameters()).device
    checks = sorted({max(1, round(steps * (number + 1) / settings.checks)) for number in range(settings.checks)})
    candidates: list[dict[str, float | int | str]] = [{"steps": count} for count in checks]
    samples, folds, chosen_on = inner_folds(problem, FOLDS)
    chosen = Chosen({"steps": steps}, "fixed before the run", "a single training case")
    kept: dict[str, Tensor] = {}  # trained parameters at the best check

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = _start(build, device, seed)
        if folds:
            fit_rows, score_rows = folds[0]
            asked = samples.take(draw_rows(np.random.default_rng(seed), score_rows, settings.checked_samples))
            held_out: list[np.ndarray] = []
            for step in train(model, target, samples.take(fit_rows), pixels, settings, steps=steps, seed=seed):
                if step in checks:
                    held_out.append(model.answers(asked, pixels))
                    so_far = candidates[: len(held_out)]
                    chosen = choose_held_out(so_far, np.stack(held_out), target, asked.targets, chosen_on)
                    if len(problem.val) and chosen.values["steps"] == step:
                        kept = _trained(model)
        if kept and chosen.chosen_on == "validation cases":
            model.load_state_dict({**model.state_dict(), **kept})
        else:
            model = _start(build, device, seed)
            for step in train(model, target, problem.train, pixels, settings, steps=steps, seed=seed):
                if step == chosen.values["steps"]:
                    break
        scores = model.answers(problem.test, pixels)
    details = {
        **parameter_counts(model),
        "planned_steps": steps,
        "precision": str(compute_dtype("auto", device)).removeprefix("torch."),
        "settings": asdict(settings),
    }
    return scores, chosen, details, model


def _start(build: Callable[[], HeadedNetwork], device: torch.device, seed: int) -> HeadedNetwork:
    torch.manual_seed(seed)
    return build().to(device)


def _trained(model: HeadedNetwork) -> dict[str, Tensor]:
    return {name: each.detach().cpu().clone() for name, each in model.named_parameters() if each.requires_grad}
