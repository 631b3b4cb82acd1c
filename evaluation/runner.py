"""Runs tasks x probes x models: features once, floors beside every score, records appended group by group."""

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from evaluation.backbones import Backbone, ColorHistogram, Identity, Role, TeacherBackbone, load_zen, random_init
from evaluation.backbones.backbone import sha256_of_json
from evaluation.bootstrap import interval, paired_interval, per_case, point
from evaluation.features import FeatureStore, extract_features
from evaluation.frames import RESAMPLING
from evaluation.overlap import count_overlap, other_corpus
from evaluation.protocols import PROTOCOLS, Chosen
from evaluation.records import Floors, Paired, ResultRecord, Split, append_records, read_records
from evaluation.tasks import TASKS, LoadedTask, Sources, Task, Variant
from evaluation.tasks.task import DetailedPrediction
from training.bootstrap import RESAMPLES
from training.corpus import Corpus
from training.errors import UserError
from training.registry import unknown_name

FOUND = "found"  # the word for every task whose data is there
MAJORITY = "majority"
_PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "pillow", "opencv-python-headless", "decord")
_NOT_CHOSEN = Chosen({}, "fixed before the run", "the constant predictor has nothing to choose")


@dataclass(frozen=True)
class BenchmarkSettings:
    """One benchmark run, as asked for on the command line."""

    model: str  # folder or Hub id of the student
    output: Path  # results file, appended to
    tasks: tuple[str, ...] = (FOUND,)  # task names, or "found"
    teachers: tuple[str, ...] = ()  # teacher names, Hub ids or folders to stand beside the student
    protocols: tuple[str, ...] = ("frozen",)  # the only one so far
    data_roots: tuple[Path, ...] = ()  # folders searched for datasets, two levels deep
    corpus: Path | None = None  # pretraining corpus: teacher_agreement and the overlap count
    image_size: int = 224  # pixels; the size the paper's field reports at, a multiple of 14, 16 and 32
    seed: int = 0  # of random init, bootstrap and draws of cells
    memory_limit: float = 16.0  # GB the features may take


@dataclass(frozen=True)
class _Group:
    """What shares one table: a task's variant under one probe, and the models that have no record of it yet."""

    task: Task
    loaded: LoadedTask
    variant: Variant
    probe: str
    settings: dict[str, Any]
    existing: dict[str, ResultRecord] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def run_benchmark(settings: BenchmarkSettings, say: Callable[[str], None]) -> list[ResultRecord]:
    """Measure what is asked and not yet in the results file.

    Args:
        settings: see the class.
        say: takes lines for the user (found data, skipped records, warnings).

    Returns:
        All records of this run, old and new, table by table.

    Raises:
        UserError: anything wrong with names, folders, data or the results file; nothing has been written then.
    """
    stored = {record.key: record for record in read_records(settings.output)}
    sources = check_sources(settings)
    tasks = choose_tasks(settings, sources, say)
    loaded = [(task, task.load(sources)) for task in tasks]
    device = _device()
    backbones = load_backbones(settings, device)
    corpus = Corpus.open(settings.corpus) if settings.corpus else None
    if corpus and (warning := other_corpus(Path(settings.model), corpus)):
        say(f"warning: {warning}")

    groups = [
        _plan(task, data, variant, probe, backbones, settings, stored)
        for task, data in loaded
        for variant in data.variants(backbones)
        for probe in task.probes
    ]
    skipped = sum(len(group.existing) for group in groups)
    if skipped:
        say(f"{skipped} records are already in {settings.output}: skipped")
    open_groups = [group for group in groups if group.missing]
    needed = _needed(open_groups, backbones)
    store = extract_features(
        needed,
        [frame for group in open_groups for frame in group.loaded.frames],
        [frame for group in open_groups for frame in group.loaded.dense_frames],
        settings.image_size,
        memory_limit=settings.memory_limit,
    )
    overlaps = {id(data): count_overlap(data.test_digests(), corpus) if corpus else None for _, data in loaded}
    records: list[ResultRecord] = []
    for group in groups:
        new = _measure(group, store, backbones, settings, overlaps[id(group.loaded)], device) if group.missing else []
        append_records(settings.output, new)
        records += [*group.existing.values(), *new]
    return records


def check_sources(settings: BenchmarkSettings) -> Sources:
    """The places to look for data; `UserError` for a folder that does not exist or a protocol that is not known."""
    for name in settings.protocols:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, PROTOCOLS)
    for root in settings.data_roots:
        if not root.is_dir():
            raise UserError(f"data root {str(root)!r} is not a folder")
    if settings.corpus is not None and not settings.corpus.is_dir():
        raise UserError(f"corpus {str(settings.corpus)!r} is not a folder")
    return Sources(settings.data_roots, settings.corpus)


def choose_tasks(settings: BenchmarkSettings, sources: Sources, say: Callable[[str], None]) -> list[Task]:
    """The tasks asked for; with "found", those whose data is there (agreement only if there are teachers)."""
    names = list(dict.fromkeys(settings.tasks))
    asked = [TASKS.get(name) for name in names if name != FOUND]
    for task in asked:
        if task.family == "agreement" and not settings.teachers:
            raise UserError(f"task {task.name!r} needs a teacher; name at least one with --teachers")
    if FOUND in names:
        for task in (TASKS.get(name) for name in TASKS.names()):
            home = task.find(sources)
            if task in asked or home is None or (task.family == "agreement" and not settings.teachers):
                continue
            say(f"found {task.name} in {home}")
            asked.append(task)
    if not asked:
        roots = ", ".join(repr(str(root)) for root in settings.data_roots) or "(no --data-root given)"
        raise UserError(f"no task has its data in or up to two levels below {roots}; --list shows what each one needs")
    return asked


