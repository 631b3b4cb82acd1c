"""How close an exported model is to the one it was made from: errors, cosines, and a probe on both."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modeling_zen.configuration_zen import ZenConfig

BATCH = 8  # frames per forward
RIDGE = 0.1  # per frame and standardised channel; probes on a few hundred frames overfit below 0.01


def parity_report(
    reference: Callable[..., Any],
    exported: Callable[..., Any],
    pixel_values: torch.Tensor,
    labels: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """Compare two models with the outputs of `ZenModel` on the same frames.

    Args:
        reference: The model before; its `config` says which tokens are patches.
        exported: The model after.
        pixel_values: (frames, channels, height, width), normalised.
        labels: A class per frame. A linear readout of the pooled features is then fitted on every other frame of each
            class and scored on the rest. Neighbouring frames may lie on both sides: the scores say what the export
            changed, not how good the model is.

    Returns:
        frames, max_abs_error (of last_hidden_state), and per kind of token (`pooler`, `dense`): cosine_mean,
        cosine_min, and centered_cosine_mean, from which the mean feature was taken away first (features have a large
        common part, which alone makes cosines high). With `labels` also probe: the balanced accuracy before, after,
        and of the readout fitted before but fed what comes after (`swapped`).

    Raises:
        ValueError: No frames, other than one label per frame, or fewer than two classes with two frames each.
    """
    if not len(pixel_values):
        raise ValueError("parity needs at least one frame")
    if labels is not None and len(labels) != len(pixel_values):
        raise ValueError(f"there are {len(labels)} labels for {len(pixel_values)} frames; give one per frame")
    config: ZenConfig = reference.config  # type: ignore[attr-defined]
    before, after = (_features(model, pixel_values) for model in (reference, exported))
    report: dict[str, Any] = {
        "frames": len(pixel_values),
        "max_abs_error": (before[0] - after[0]).abs().max().item(),
        "pooler": _cosines(before[1], after[1]),
        # (frames, tokens, hidden) -> (frames * patches, hidden)
        "dense": _cosines(*(states[:, config.num_prefix_tokens :].flatten(0, 1) for states, _ in (before, after))),
    }
    if labels is not None:
        report["probe"] = _probe(before[1], after[1], labels)
    return report


@torch.inference_mode()
def _features(model: Callable[..., Any], pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = [model(batch) for batch in pixel_values.split(BATCH)]
    return (
        torch.cat([output.last_hidden_state.float() for output in outputs]),
        torch.cat([output.pooler_output.float() for output in outputs]),
    )


def _cosines(before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    """Of features (count, hidden), row by row."""
    plain = torch.nn.functional.cosine_similarity(before, after)
    mean = before.mean(dim=0)
    centered = torch.nn.functional.cosine_similarity(before - mean, after - mean)
    return {
        "cosine_mean": plain.mean().item(),
        "cosine_min": plain.min().item(),
        # A single row is its own mean: nothing is left to compare.
        "centered_cosine_mean": centered.mean().item() if len(before) > 1 else plain.mean().item(),
    }


def _probe(before: torch.Tensor, after: torch.Tensor, labels: Sequence[Any]) -> dict[str, Any]:
    classes = sorted(set(labels), key=str)
    members = [[index for index, label in enumerate(labels) if label == name] for name in classes]
    few = [str(name) for name, rows in zip(classes, members, strict=True) if len(rows) < 2]
    if len(classes) < 2 or few:
        fault = f"{', '.join(few)} has one" if few else f"there is only the class {classes[0]!r}"
        raise ValueError(f"the probe needs at least two classes with at least two frames each, but {fault}")
    fit = torch.tensor([row for rows in members for row in rows[::2]])
    test = torch.tensor([row for rows in members for row in rows[1::2]])
    target = torch.tensor([classes.index(label) for label in labels])
    readouts = [_ridge(features[fit], target[fit], len(classes)) for features in (before, after)]

    def score(readout: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor) -> float:
        hits = (readout(features[test]) == target[test]).double()
        return torch.stack([hits[target[test] == index].mean() for index in range(len(classes))]).mean().item()

    return {
        "metric": "balanced_accuracy",
        "classes": len(classes),
        "frames_fitted": len(fit),
        "frames_scored": len(test),
        "before": score(readouts[0], before),
        "after": score(readouts[1], after),
        "swapped": score(readouts[0], after),
    }


def _ridge(features: torch.Tensor, target: torch.Tensor, classes: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Ridge regression of class indicators, W = (XᵀX + λ n I)⁻¹ XᵀY; the class with the largest value is predicted."""
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    X = ((features - mean) / scale).double()
    Y = torch.nn.functional.one_hot(target, classes).double()
    offset = Y.mean(dim=0)
    gram = X.T @ X + RIDGE * len(X) * torch.eye(X.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, X.T @ (Y - offset))
    return lambda rows: (((rows - mean) / scale).double() @ weight + offset).argmax(dim=1)
