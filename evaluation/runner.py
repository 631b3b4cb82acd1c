"""Runs tasks x protocols x models: features once, floors beside every score, records appended table by table."""

import datetime
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState

from evaluation.arms import arms_of
from evaluation.backbones import Backbone, ColorHistogram, random_init
from evaluation.backbones.loading import load_backbone
from evaluation.features import FeatureStore, extract_features
from evaluation.frames import RESAMPLING, UnreadableFrameError
from evaluation.measuring import ON_FEATURES, Bench, Group, measure, plan
from evaluation.overlap import count_overlap, other_corpus
from evaluation.protocols import PROTOCOLS
from evaluation.protocols.end_to_end import FinetuneSettings
from evaluation.protocols.lora import LoraSettings
from evaluation.protocols.pixels import Pixels
from evaluation.protocols.probe import PROBES
from evaluation.protocols.text_aligned import NotTextAlignedError, TextAligned, load_text_aligned
from evaluation.protocols.trained import Training
from evaluation.records import ResultRecord, append_records, read_records
from evaluation.skips import Skip, append_skips
from evaluation.tasks import TASKS, LoadedTask, Sources, Task
from training.bootstrap import RESAMPLES
from training.config import to_plain
from training.corpus import Corpus
from training.distributed import start_processes
from training.errors import UserError
from training.registry import unknown_name

FOUND = "found"  # the word for every task whose data is there
Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchmarkSettings:
    """One benchmark run, as asked for on the command line."""

    model: str  # folder, Hub id or peer: the student
    output: Path  # results file, appended to
    tasks: tuple[str, ...] = (FOUND,)  # task names, TASK@SPLIT for another split than the default, or "found"
    teachers: tuple[str, ...] = ()  # teacher names, Hub ids or folders to stand beside the student
    peers: tuple[str, ...] = ()  # peers, Hub ids or folders to stand beside it as well
    protocols: tuple[str, ...] = ("frozen",)
    probes: tuple[str, ...] = ()  # those asked for; all that a task has if empty
    data_roots: tuple[Path, ...] = ()  # folders searched for datasets, two levels deep
    corpus: Path | None = None  # pretraining corpus: teacher_agreement and the overlap count
    image_size: int = 224  # pixels; the size the paper's field reports at, a multiple of 14, 16 and 32
    seeds: tuple[int, ...] = (0,)  # of probes, training, bootstrap and draws; random init takes the first
    features: Path | None = None  # folder of stored features; None: beside the results file
    memory_limit: float = 16.0  # GB the features may take
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)  # of full_finetune and lora
    lora: LoraSettings = field(default_factory=LoraSettings)
    text_model: str | None = None  # text side of the model for zero_shot; None: that of the teacher it learned from


@dataclass(frozen=True)
class Loaded:
    """A task that was asked for, with its data."""

    name: str
    task: Task
    data: LoadedTask


def run_benchmark(settings: BenchmarkSettings, say: Say) -> list[ResultRecord]:
    """Measure what is asked and not yet in the results file; what cannot be measured goes to the skip list.

    In several processes each extracts its share of the features and measures every N-th table.

    Args:
        settings: see the class.
        say: takes lines for the user (found data, skipped records, warnings).

    Returns:
        All records of this run, old and new, table by table.

    Raises:
        UserError: anything wrong with names, folders or the results file, or no task at all that can be measured.
    """
    state = start_processes()
    stored = read_records(settings.output)
    sources = check_sources(settings)
    chosen, skips = choose_tasks(settings, sources, say)
    device = torch.device(state.device)
    backbones = load_backbones(settings, device)
    corpus = Corpus.open(settings.corpus) if settings.corpus else None
    if corpus and (warning := other_corpus(Path(settings.model), corpus)):
        say(f"warning: {warning}")

    loaded, unreadable = load_tasks(chosen, sources)
    skips += unreadable
    if not loaded:
        raise UserError("; ".join(skip.reason for skip in skips))
    readers, unread = text_towers(settings, backbones, device)
    groups, more = plan_groups(settings, loaded, backbones, readers, stored)
    skips += [*unread, *more]
    done = sum(len(records) for group in groups for records in group.existing.values())
    if done:
        say(f"{done} records are already in {settings.output}: skipped")
    groups, store, lost = extract(settings, groups, backbones)
    report_skips(settings, [*skips, *lost], say)

    kept = {id(group.loaded): group.loaded for group in groups}
    overlaps = {key: count_overlap(data.test_digests(), corpus) if corpus else None for key, data in kept.items()}
    with Pixels(settings.image_size) as pixels:
        training = Training(pixels, beside(settings.output, "adapters"), settings.finetune, settings.lora, readers)
        bench = Bench(backbones, store, training, beside(settings.output, "predictions"), overlaps, device)
        for number, group in enumerate(groups):
            if group.missing and number % state.num_processes == state.process_index:
                try:
                    append_records(settings.output, measure(group, bench))
                except UserError as error:  # of this table, such as a loss that is not finite; the others go on
                    skip = Skip(group.name, group.arm.protocol, group.arm.probe, "", str(error), _now())
                    say(describe(skip))
                    append_skips(settings.output, [skip])
    state.wait_for_everyone()
    return records_of(groups, read_records(settings.output))


