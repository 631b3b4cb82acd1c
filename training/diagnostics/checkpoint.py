"""From CHECKPOINT on the command line to the student in it, the teachers that taught it, and the heads between them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from transformers.utils import logging

from modeling_zen import ZenImageProcessor, ZenModel
from training.checkpointing import latest_checkpoint, restore_objective, step_of
from training.config import load_config
from training.corpus import Corpus
from training.errors import UserError
from training.objectives.distillation import DistillationObjective
from training.objectives.distillation_settings import DistillationConfig, TeacherConfig
from training.settings import PretrainConfig
from training.student import build_student
from training.teachers import Teacher, load_teacher

CONFIG_FILE, TEACHERS_FILE = "config.yaml", "teachers.json"


@dataclass(frozen=True)
class Located:
    """What a path on the command line is.

    Attributes:
        name: for people; no absolute path.
        model: folder of the student's weights.
        checkpoint: of a run; `None` for a plain model.
        run: folder of that run.
    """

    name: str
    model: Path
    checkpoint: Path | None = None
    run: Path | None = None

    @property
    def step(self) -> int | None:
        """Steps trained; `None` for a plain model."""
        return None if self.checkpoint is None else step_of(self.checkpoint)

    @property
    def weights(self) -> str:
        """Which weights are measured: those that the run would export."""
        return "moving average" if self.checkpoint is not None and self.model.name == "average" else "last step"


@dataclass(frozen=True)
class Opened:
    """A student, ready to be measured.

    Attributes:
        located: where it is from.
        student: frozen, in eval mode.
        objective: with its teachers, heads and normalizers; `None` without teachers.
        teachers: by name.
        has_heads: whether the heads of the objective are those that were trained; else only its normalizers serve.
        processor: of the student.
        image_size: side of its square input in pixels.
        trained_on: fingerprint of the corpus of the run; `None` where that is not known.
    """

    located: Located
    student: ZenModel
    objective: DistillationObjective | None
    teachers: Mapping[str, Teacher]
    has_heads: bool
    processor: ZenImageProcessor
    image_size: int
    trained_on: str | None


def locate(path: Path) -> Located:
    """Say what `path` is: a run folder, a checkpoint of one, or a ZEN model folder.

    Raises:
        UserError: none of these, a run without a checkpoint, or a checkpoint that was taken out of its run.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"checkpoint {str(path)!r} does not exist")
    if (path / "trainer_state.pt").is_file():
        run = path.resolve().parents[1]
        if not (run / CONFIG_FILE).is_file():
            raise UserError(
                f"checkpoint {str(path)!r} lies in no run (no {CONFIG_FILE} two folders above): name its folder model/ "
                "to measure it without heads"
            )
        return _of_checkpoint(run, path.resolve())
    if (path / CONFIG_FILE).is_file():
        checkpoint = latest_checkpoint(path / "checkpoints")
        if checkpoint is None:
            raise UserError(f"the run in {str(path)!r} has no checkpoint yet")
        return _of_checkpoint(path.resolve(), checkpoint.resolve())
    config = path / "config.json"
    if config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("model_type") == "zen":
        own = path.resolve()
        return Located(f"{own.parent.name}/{own.name}" if own.name in ("hub", "model", "average") else own.name, path)
    raise UserError(
        f"{str(path)!r} is neither a run folder ({CONFIG_FILE}), nor a checkpoint of one (checkpoints/step-00000100), "
        "nor a ZEN model folder (config.json)"
    )


def open_checkpoint(
    located: Located, given: Mapping[str, TeacherConfig], corpus: Corpus, device: torch.device, *, teachers: bool = True
) -> Opened:
    """Load the student and, unless `teachers` is false, its teachers and heads.

    Args:
        located: see `locate`.
        given: teachers of a model that has no run, or other places (repo, revision) of a run's teachers.
        corpus: on which will be measured.
        device: where it runs.
        teachers: whether to load them.

    Raises:
        UserError: weights that are missing or damaged, teachers out of reach or other than those of the run.
    """
    logging.disable_progress_bar()
    student: ZenModel = _load_zen(located.model).eval().requires_grad_(False)
    nn.Module.to(student, device)
    if located.run is None or located.checkpoint is None:
        own = student.config.image_size
        size = own if isinstance(own, int) else max(own)
        opened = Opened(located, student, None, {}, False, _load_processor(located.model), size, None)
        return _with_fresh_heads(opened, given, device) if teachers and given else opened
    config = load_config(PretrainConfig, located.run / CONFIG_FILE, [])
    trained_on = json.loads((located.run / "corpus.json").read_text(encoding="utf-8"))["fingerprint"]
    processor = build_student(config.student)[1]
    opened = Opened(located, student, None, {}, False, processor, config.student.image_size, trained_on)
    if not teachers:
        return opened
    if not (located.run / TEACHERS_FILE).is_file():  # a strategy without teachers
        return _with_fresh_heads(opened, given, device) if given else opened
    configs = _configs_of_run(config.teachers, given, corpus)
    loaded = _load_teachers(located, configs, device)
    objective = DistillationObjective(
        student,
        processor,
        loaded,
        configs,
        config.distillation,
        config.student.image_size,
        sources=corpus.sources(),
        seed=config.seed,
    ).to(device)
    _refuse_other_teachers(located, objective)
    restore_objective(located.checkpoint, objective)
    return replace(opened, objective=objective.eval(), teachers=loaded, has_heads=True)