def load_backbones(settings: BenchmarkSettings, device: torch.device) -> list[Backbone]:
    """Student, random init, teachers and histogram, in the order of the tables, all able to take the image size."""
    student = load_zen(settings.model, device)
    student.check_size(settings.image_size)
    teachers = [TeacherBackbone(name, device) for name in settings.teachers]
    backbones: list[Backbone] = [student, random_init(student, settings.seed, device), *teachers, ColorHistogram()]
    names = [backbone.name for backbone in backbones]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two backbones of this run are called {name!r}; name each teacher once")
    for backbone in backbones:
        backbone.check_size(settings.image_size)
    return backbones


def _device() -> torch.device:
    state = PartialState()
    if state.num_processes > 1:
        raise UserError(f"the benchmark runs in one process; it was started in {state.num_processes}")
    return torch.device(state.device)


def _plan(
    task: Task,
    loaded: LoadedTask,
    variant: Variant,
    probe: str,
    backbones: Sequence[Backbone],
    settings: BenchmarkSettings,
    stored: dict[tuple[str, ...], ResultRecord],
) -> _Group:
    student = backbones[0].identity.weights_sha256
    facts = {
        "image_size": settings.image_size,
        "resampling": RESAMPLING,
        "data_sha256": loaded.data_sha256,
        "bootstrap_resamples": RESAMPLES,
        "student_sha256": student,
    }
    group = _Group(task, loaded, variant, probe, facts)
    found = {
        (record.model_role, record.backbone.weights_sha256, record.backbone.preprocessing_sha256): record
        for record in stored.values()
        if (record.task, record.variant, record.probe) == (task.name, variant.name, probe)
        and record.seeds == (settings.seed,)
        and dict(record.settings) == facts
    }
    for name, role, identity in _models(backbones):
        if name == variant.teacher:  # a teacher's agreement with itself says nothing
            continue
        record = found.get((role, identity.weights_sha256, identity.preprocessing_sha256))
        if record is None:
            group.missing.append(name)
        else:
            group.existing[name] = record
    return group


def _models(backbones: Sequence[Backbone]) -> list[tuple[str, Role, Identity]]:
    """Name, role and identity of every row of a table: the backbones and the constant predictor."""
    nothing = sha256_of_json("constant predictor")
    majority = Identity("constant", None, nothing, nothing)
    return [*((b.name, b.role, b.identity) for b in backbones), (MAJORITY, "majority", majority)]


def _needed(groups: Sequence[_Group], backbones: Sequence[Backbone]) -> list[Backbone]:
    """Backbones whose features are needed: those without a record, the student to pair with, the teachers aimed at."""
    names = {name for group in groups for name in group.missing}
    names |= {str(group.variant.teacher) for group in groups}
    return [b for b in backbones if groups and (b.role == "student" or b.name in names)]


def _measure(
    group: _Group,
    store: FeatureStore,
    backbones: Sequence[Backbone],
    settings: BenchmarkSettings,
    overlap: int | None,
    device: torch.device,
) -> list[ResultRecord]:
    """Records of the models a group lacks. The student is predicted in any case: the others are paired with it."""
    student = backbones[0]
    predictions: dict[str, tuple[DetailedPrediction, Chosen, float]] = {}
    for name in dict.fromkeys([student.name, *group.missing]):
        start = time.perf_counter()
        if name == MAJORITY:
            result, chosen = group.loaded.constant(group.variant, store), _NOT_CHOSEN
        else:
            result, chosen = group.loaded.predict(group.variant, group.probe, store, name, settings.seed)
        predictions[name] = result, chosen, time.perf_counter() - start
    roles = {name: role for name, role, _ in _models(backbones)}
    values = {role: record.value for record in group.existing.values() for role in (record.model_role,)}
    values |= {roles[name]: point(prediction) for name, (prediction, _, _) in predictions.items()}
    floors = Floors(values["majority"], values["random_init"], values["histogram"])
    reference = predictions[student.name][0]
    records = []
    for name, role, identity in _models(backbones):
        if name not in group.missing:
            continue
        prediction, chosen, seconds = predictions[name]
        value = point(prediction)
        paired = None
        if role != "student":
            gap = paired_interval(reference, prediction, settings.seed)
            paired = Paired("student", student.identity.weights_sha256, point(reference) - value, gap)
        extracted = store.backbones[name].seconds if name in store.backbones else 0.0
        records.append(
            ResultRecord(
                model=name,
                model_role=role,
                backbone=identity,
                task=group.task.name,
                dataset=group.loaded.dataset,
                split=Split(group.loaded.split.train, group.loaded.split.test, group.loaded.split.source),
                protocol=settings.protocols[0],
                probe=group.probe,
                shots=None,
                metric=group.task.metric,
                variant=group.variant.name,
                primary=True,
                higher_is_better=True,
                value=value,
                per_case=per_case(prediction),
                interval=interval(prediction, settings.seed),
                paired=paired,
                hyperparameters=chosen,
                seeds=(settings.seed,),
                floors=floors,
                settings=group.settings,
                details={**prediction.details(), "feature_seconds": round(extracted, 2)},
                predictions=None,
                pretraining_overlap=overlap,
                package_versions={package: version(package) for package in _PACKAGES},
                device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
                seconds=round(seconds, 3),
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            )
        )
    return records