def check_sources(settings: BenchmarkSettings) -> Sources:
    """The places to look for data; `UserError` for a folder that does not exist or a name that is not known."""
    for name in settings.protocols:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, PROTOCOLS)
    for name in settings.probes:
        PROBES.get(name)
    for root in settings.data_roots:
        if not root.is_dir():
            raise UserError(f"data root {str(root)!r} is not a folder")
    if settings.corpus is not None and not settings.corpus.is_dir():
        raise UserError(f"corpus {str(settings.corpus)!r} is not a folder")
    return Sources(settings.data_roots, settings.corpus)


def choose_tasks(settings: BenchmarkSettings, sources: Sources, say: Say) -> tuple[list[tuple[str, Task]], list[Skip]]:
    """The tasks asked for; with "found", those whose data is there (agreement only if there are teachers).

    A task of which it cannot be told where its data lies, as there are two places, is skipped.
    """
    skips: list[Skip] = []
    names = list(dict.fromkeys(settings.tasks))
    asked = [(name, TASKS.get(name.partition("@")[0])) for name in names if name != FOUND]
    for _, task in asked:
        if task.family == "agreement" and not settings.teachers:
            raise UserError(f"task {task.name!r} needs a teacher; name at least one with --teachers")
    if FOUND in names:
        present = {task.name for _, task in asked}
        for task in (TASKS.get(name) for name in TASKS.names()):
            if task.name in present or (task.family == "agreement" and not settings.teachers):
                continue
            try:
                home = task.find(sources)
            except UserError as error:
                skips.append(_skip(task.name, str(error)))
                continue
            if home is not None:
                say(f"found {task.name} in {home}")
                asked.append((task.name, task))
    if not asked:
        raise UserError(f"no task has its data in or up to two levels below {sources}; --list shows what each needs")
    return asked, skips


def load_backbones(settings: BenchmarkSettings, device: torch.device) -> list[Backbone]:
    """Student, random init, teachers, peers and histogram, in the order of the tables, able to take the image size."""
    student = load_backbone(settings.model, "student", device)
    student.check_size(settings.image_size)
    teachers = [load_backbone(name, "teacher", device) for name in settings.teachers]
    peers = [load_backbone(name, "peer", device) for name in settings.peers]
    floor = random_init(student, settings.seeds[0], device)
    backbones: list[Backbone] = [student, floor, *teachers, *peers, ColorHistogram()]
    names = [backbone.name for backbone in backbones]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two backbones of this run are called {name!r}; name each model once")
    for backbone in backbones:
        backbone.check_size(settings.image_size)
    return backbones


def text_towers(
    settings: BenchmarkSettings, backbones: Sequence[Backbone], device: torch.device
) -> tuple[dict[str, TextAligned], list[Skip]]:
    """The text towers of the models of the run, by name of the backbone, where zero-shot is asked for."""
    if "zero_shot" not in settings.protocols:
        return {}, []
    sources = [settings.model, *settings.teachers, *settings.peers]
    named = [backbone for backbone in backbones if backbone.role in ("student", "teacher", "peer")]
    readers, skips = {}, []
    for source, backbone in zip(sources, named, strict=True):
        text_model = settings.text_model if backbone.role == "student" else None
        try:
            readers[backbone.name] = load_text_aligned(
                source, device, image_size=settings.image_size, text_model=text_model
            )
        except NotTextAlignedError as error:
            skips.append(Skip("", "zero_shot", "", backbone.name, str(error), _now()))
    return readers, skips


def load_tasks(chosen: Sequence[tuple[str, Task]], sources: Sources) -> tuple[list[Loaded], list[Skip]]:
    """Read the labels of every task; one whose data is wrong is skipped with the reason, the others go on."""
    loaded, skips = [], []
    for name, task in chosen:
        try:
            loaded.append(Loaded(name, task, task.load(sources, name.partition("@")[2] or None)))
        except UserError as error:
            skips.append(_skip(name, str(error)))
    return loaded, skips


