"""The weights of a peer's file into a model of timm or transformers: every key is used, left out by name or refused."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from modeling_zen.conversion.checkpoint import Checkpoint, select_encoder
from modeling_zen.conversion.mapping import Ignorable, renamed
from modeling_zen.modeling_zen import first_few
from training.errors import UserError

TRAINING_HEAD = Ignorable(r"(.*\.)?head\..*", "projection of self-supervised training")


def encoder_tensors(checkpoint: Checkpoint, marker: str, branch: str = "teacher") -> dict[str, Tensor]:
    """Tensors of the encoder that has the key `marker`, without what stands before it.

    Args:
        checkpoint: as read: bare weights, or dictionaries of student and teacher.
        marker: a key that the encoder has.
        branch: the dictionary to take where there are several.

    Raises:
        ValueError: there is no such encoder, or `branch` does not choose one.
    """
    return select_encoder(checkpoint, marker, branch if branch in checkpoint.content else None).tensors


def fill(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    names: Sequence[tuple[str, str]],
    left_out: Sequence[Ignorable],
    source: str,
) -> None:
    """Load `tensors` into `model`, all of them and nothing else.

    Args:
        model: of the architecture; each of its weights must be in the file.
        tensors: by the keys of the file.
        names: regular expressions and replacements that turn a key of the file into one of the model; the first that
            fits counts, and a key that none fits stays.
        left_out: keys of the file that the encoder does not need.
        source: of the file, for messages.

    Raises:
        UserError: keys are missing or unknown, or tensors are of another shape or not finite; all are named.
    """
    kept = {key: tensor for key, tensor in tensors.items() if not any(re.fullmatch(e.pattern, key) for e in left_out)}
    original = {new: key for key in kept for new in renamed({key: kept[key]}, names)}
    mapped = renamed(kept, names)
    expected = model.state_dict()
    shared = [key for key in mapped if key in expected]
    faults = {
        "missing": sorted(expected.keys() - mapped.keys()),
        "unknown": sorted(original[key] for key in mapped.keys() - expected.keys()),
        "of another shape": [
            f"{original[key]} is {tuple(mapped[key].shape)}, not {tuple(expected[key].shape)}"
            for key in shared
            if mapped[key].shape != expected[key].shape
        ],
        "with NaN or infinity": [original[key] for key in shared if not bool(mapped[key].isfinite().all())],
    }
    if any(faults.values()):
        texts = [f"{len(keys)} {fault}: {first_few(keys)}" for fault, keys in faults.items() if keys]
        raise UserError(f"{source} does not hold exactly the weights of that model: {'; '.join(texts)}")
    with torch.no_grad():
        model.load_state_dict(mapped, strict=True)
