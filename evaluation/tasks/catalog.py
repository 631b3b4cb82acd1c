"""The catalog of tasks over datasets, one row each; importing it fills the registry."""

import re
from collections.abc import Callable
from pathlib import Path

from evaluation.datasets import DATASETS, WORKFLOW_DATASETS, Dataset
from evaluation.datasets.endoscapes import CVS_NAMES, cvs_labels
from evaluation.datasets.samples import SAMPLE_DATASETS, SampleReader, Target
from evaluation.datasets.workflow import SPLITS, Split, load_split
from evaluation.tasks import labels, problems, segmentation
from evaluation.tasks.task import TASKS, LoadedTask, Sources, Task, home_of
from training.errors import UserError

FRAME_PROBES = ("knn", "linear", "attentive")
TEMPORAL_PROBES = (*FRAME_PROBES, "tcn_causal", "tcn_offline")

# name, family, dataset, track, frames per second: 1 as the field samples phases, more where gestures last seconds.
WORKFLOW_TASKS: tuple[tuple[str, str, str, str, float], ...] = (
    ("phase_cholec80", "phase", "cholec80", "phase", 1.0),
    ("phase_autolaparo", "phase", "autolaparo", "phase", 1.0),
    ("phase_m2cai16", "phase", "m2cai16_workflow", "phase", 1.0),
    ("phase_multibypass140", "phase", "multibypass140", "phase", 1.0),
    ("phase_heichole", "phase", "heichole", "phase", 1.0),
    ("phase_cataract101", "phase", "cataract101", "phase", 1.0),
    ("phase_cholect50", "phase", "cholect50", "phase", 1.0),
    ("phase_grasp", "phase", "grasp", "phase", 1.0),
    ("phase_psi_ava", "phase", "psi_ava", "phase", 1.0),
    ("step_multibypass140", "step", "multibypass140", "step", 1.0),
    ("step_grasp", "step", "grasp", "step", 1.0),
    ("step_psi_ava", "step", "psi_ava", "step", 1.0),
    ("step_cataracts", "step", "cataracts", "step", 1.0),
    ("step_pitvis", "step", "pitvis", "step", 1.0),
    ("gesture_sar_rarp50", "gesture", "sar_rarp50", "gesture", 10.0),
    ("gesture_jigsaws", "gesture", "jigsaws", "gesture", 5.0),
    ("tool_cholec80", "presence", "cholec80", "tool", 1.0),
    ("tool_m2cai16", "presence", "m2cai16_tool", "tool", 1.0),
    ("tool_heichole", "presence", "heichole", "tool", 1.0),
    ("action_heichole", "presence", "heichole", "action", 1.0),
    ("tool_cholect50", "presence", "cholect50", "instrument", 1.0),
    ("verb_cholect50", "presence", "cholect50", "verb", 1.0),
    ("target_cholect50", "presence", "cholect50", "target", 1.0),
    ("tool_cataracts", "presence", "cataracts", "tool", 1.0),
    ("tool_pitvis", "presence", "pitvis", "instrument", 1.0),
    ("triplet_cholect50", "triplet", "cholect50", "triplet", 1.0),
)
# name, family, dataset
SAMPLE_TASKS: tuple[tuple[str, str, str], ...] = (
    ("motion_autolaparo", "motion", "autolaparo_motion"),
    ("cvs_endoscapes201", "cvs", "endoscapes_cvs"),
    ("cvs_cholec80", "cvs", "cholec80_cvs"),
    ("skill_heichole", "skill", "heichole_skill"),
    ("skill_jigsaws", "skill", "jigsaws_skill"),
    ("action_lapgyn4", "image_classification", "lapgyn4"),
    ("finding_hyperkvasir", "image_classification", "hyperkvasir"),
    ("procedure_lemon", "procedure", "lemon"),
)


def _find(find: Callable[[Path], Path | None]) -> Callable[[Sources], Path | None]:
    return lambda sources: sources.find(find)


def _split(task: str, reader: SampleReader, home: Path, name: str | None) -> Split | None:
    """The split of a dataset by name; None for the default of one that has no file of splits."""
    if (SPLITS / f"{reader.name}.json").exists():
        return load_split(reader.name, name)
    if name is None:
        return None
    if reader.fold is None:
        raise UserError(f"task {task!r} has no splits to choose from: dataset {reader.name!r} brings its own sides")
    number = re.fullmatch(r"fold_(\d)", name)
    if not number:
        raise UserError(f"task {task!r} has no split {name!r}; its splits are called fold_1, fold_2 ...")
    return reader.fold(home, int(number[1]))


def _register_workflow(name: str, family: str, dataset: str, track: str, fps: float) -> None:
    reader = WORKFLOW_DATASETS.get(dataset)

    def load(sources: Sources, split: str | None) -> LoadedTask:
        home = home_of(name, dataset, reader.obtain, sources, reader.find)
        chosen = load_split(dataset, split)
        data = sources.once((dataset, home, chosen, fps), lambda: reader.scan(home, chosen, fps))
        return problems.from_workflow(name, family, data, track)

    probes = TEMPORAL_PROBES if family in ("phase", "step", "gesture") else FRAME_PROBES
    TASKS.register(name)(Task(name, family, probes, dataset, reader.licence, reader.obtain, _find(reader.find), load))


def _register_samples(name: str, family: str, dataset: str) -> None:
    reader = SAMPLE_DATASETS.get(dataset)

    def load(sources: Sources, split: str | None) -> LoadedTask:
        home = home_of(name, dataset, reader.obtain, sources, reader.find)
        chosen = _split(name, reader, home, split)
        data = sources.once((dataset, home, chosen), lambda: reader.scan(home, chosen))
        return problems.from_samples(name, family, data)

    task = Task(name, family, FRAME_PROBES, dataset, reader.licence, reader.obtain, _find(reader.find), load)
    TASKS.register(name)(task)


def _register_records(
    name: str, family: str, dataset: str, probes: tuple[str, ...], build: Callable[[Dataset], LoadedTask]
) -> None:
    reader = DATASETS.get(dataset)

    def load(sources: Sources, split: str | None) -> LoadedTask:
        if split is not None:
            raise UserError(f"task {name!r} has no splits to choose from: dataset {dataset!r} brings its own sides")
        home = home_of(name, dataset, reader.obtain, sources, reader.find)
        return build(sources.once((dataset, home), lambda: reader.scan(home)))

    task = Task(name, family, probes, dataset, reader.licence, reader.obtain, _find(reader.find), load)
    TASKS.register(name)(task)


def _presence(name: str) -> Callable[[Dataset], LoadedTask]:
    return lambda data: labels.build(
        name, "presence", data, Target("presence", "multi", data.presence_names), lambda record: record.presence
    )


for _dataset in ("synthetic", "endoscapes"):
    _name = f"presence_{_dataset}"
    _register_records(_name, "presence", _dataset, FRAME_PROBES, _presence(_name))
    _register_records(f"segmentation_{_dataset}", "segmentation", _dataset, ("linear",), segmentation.SegmentationTask)
_register_records(
    "cvs_endoscapes",
    "cvs",
    "endoscapes",
    FRAME_PROBES,
    lambda data: labels.build("cvs_endoscapes", "cvs", data, Target("cvs", "multi", CVS_NAMES), cvs_labels),
)
for _row in WORKFLOW_TASKS:
    _register_workflow(*_row)
for _sample_row in SAMPLE_TASKS:
    _register_samples(*_sample_row)