def plan_groups(
    settings: BenchmarkSettings,
    loaded: Sequence[Loaded],
    backbones: Sequence[Backbone],
    readers: Collection[str],
    stored: Sequence[ResultRecord],
) -> tuple[list[Group], list[Skip]]:
    """Every table of the run, and the protocols that do not apply to a task."""
    facts = {
        "image_size": settings.image_size,
        "resampling": RESAMPLING,
        "bootstrap_resamples": RESAMPLES,
        "student_sha256": backbones[0].identity.weights_sha256,
    }
    # As a results file gives them back: tuples become lists.
    finetune, lora = (json.loads(json.dumps(to_plain(each))) for each in (settings.finetune, settings.lora))
    trained = {"full_finetune": {"finetune": finetune}, "lora": {"finetune": finetune, "lora": lora}}
    of_task: dict[str, list[ResultRecord]] = {}
    for record in stored:
        of_task.setdefault(record.task, []).append(record)
    groups, skips = [], []
    for each in loaded:
        arms, refused = arms_of(each.task, each.data, settings.protocols, settings.probes)
        if backbones[0].name not in readers:
            arms = [arm for arm in arms if arm.protocol != "zero_shot"]  # why is said once for all tasks
        skips += [_skip(each.name, reason, protocol) for protocol, reason in refused.items()]
        groups += [
            plan(
                each.name,
                each.task,
                each.data,
                aim,
                arm,
                seed,
                backbones,
                readers,
                facts | trained.get(arm.protocol, {}),
                of_task.get(each.name, []),
            )
            for aim in each.data.aims(backbones)
            for arm in arms
            for seed in settings.seeds
        ]
    return groups, skips


def extract(
    settings: BenchmarkSettings, groups: list[Group], backbones: Sequence[Backbone]
) -> tuple[list[Group], FeatureStore, list[Skip]]:
    """Features of all frames that open tables need, in one pass; tasks with an unreadable frame are left out."""
    skips: list[Skip] = []
    while True:
        needed, frames, dense, coarse = wanted(groups, backbones)
        try:
            store = extract_features(
                needed,
                frames,
                dense,
                settings.image_size,
                memory_limit=settings.memory_limit,
                folder=features_folder(settings),
                coarse_frames=coarse,
            )
            return groups, store, skips
        except UnreadableFrameError as error:
            bad = {group.name for group in groups if any(error.concerns(frame) for frame in group.loaded.frames)}
            skips += [_skip(name, str(error)) for name in sorted(bad)]
            groups = [group for group in groups if group.name not in bad]
            if not bad or not groups:
                raise


def wanted(groups: Sequence[Group], backbones: Sequence[Backbone]) -> tuple[list[Backbone], list, list, list]:
    """Backbones and frames of open tables on stored features: all frames, those with dense and with coarse tokens.

    Backbones are those without a record, the student to pair with, and the teachers aimed at.
    """
    reading = [g for g in groups if g.missing and g.arm.protocol in ON_FEATURES]
    names = {name for group in reading for name in group.missing} | {str(group.aim.teacher) for group in reading}
    needed = [b for b in backbones if reading and (b.role == "student" or b.name in names)]
    tasks = {id(group.loaded): group.loaded for group in reading}
    places = {id(group.loaded): group.loaded for group in reading if group.arm.probe == "attentive"}
    return (
        needed,
        [frame for data in tasks.values() for frame in data.frames],
        [frame for data in tasks.values() for frame in data.dense_frames],
        [frame for data in places.values() for frame in data.frames],
    )


def beside(output: Path, noun: str) -> Path:
    """The folder of something that belongs to a results file: `results.jsonl` -> `results.<noun>`."""
    return output.with_name(f"{output.stem}.{noun}")


def features_folder(settings: BenchmarkSettings) -> Path:
    """Where the features of a run are kept."""
    return settings.features or beside(settings.output, "features")


def records_of(groups: Sequence[Group], stored: Sequence[ResultRecord]) -> list[ResultRecord]:
    """The records of some tables, in their order; those of a model without a record of the table are left out."""
    of_table: dict[tuple[str, str, str | None], list[ResultRecord]] = {}
    for record in stored:
        of_table.setdefault((record.task, record.protocol, record.probe), []).append(record)
    keys = [(group.name, group.arm.protocol, group.arm.probe) for group in groups]
    return [
        record
        for group, key in zip(groups, keys, strict=True)
        for record in of_table.get(key, ())
        if group.holds(record)
    ]


def report_skips(settings: BenchmarkSettings, skips: Sequence[Skip], say: Say) -> None:
    """Say and write down what is left out."""
    for skip in skips:
        say(describe(skip))
    if PartialState().is_main_process:
        append_skips(settings.output, skips)


def describe(skip: Skip) -> str:
    """A line for the user."""
    places = ", ".join(part for part in skip.place if part)
    return f"skipped {places}: {skip.reason}"


def _skip(task: str, reason: str, protocol: str = "") -> Skip:
    return Skip(task, protocol, "", "", reason, _now())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
