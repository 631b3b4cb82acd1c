"""What a pretraining run left on disk, read into typed facts; a missing file or key is named."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from evaluation.backbones.backbone import sha256_of_weights
from training.errors import UserError

WEIGHTS = "model.safetensors"
LOG = "log.jsonl"
DISTILLATION = "distillation"  # the strategy that learns from teachers


@dataclass(frozen=True)
class Teacher:
    """One teacher as the run recorded it. `key` names it in the log; `revision` is `None` for a local folder."""

    key: str
    name: str
    repo: str
    revision: str | None
    licence: str | None
    source: str
    weights_sha256: str
    input_size: tuple[int, int]  # pixels, height and width of what it was shown
    tokens: tuple[str, ...]  # which tokens the student learned from it: "summary", "dense"


@dataclass(frozen=True)
class AgreementPoint:
    """Agreement of the student with one teacher at one step; the best constant predictor has 0 in both measures.

    `cosine` is centred on the calibration mean; either is NaN where the targets do not vary.
    """

    step: int
    split: str
    teacher: str
    tokens: str
    cosine: float
    explained_variance: float


@dataclass(frozen=True)
class Run:
    """Facts of one finished run."""

    folder: Path
    hub: Path
    config: dict[str, Any]  # config.yaml
    model_config: dict[str, Any]  # hub/config.json
    facts: dict[str, Any]  # run.json
    corpus: dict[str, Any]  # corpus.json
    teachers: tuple[Teacher, ...]
    weights_sha256: str  # over the tensors, as result records state it

    def fact(self, *keys: str) -> Any:
        """The value at `keys` in run.json; `UserError` naming it if it is not there."""
        return lookup(self.facts, keys, f"{self.folder / 'run.json'}")

    @property
    def has_teachers(self) -> bool:
        """Whether its strategy learns from teachers; runs of before there were others did."""
        return self.facts.get("settings", {}).get("strategy", DISTILLATION) == DISTILLATION

    def agreement(self) -> list[AgreementPoint]:
        """Agreement with teachers on held-out cases at the end of the run as run.json has it; empty without either."""
        where = str(self.folder / "run.json")
        return [_agreement(row, where) for row in self.fact("held_out")]

    def measures(self) -> list[tuple[str, float]]:
        """Losses and quick diagnostics on held-out cases at the end of the run, as its log has them; empty without."""
        log = self.folder / LOG
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        last = {"step": self.fact("steps"), "split": "held_out"}
        rows = [row for row in map(json.loads, lines) if last.items() <= row.items() and "teacher" not in row]
        return [(key, value) for row in rows for key, value in row.items() if key not in last]


def lookup(record: Any, keys: tuple[str, ...], where: str) -> Any:
    """The value at nested `keys` of a JSON object; `UserError` naming the key and the file if it is not there."""
    for position, key in enumerate(keys):
        if not isinstance(record, dict) or key not in record:
            raise UserError(f"{where} has no {'.'.join(keys[: position + 1])!r}; the card shows only what is recorded")
        record = record[key]
    return record


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Content of a JSON file; `UserError` naming it when it is missing or broken."""
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist; it should have been written when the run finished")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} is not valid JSON: {error}") from error


def read_run(folder: Path) -> Run:
    """Read a finished run folder of `training.pretrain`.

    Raises:
        UserError: the folder is missing, the run is not finished (no hub folder), or a file or key is missing or
            broken.
    """
    if not folder.is_dir():
        raise UserError(f"run folder {str(folder)!r} does not exist")
    hub = folder / "hub"
    if not (hub / WEIGHTS).is_file():
        raise UserError(f"{str(folder)!r} holds no finished run: {str(hub / WEIGHTS)!r} is missing")
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"{str(folder / 'config.yaml')!r} does not exist; it should have been written when the run began"
        )
    run = Run(
        folder=folder,
        hub=hub,
        config=yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")),
        model_config=read_json(hub / "config.json"),
        facts=read_json(folder / "run.json"),
        corpus=read_json(folder / "corpus.json"),
        teachers=(),
        weights_sha256=hash_weights_file(hub / WEIGHTS),
    )
    return replace(run, teachers=_read_teachers(folder / "teachers.json")) if run.has_teachers else run


def hash_weights_file(path: Path) -> str:
    """Hash over the tensors of a weights file, as result records state it; `UserError` when it is missing or broken."""
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist")
    try:
        return sha256_of_weights(load_file(path))
    except SafetensorError as error:
        raise UserError(f"{str(path)!r} is not a valid safetensors file: {error}") from error


def _agreement(row: dict[str, Any], where: str) -> AgreementPoint:
    """One agreement row of run.json."""
    return AgreementPoint(
        step=int(lookup(row, ("step",), where)),
        split=str(lookup(row, ("split",), where)),
        teacher=str(lookup(row, ("teacher",), where)),
        tokens=str(lookup(row, ("tokens",), where)),
        cosine=float(lookup(row, ("cosine",), where)),
        explained_variance=float(lookup(row, ("explained_variance",), where)),
    )


def _read_teachers(path: Path) -> tuple[Teacher, ...]:
    """Every teacher of teachers.json, in its order."""
    teachers = []
    for number, row in enumerate(read_json(path)):
        where = f"{path} entry {number}"
        height, width = lookup(row, ("input_size",), where)
        teachers.append(
            Teacher(
                key=str(lookup(row, ("key",), where)),
                name=str(lookup(row, ("name",), where)),
                repo=str(lookup(row, ("repo",), where)),
                revision=lookup(row, ("revision",), where),
                licence=lookup(row, ("licence",), where),
                source=str(lookup(row, ("source",), where)),
                weights_sha256=str(lookup(row, ("weights_sha256",), where)),
                input_size=(int(height), int(width)),
                tokens=tuple(lookup(row, ("weights",), where)),
            )
        )
    return tuple(teachers)
