"""Checkpoints: written whole or not at all, read back strictly, the newest few kept.

checkpoints/step-00000100/
    model/             an ordinary save_pretrained folder of the student
    average/           the same of its moving average, where the run keeps one
    trainer_state.pt   everything else: step, heads and normalisers, optimiser, scaler, random number generators
    progress.json      seconds trained so far

They are the same whether one process trained, several, or shards of the model on several (FSDP2): whole tensors on the
CPU, keyed by name.
"""

import json
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from training.distributed import gather
from training.errors import FULL_DISK, UserError
from training.moving_average import MovingAverage
from training.objectives.objective import Objective

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_NAME = re.compile(r"step-(\d{8})")


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the highest step, or None. Unfinished ones carry another name and are not seen."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return max(found, default=None, key=lambda path: path.name)


def step_of(checkpoint: Path) -> int:
    """The number of finished steps that a checkpoint folder's name states."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint.name!r} is not the name of a checkpoint")
    return int(match.group(1))


@dataclass(frozen=True)
class Trainer:
    """What a checkpoint holds the state of."""

    accelerator: Accelerator
    objective: Objective  # prepared, but not wrapped
    optimizer: AcceleratedOptimizer
    average: MovingAverage | None


def save_checkpoint(folder: Path, step: int, seconds: float, trainer: Trainer, keep_last: int) -> None:
    """Write a checkpoint of `step` after `seconds` of training; keep the newest `keep_last`. All processes call it.

    It is written to a temporary folder that is then renamed, so a kill leaves no half checkpoint.

    Raises:
        UserError: no space is left; earlier checkpoints are untouched.
    """
    rng = gather(_rng_state())
    weights, moments = get_state_dict(trainer.objective, trainer.optimizer.optimizer, options=_WHOLE)
    if not trainer.accelerator.is_main_process:
        return
    student = {key.removeprefix("student."): value for key, value in weights.items() if key.startswith("student.")}
    scaler = trainer.accelerator.scaler
    state = {
        "step": step,
        "objective": {key: value for key, value in weights.items() if not key.startswith("student.")},
        "optimizer": moments,
        "scaler": scaler.state_dict() if scaler is not None else {},
        "rng": rng,
    }
    target = folder / f"step-{step:08d}"
    temporary = folder / f".{target.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        trainer.objective.student.save_pretrained(temporary / "model", state_dict=student)
        if trainer.average is not None:
            trainer.average.student.save_pretrained(temporary / "average")
        torch.save(state, temporary / "trainer_state.pt")
        (temporary / "progress.json").write_text(json.dumps({"step": step, "seconds": seconds}), encoding="utf-8")
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not _is_full(error):
            raise
        raise UserError(
            f"no space left for the checkpoint of step {step} in {str(folder)!r}: free some and run the same command "
            "again, it continues from the newest checkpoint"
        ) from error
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    finished = sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))
    for old in finished[:-keep_last]:
        shutil.rmtree(old)


def restore_checkpoint(checkpoint: Path, trainer: Trainer) -> tuple[int, float]:
    """Load everything that `save_checkpoint` wrote; returns the finished steps and the seconds they took.

    Raises:
        UserError: a file is missing or damaged, or a key is missing, extra or of another shape.
    """
    weights = _read_weights(checkpoint / "model" / "model.safetensors")
    state = _read_state(checkpoint / "trainer_state.pt")
    objective, processes = trainer.objective, trainer.accelerator.num_processes
    expected = {k: v for k, v in objective.state_dict().items() if not k.startswith("student.")}
    _check_keys(checkpoint / "model", weights, objective.student.state_dict())
    _check_keys(checkpoint / "trainer_state.pt", state["objective"], expected)
    if len(state["rng"]) != processes:
        raise UserError(
            f"checkpoint {str(checkpoint)!r} was written by {len(state['rng'])} process(es), this run has {processes}: "
            "start as many"
        )
    set_state_dict(
        objective,
        trainer.optimizer.optimizer,
        model_state_dict={**state["objective"], **{f"student.{key}": value for key, value in weights.items()}},
        optim_state_dict=state["optimizer"],
        options=_WHOLE,
    )
    if trainer.average is not None:
        averaged = _read_weights(checkpoint / "average" / "model.safetensors")
        _check_keys(checkpoint / "average", averaged, trainer.average.student.state_dict())
        trainer.average.student.load_state_dict(averaged, strict=True)
    if trainer.accelerator.scaler is not None:
        trainer.accelerator.scaler.load_state_dict(state["scaler"])
    _restore_rng(state["rng"][trainer.accelerator.process_index])
    progress = json.loads((checkpoint / "progress.json").read_text(encoding="utf-8"))
    if state["step"] != step_of(checkpoint):
        raise UserError(f"checkpoint {str(checkpoint)!r} says it is of step {state['step']}: it was renamed")
    return int(state["step"]), float(progress["seconds"])


def restore_objective(checkpoint: Path, objective: Objective) -> None:
    """Load what the objective keeps beside its student, such as heads and normalisers, without what only steps need.

    Raises:
        UserError: as `restore_checkpoint`.
    """
    state = objective_state(checkpoint)
    own = objective.state_dict()
    kept = {key: value for key, value in own.items() if not key.startswith("student.")}
    _check_keys(checkpoint / "trainer_state.pt", state, kept)
    objective.load_state_dict(own | state, strict=True)


def objective_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """What the objective of a checkpoint keeps beside its student, on the CPU. Raises `UserError` if unreadable."""
    return _read_state(checkpoint / "trainer_state.pt")["objective"]


def _is_full(error: Exception) -> bool:
    """Whether a disk had no room. safetensors and torch tell it in words only."""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return True
    return any(words in str(error) for words in ("No space left", "os error 28", "file write failed"))


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"checkpoint file {str(path)!r} cannot be read ({type(error).__name__}); "
        "delete that checkpoint folder to go on from an older one"
    )


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise _unreadable(path, error) from error
    missing = {"step", "objective", "optimizer", "scaler", "rng"} - state.keys()
    if missing:
        raise UserError(f"checkpoint file {str(path)!r} lacks {', '.join(sorted(missing))}")
    return state


def _check_keys(where: Path, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """`UserError` naming what is missing, extra or of another shape."""
    problems = [f"missing {key}" for key in sorted(expected.keys() - found.keys())]
    problems += [f"extra {key}" for key in sorted(found.keys() - expected.keys())]
    problems += [
        f"{key} has shape {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & found.keys())
        if found[key].shape != expected[key].shape
    ]
    if problems:
        raise UserError(f"checkpoint {str(where)!r} does not fit this model: {'; '.join(problems)}")


def _rng_state() -> dict[str, Any]:
    """States of all generators as types that `weights_only` loading admits."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)),
        "python": (version, list(internal), gauss_next),
    }


def _restore_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
