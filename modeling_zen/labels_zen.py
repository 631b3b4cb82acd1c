"""Refusing labels that do not fit a head, in one sentence, before a loss makes something of them."""

import torch

from .configuration_zen import ZenConfig

IGNORED_LABEL = -100  # of a frame or clip that counts nowhere; cross-entropy's default in PyTorch


def check_labels(name: str, labels: torch.Tensor, shape: tuple[int | None, ...], *, floating: bool) -> None:
    """Refuse labels of another shape (`None`: any length) or kind of number.

    Raises:
        ValueError: Naming both.
    """
    fits = labels.ndim == len(shape) and all(b in (None, a) for a, b in zip(labels.shape, shape, strict=True))
    if not fits or labels.is_floating_point() != floating or labels.is_complex():
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        kind = "floating point" if floating else "integers"
        raise ValueError(f"{name} must be {kind} ({wanted}), not {labels.dtype} {tuple(labels.shape)}")


def check_classes(
    name: str, labels: torch.Tensor, shape: tuple[int | None, ...], num_classes: int, ignored: int
) -> None:
    """Refuse labels that are no numbers of classes.

    Raises:
        ValueError: Another shape or dtype, or, looked at on the CPU only, a number out of range.
    """
    check_labels(name, labels, shape, floating=False)
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        foreign = labels[(labels != ignored) & ((labels < 0) | (labels >= num_classes))]
        if len(foreign):
            raise ValueError(
                f"{name} holds class {int(foreign[0])}, which is not from 0 to {num_classes - 1} "
                f"(nor {ignored}, which counts nowhere)"
            )


def check_presence(name: str, labels: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Refuse labels that do not say per class whether it is present.

    Raises:
        ValueError: Another shape or dtype, or, looked at on the CPU only, a number that is not from 0 to 1.
    """
    check_labels(name, labels, shape, floating=True)
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        foreign = labels[~((labels >= 0) & (labels <= 1))]  # NaN is no less and no more
        if len(foreign):
            raise ValueError(f"{name} holds {float(foreign[0]):g}, which is not from 0 (absent) to 1 (present)")


def check_for_problem(labels: torch.Tensor, config: ZenConfig, batch: int) -> None:
    """Refuse labels of frames or clips that are not what `config.problem_type`, or else their own dtype, asks for.

    Raises:
        ValueError: Another shape, dtype or range.
    """
    assert config.num_labels is not None  # two if none were named
    problem = config.problem_type
    if problem is None and config.num_labels > 1:
        problem = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
    if problem == "single_label_classification":
        check_classes("labels", labels, (batch,), config.num_labels, ignored=IGNORED_LABEL)
    elif problem == "multi_label_classification":
        check_presence("labels", labels, (batch, config.num_labels))
    else:
        flat = config.num_labels == 1 and labels.ndim == 1
        check_labels("labels", labels, (batch,) if flat else (batch, config.num_labels), floating=True)


__all__ = ["IGNORED_LABEL", "check_classes", "check_for_problem", "check_labels", "check_presence"]