def _of_checkpoint(run: Path, checkpoint: Path) -> Located:
    average = checkpoint / "average"
    model = average if average.is_dir() else checkpoint / "model"
    return Located(f"{run.name}/{checkpoint.name}", model, checkpoint, run)


def _load_zen(folder: Path) -> ZenModel:
    """A ZEN; it refuses a file that does not hold exactly its weights."""
    try:
        return ZenModel.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"model {str(folder)!r} cannot be loaded: {' '.join(str(error).split())}") from error


def _load_processor(folder: Path) -> ZenImageProcessor:
    try:
        return ZenImageProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"model {str(folder)!r} has no image processor: {' '.join(str(error).split())}") from error


def _configs_of_run(
    configs: Mapping[str, TeacherConfig], given: Mapping[str, TeacherConfig], corpus: Corpus
) -> dict[str, TeacherConfig]:
    """The run's teachers at the places given; of their sources those that this corpus has."""
    unknown = sorted(given.keys() - configs.keys())
    if unknown:
        raise UserError(f"teachers.{unknown[0]} did not teach this run; its teachers are {', '.join(sorted(configs))}")
    known = set(corpus.sources())
    found = {}
    for name, config in configs.items():
        place = given.get(name)
        if place is not None:
            config = replace(
                config, repo=place.repo, revision=place.revision, trust_remote_code=place.trust_remote_code
            )
        found[name] = replace(config, sources=[source for source in config.sources if source in known])
    return found


def _load_teachers(located: Located, configs: Mapping[str, TeacherConfig], device: torch.device) -> dict[str, Teacher]:
    """All teachers, or one error that names every one that cannot be loaded."""
    loaded, failures = {}, []
    for name, config in configs.items():
        try:
            loaded[name] = load_teacher(
                config.repo,
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                dtype=config.dtype,
            ).to(device)
        except UserError as error:
            failures.append(f"{name} ({error})")
    if failures:
        raise UserError(
            f"teachers of {located.name!r} cannot be loaded: {'; '.join(failures)}. Say where they are with "
            "teachers.NAME.repo=FOLDER, or measure without them with --no-teachers"
        )
    return loaded


def _with_fresh_heads(opened: Opened, given: Mapping[str, TeacherConfig], device: torch.device) -> Opened:
    """Teachers of a model without trained heads: an objective of which only plans and normalizers are used.

    Its normalizers only center, which R² does not notice, and are calibrated by whoever measures.
    """
    configs = {
        name: replace(
            config, summary_normalizer="center", dense_normalizer="center", summary_loss="mse", dense_loss="mse"
        )
        for name, config in given.items()
    }
    loaded = _load_teachers(opened.located, configs, device)
    config = DistillationConfig(head_width=1)
    objective = DistillationObjective(opened.student, opened.processor, loaded, configs, config, opened.image_size)
    return replace(opened, objective=objective.to(device).eval(), teachers=loaded)


def _refuse_other_teachers(located: Located, objective: DistillationObjective) -> None:
    """`UserError` unless these are the teachers that the run recorded: its normalizers hold for no others."""
    assert located.run is not None
    recorded = {each["key"]: each for each in json.loads((located.run / TEACHERS_FILE).read_text(encoding="utf-8"))}
    for own in objective.describe_teachers():
        for key in ("weights_sha256", "preprocessing_sha256"):
            if recorded[own["key"]][key] != own[key]:
                raise UserError(
                    f"teacher {own['key']!r} is another than the one that taught {located.name!r} ({key} "
                    f"{own[key][:12]}, not {recorded[own['key']][key][:12]}): give the recorded revision or folder, or "
                    "measure without teachers with --no-teachers"
                )
