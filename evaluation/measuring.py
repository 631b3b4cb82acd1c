"""Measures one table: every model of a task under one arm, floors beside every score, as result records."""

import dataclasses
import datetime
import functools
import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.arms import Arm, few_labels
from evaluation.backbones import Backbone, Identity, NetworkBackbone, Role
from evaluation.backbones.backbone import sha256_of_json
from evaluation.bootstrap import interval, paired_interval, per_case, point
from evaluation.features import FeatureStore
from evaluation.predictions import write_predictions
from evaluation.protocols.prompts import load_prompts
from evaluation.protocols.trained import Training, trained_scores
from evaluation.records import Floors, Paired, ResultRecord, Split
from evaluation.tasks import Aim, LoadedTask, Outcome, ProblemTask, Task

ON_FEATURES = ("frozen", "few_shot", "transfer")  # protocols that read stored features
MAJORITY = "majority"
_PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "pillow", "opencv-python-headless", "decord", "peft")


@dataclass(frozen=True)
class Group:
    """What shares one table: a task's aim under one arm and seed, and the models that have no record of it yet."""

    name: str  # of the task as asked for, with its split where one was named
    task: Task
    loaded: LoadedTask
    aim: Aim
    arm: Arm
    seed: int
    settings: Mapping[str, Any]
    models: Sequence[tuple[str, Role, Identity]]  # rows of the table
    existing: dict[str, list[ResultRecord]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    partial: set[tuple[str, ...]] = field(default_factory=set)  # keys of records of models that lack others

    def holds(self, record: ResultRecord) -> bool:
        """Whether a record is of this table."""
        arm = self.arm
        return (
            (record.task, record.protocol, record.probe) == (self.name, arm.protocol, arm.probe)
            and (record.shots, record.seeds) == (arm.shots, (self.seed,))
            and dict(record.settings) == self.settings
            and self.aim.name in ("", record.variant)
            and _who(record.model_role, record.backbone) in {_who(role, identity) for _, role, identity in self.models}
        )


@dataclass(frozen=True)
class Bench:
    """What all tables of a run share."""

    backbones: Sequence[Backbone]  # the student first
    store: FeatureStore
    training: Training
    predictions: Path  # folder for files of predictions
    overlaps: Mapping[int, int | None]  # by id of the loaded task
    device: torch.device


def models_of(
    arm: Arm, aim: Aim, backbones: Sequence[Backbone], readers: Collection[str]
) -> list[tuple[str, Role, Identity]]:
    """Name, role and identity of every row of a table: the backbones that the arm can measure, and the constant."""
    nothing = sha256_of_json("constant predictor")

    def fits(backbone: Backbone) -> bool:
        if arm.protocol == "zero_shot":
            return backbone.name in readers
        if arm.protocol in ON_FEATURES:
            return backbone.name != aim.teacher  # a teacher's agreement with itself says nothing
        return isinstance(backbone, NetworkBackbone)

    rows = [(backbone.name, backbone.role, backbone.identity) for backbone in backbones if fits(backbone)]
    return [*rows, (MAJORITY, "majority", Identity("constant", None, nothing, nothing))]


def plan(
    name: str,
    task: Task,
    loaded: LoadedTask,
    aim: Aim,
    arm: Arm,
    seed: int,
    backbones: Sequence[Backbone],
    readers: Collection[str],
    facts: Mapping[str, Any],
    stored: Sequence[ResultRecord],
) -> Group:
    """The group with what is already in the results file."""
    models = models_of(arm, aim, backbones, readers)
    group = Group(name, task, loaded, aim, arm, seed, {**facts, "data_sha256": loaded.data_sha256}, models)
    held = list(filter(group.holds, stored))
    for model, role, identity in models:
        records = [record for record in held if _who(record.model_role, record.backbone) == _who(role, identity)]
        if records and len(records) == records[0].measures:
            group.existing[model] = records
        else:
            group.missing.append(model)
            group.partial.update(record.key for record in records)
    return group


def _who(role: Role, identity: Identity) -> tuple[str, str, str]:
    """What makes a model the same one: a folder may be renamed."""
    return role, identity.weights_sha256, identity.preprocessing_sha256


def measure(group: Group, bench: Bench) -> list[ResultRecord]:
    """Records of the models a group lacks. The student is predicted in any case: the others are paired with it."""
    student = bench.backbones[0]
    loaded = group.loaded
    if group.arm.shots is not None and isinstance(loaded, ProblemTask):
        loaded = few_labels(loaded, group.arm.shots)
    by_name = {backbone.name: backbone for backbone in bench.backbones}
    outcomes: dict[str, tuple[Outcome, dict[str, Any], float]] = {}
    for name in dict.fromkeys([student.name, *group.missing]):
        start = time.perf_counter()
        if name == MAJORITY:
            answer = loaded.constant(group.aim, bench.store), dict[str, Any]()
        else:
            answer = _predict(group, loaded, by_name[name], bench)
        outcomes[name] = *answer, time.perf_counter() - start
    reference = outcomes[student.name][0]
    records = []
    for name, role, identity in group.models:
        if name not in group.missing:
            continue
        outcome, extra, seconds = outcomes[name]
        if name in bench.store.backbones:
            extra = {**extra, "feature_seconds": round(bench.store.backbones[name].seconds, 2)}
        file = _keep(outcome, group, identity, bench.predictions)
        for index, measured in enumerate(outcome.measures):
            value = _defined(point(measured))
            floors = _floors(group, bench, outcomes, index)
            paired = None
            if role != "student":
                best = reference.measures[index]
                against = _defined(point(best))
                gap = None if value is None or against is None else against - value
                resampled = None if gap is None else paired_interval(best, measured, group.seed)
                paired = Paired("student", student.identity.weights_sha256, gap, resampled)
            records.append(
                ResultRecord(
                    model=name,
                    model_role=role,
                    backbone=identity,
                    task=group.name,
                    dataset=loaded.dataset,
                    split=_split(loaded, measured.cases),
                    protocol=group.arm.protocol,
                    probe=group.arm.probe,
                    shots=group.arm.shots,
                    metric=measured.metric,
                    variant=group.aim.name or measured.variant,
                    primary=measured.primary,
                    higher_is_better=measured.higher_is_better,
                    value=value,
                    per_case=per_case(measured),
                    interval=None if value is None else interval(measured, group.seed),
                    paired=paired,
                    hyperparameters=outcome.chosen,
                    seeds=(group.seed,),
                    floors=floors,
                    settings=group.settings,
                    details={**measured.details(), **extra},
                    predictions=file,
                    pretraining_overlap=bench.overlaps[id(group.loaded)],
                    package_versions=_package_versions(),
                    device=_device_name(bench.device),
                    seconds=round(seconds, 3),
                    created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    measures=len(outcome.measures),
                )
            )
    return [record for record in records if record.key not in group.partial]


def _predict(group: Group, loaded: LoadedTask, backbone: Backbone, bench: Bench) -> tuple[Outcome, dict[str, Any]]:
    if group.arm.protocol in ON_FEATURES:
        return loaded.predict(group.aim, group.arm.probe, bench.store, backbone.name, group.seed), {}
    if not isinstance(loaded, ProblemTask) or not isinstance(backbone, NetworkBackbone):
        raise TypeError(f"{group.arm.protocol} needs a problem and a network")
    training = bench.training if backbone.role == "student" else dataclasses.replace(bench.training, adapters=None)
    name = f"{group.name}-seed{group.seed}"
    prompts = load_prompts(loaded.dataset, loaded.problem.target)
    scores, chosen, extra = trained_scores(
        group.arm.protocol, backbone, loaded.problem, prompts, group.seed, training, name
    )
    return loaded.outcome(scores, chosen), extra


def _floors(group: Group, bench: Bench, outcomes: Mapping[str, tuple[Outcome, Any, float]], index: int) -> Floors:
    """Values of the floors under the same measure, from this run or from the records of the same group."""
    values: dict[str, float | None] = {}
    metric = outcomes[bench.backbones[0].name][0].measures[index]
    for name, role, _ in group.models:
        if role in ("majority", "random_init", "histogram"):
            if name in outcomes:
                values[role] = _defined(point(outcomes[name][0].measures[index]))
            else:
                same = [r for r in group.existing[name] if r.metric == metric.metric]
                values[role] = next((r.value for r in same if group.aim.name or r.variant == metric.variant), None)
    return Floors(values.get("majority"), values.get("random_init"), values.get("histogram"))


def _keep(outcome: Outcome, group: Group, identity: Identity, folder: Path) -> str | None:
    """Write predictions where there are any; the name of the file, which follows from what was measured."""
    if outcome.predictions is None:
        return None
    facts = [group.name, dataclasses.asdict(group.arm), group.seed, dict(group.settings), dataclasses.asdict(identity)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    write_predictions(folder / f"{digest[:32]}.safetensors", outcome.predictions)
    return f"{folder.name}/{digest[:32]}.safetensors"


def _split(loaded: LoadedTask, cases: tuple[str, ...]) -> Split:
    if cases != loaded.split.test:
        raise ValueError(f"measured cases {cases} are not the test cases {loaded.split.test}")
    split = loaded.split
    return Split(split.train, split.test, split.source, split.val, split.name)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


@functools.cache  # reading them takes as long as a small fit, and every record has them
def _package_versions() -> dict[str, str]:
    return {package: version(package) for package in _PACKAGES}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
