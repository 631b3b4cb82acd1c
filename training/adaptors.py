"""The heads of a finished run as adaptors: the inverse of each normaliser is folded into the last layer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from modeling_zen import ZenConfig
from modeling_zen.teacher_adaptor import FOLDER
from training.checkpointing import objective_state
from training.objectives.distillation_settings import TeacherConfig
from training.teachers.normalizer import FeatureNormalizer

_IDENTITY = ("key", "name", "repo", "revision", "weights_sha256", "preprocessing_sha256", "licence", "source")


def write_adaptors(
    checkpoint: Path, teachers: list[dict[str, Any]], configs: Mapping[str, TeacherConfig], folder: Path
) -> list[Path]:
    """Write `adaptors/<teacher>_<tokens>.safetensors` into a model folder.

    Each speaks the teacher's own space, and a summary adaptor of a language-aligned teacher is one that
    `ZenForZeroShotImageClassification.load_adaptor` takes.

    Args:
        checkpoint: of the finished run.
        teachers: content of its teachers.json.
        configs: settings of the teachers.
        folder: the model folder.
    """
    state = objective_state(checkpoint)
    heads = ZenConfig.from_pretrained(checkpoint / "model").num_attention_heads  # those of a head's block, too
    (folder / FOLDER).mkdir()
    written = []
    for teacher in teachers:
        name = teacher["key"]
        for tokens in teacher["weights"]:
            mode = configs[name].summary_normalizer if tokens == "summary" else configs[name].dense_normalizer
            prefix = f"branches.{name}.{tokens}."
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            facts = {key: teacher[key] for key in _IDENTITY if key in teacher} | {"tokens": tokens}
            if tokens == "dense" and configs[name].head_block:
                facts["block_heads"] = heads
            file = folder / FOLDER / f"{name}_{tokens}.safetensors"
            tensors = {f"adaptor.{key}": value.contiguous() for key, value in _folded(own, mode).items()}
            save_file(tensors, file, metadata={"adaptor": json.dumps(facts)})
            written.append(file)
    return written


def _folded(branch: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
    """Weights of a head that speaks the teacher's own space, of the state of a branch."""
    weight = branch["head.fc2.weight"]
    normalizer = FeatureNormalizer(len(weight), mode)
    parts = {key.removeprefix("normalizer."): value for key, value in branch.items() if key.startswith("normalizer.")}
    normalizer.load_state_dict(parts, strict=True)
    last = nn.Linear(weight.shape[1], weight.shape[0])
    last.load_state_dict({"weight": weight, "bias": branch["head.fc2.bias"]})
    folded = normalizer.fold_into(last).state_dict()
    before = ("head.block", "head.fc1", "head.norm")
    kept = {key.removeprefix("head."): value for key, value in branch.items() if key.startswith(before)}
    return kept | {f"fc2.{key}": value for key, value in folded.items()}
