"""The end of a run: run.json and the model folder that others load, without heads, teachers or optimiser."""

import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modeling_zen import ZenImageProcessor, ZenModel, ZenVideoProcessor
from training.adaptors import write_adaptors
from training.checkpointing import latest_checkpoint
from training.config import to_plain
from training.corpus import Corpus
from training.corpus.corpus import SPLITS
from training.objectives.objective import Objective
from training.run_folder import RunFolder, write_json
from training.settings import PretrainConfig

_PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "datasets", "timm", "decord")


def describe_run(
    config: PretrainConfig, objective: Objective, step: int, seconds: float, held_out: list[dict[str, Any]]
) -> dict[str, Any]:
    """The facts of a finished run as JSON-able dictionaries; paths are reduced to their last part."""
    settings = to_plain(config)
    settings["output_dir"] = Path(config.output_dir).name
    settings["data"]["corpus"] = Path(config.data.corpus).name
    if config.cache.folder:
        settings["cache"]["folder"] = Path(config.cache.folder).name
    for teacher in settings["teachers"].values():
        if Path(teacher["repo"]).exists():
            teacher["repo"] = Path(teacher["repo"]).name
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
    return {
        "schema_version": 1,
        "steps": step,
        "frames_seen": step * config.frames_per_step,
        "seconds": round(seconds, 1),
        "parameters": {
            "student": count_parameters(objective.student),
            "heads": count_parameters(objective) - count_parameters(objective.student),
        },
        "hardware": {"device": device, "processes": config.num_processes, "threads": torch.get_num_threads()},
        "packages": {name: version(name) for name in _PACKAGES},
        "held_out": held_out,
        "settings": settings,
    }


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """What a run was trained and measured on: the corpus's name and fingerprint, and its counts per split.

    Of one on the Hub the commit as well.
    Also the digest of duplicates.parquet: it is no part of the manifest, but says which frames are not drawn.
    """
    splits = {split: asdict(corpus.count(split)) for split in SPLITS}
    facts = {"name": corpus.name, "fingerprint": corpus.fingerprint, "splits": splits}
    facts |= {"revision": corpus.revision} if corpus.revision else {}
    return facts | {"duplicates_sha256": corpus.duplicates_sha256()}


def count_parameters(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def write_hub_folder(
    run: RunFolder,
    config: PretrainConfig,
    objective: Objective,
    processor: ZenImageProcessor,
    summary: dict[str, Any],
) -> Path:
    """Write run.json and `hub/`: model, processors, their code, and the facts a model card is made from.

    The model is that of the last checkpoint, or its moving average: whole weights, however they were trained.
    """
    write_json(run.path / "run.json", summary)
    temporary = run.path / ".hub.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    last = latest_checkpoint(run.checkpoints)
    assert last is not None  # the last step saves one
    ZenModel.from_pretrained(last / ("average" if config.ema_decay else "model")).save_pretrained(temporary)
    processor.save_pretrained(temporary)
    ZenVideoProcessor(size=dict(processor.size)).save_pretrained(temporary)
    write_json(temporary / "training.json", summary)
    if objective.facts().get("teachers.json"):
        write_adaptors(last, objective.facts()["teachers.json"], config.teachers, temporary)
    for name in (*objective.facts(), "corpus.json"):
        shutil.copyfile(run.path / name, temporary / name)
    shutil.rmtree(run.hub, ignore_errors=True)
    temporary.rename(run.hub)
    return run.hub
