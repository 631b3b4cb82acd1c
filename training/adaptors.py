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
from training.losses.registry import FREE_LENGTH, FREE_SPACE
from training.objectives.distillation_settings import TeacherConfig
from training.teachers.normalizer import FeatureNormalizer

_IDENTITY = ("key", "name", "repo", "revision", "weights_sha256", "preprocessing_sha256", "licence", "source")


def write_adaptors(
    checkpoint: Path, teachers: list[dict[str, Any]], configs: Mapping[str, TeacherConfig], folder: Path
) -> list[Path]:
    """Write `adaptors/<teacher>_<tokens>.safetensors` into a model folder.

    Each speaks the teacher's own space, and a summary adaptor of a language-aligned teacher is one that
    `ZenForZeroShotImageClassification.load_adaptor` takes. Where the loss saw directions only, the predictions are
    brought to the length that was nearest to the targets in training. Heads that were not taught the teacher's space
    (`token_similarity_kl`, or a weight of 0) have no adaptor.

    Args:
        checkpoint: of the finished run.
        teachers: content of its teachers.json.
        configs: settings of the teachers.
        folder: the model folder.
    """
    state = objective_state(checkpoint)
    student = ZenConfig.from_pretrained(checkpoint / "model")
    with_summary = [teacher["key"] for teacher in teachers if "summary" in teacher["weights"]]
    (folder / FOLDER).mkdir()
    written = []
    for teacher in teachers:
        name = teacher["key"]
        for tokens, weight in teacher["weights"].items():
            mode = configs[name].summary_normalizer if tokens == "summary" else configs[name].dense_normalizer
            loss = configs[name].summary_loss if tokens == "summary" else configs[name].dense_loss
            if not weight or loss in FREE_SPACE:
                continue
            prefix = f"branches.{name}.{tokens}."
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            facts = {key: teacher[key] for key in _IDENTITY if key in teacher} | {"tokens": tokens, "loss": loss}
            if tokens == "dense" and configs[name].head_block:
                facts["block_heads"] = student.num_attention_heads
            if tokens == "summary" and student.num_summary_tokens > 1:
                facts["summary_token"] = with_summary.index(name)
            file = folder / FOLDER / f"{name}_{tokens}.safetensors"
            tensors = {f"adaptor.{key}": value.contiguous() for key, value in _folded(own, mode, loss).items()}
            save_file(tensors, file, metadata={"adaptor": json.dumps(facts)})
            written.append(file)
    return written


def _folded(branch: dict[str, Tensor], mode: str, loss: str) -> dict[str, Tensor]:
    """Weights of a head that speaks the teacher's own space, of the state of a branch."""
    weight = branch["head.fc2.weight"]
    normalizer = FeatureNormalizer(len(weight), mode)
    parts = {key.removeprefix("normalizer."): value for key, value in branch.items() if key.startswith("normalizer.")}
    normalizer.load_state_dict(parts, strict=True)
    last = nn.Linear(weight.shape[1], weight.shape[0])
    factor = 1.0
    if loss in FREE_LENGTH:
        along, own = branch["length"].tolist()
        factor = max(along / own, 0.0)  # a student that has learned nothing says the mean, not its opposite
    last.load_state_dict({"weight": factor * weight, "bias": factor * branch["head.fc2.bias"]})
    folded = normalizer.fold_into(last).state_dict()
    before = ("head.block", "head.fc1", "head.norm")
    kept = {key.removeprefix("head."): value for key, value in branch.items() if key.startswith(before)}
    return kept | {f"fc2.{key}": value for key, value in folded.items()}
