"""The model card: metadata and text, every figure of which comes from a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from evaluation.reporting.cautions import cautions
from evaluation.reporting.scores import TaskScores
from hub_cards.citation import FILE as CITATION_FILE
from hub_cards.citation import read_citation
from hub_cards.corpus_facts import CorpusFacts
from hub_cards.diagnosis import Diagnosis
from hub_cards.energy import energy_statement
from hub_cards.evaluation_metadata import metric_names, model_index
from hub_cards.hub_folder import PICTURE
from hub_cards.ledger import measured_datasets
from hub_cards.licence_terms import implications, licence_keys
from hub_cards.reported import read_reported, reported_for
from hub_cards.result_text import RESULT_FILTERS
from hub_cards.results import CardResults, comparisons, outside_intervals, result_tables
from hub_cards.run_records import DISTILLATION, Run, lookup, read_json
from training.licences import DerivedLicence, derive
from training.report.formats import duration
from training.report.markdown import markdown_environment
from training.report.rendering import one_line, render

TEMPLATES = Path(__file__).parent / "templates"
TEMPLATE = "model_card.md.jinja"
TAGS = ("surgery", "endoscopy", "laparoscopy", "medical", "foundation-model", "zen")
CODE_LICENCE = ("the code of this project", "apache-2.0")
# What each strategy of pretraining does, in a line.
OBJECTIVES = {
    "distillation": "multi-teacher distillation: one shared trunk, heads for each teacher, whose normalized tokens are "
    "to be met",
    "dino": "DINO with iBOT and KoLeo: agreement with its own moving average across views and on masked patches",
    "ijepa": "I-JEPA: features of hidden blocks are predicted from the rest of the image",
    "mae": "masked autoencoder: pixels of hidden patches are predicted from the visible ones",
    "moco": "MoCo: the other view of a frame is told from views of other clips",
    "supervised": "supervised: the procedure of a frame is named",
}
_FRAME_BY_FRAME = "Frames are encoded one by one: the model knows nothing of time."
_TEACHERS_LIMIT = (
    "What the teachers cannot see was not taught: their data and biases are described by their makers, not here."
)


@dataclass(frozen=True)
class CardInputs:
    """Everything a card is made from."""

    run: Run
    results: CardResults
    corpus: CorpusFacts | None
    diagnosis: Diagnosis | None
    picture_note: str | None  # what the picture shows; None without one
    folder_name: str  # how the loading example calls the folder


def model_card(inputs: CardInputs) -> ModelCard:
    """The card, metadata and text; `UserError` naming a figure that no record holds."""
    made_from = licensed_inputs(inputs.run, inputs.corpus)
    licence = derive(made_from)
    keys = licence_keys(licence, made_from)
    environment = markdown_environment(TEMPLATES)
    environment.filters.update(RESULT_FILTERS)
    text = render(environment, TEMPLATE, _facts(inputs, licence))
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-feature-extraction",
        license=keys["license"],
        license_name=keys.get("license_name"),
        license_link=keys.get("license_link"),
        tags=[*TAGS, one_line(strategy(inputs.run)), "custom_code"],
        model_name=one_line(model_name(inputs.run)),
        metrics=metric_names(inputs.results.tasks),
        eval_results=model_index(inputs.results.tasks),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def licensed_inputs(run: Run, corpus: CorpusFacts | None) -> list[tuple[str, str | None]]:
    """What the weights are made of, with its licence: teachers, corpus and code; a corpus not at hand has none."""
    teachers = [(f"teacher {teacher.name}", teacher.licence) for teacher in run.teachers]
    if corpus is None:
        sources: list[tuple[str, str | None]] = [("the corpus, which was not at hand", None)]
    else:
        sources = [(f"corpus source {source.name}", source.licence) for source in corpus.sources]
    return [*teachers, *sources, CODE_LICENCE]


def _facts(inputs: CardInputs, licence: DerivedLicence) -> dict[str, Any]:
    """The variables of the template."""
    run = inputs.run
    config = str(run.hub / "config.json")
    size = lookup(read_json(run.hub / "preprocessor_config.json"), ("size",), str(run.hub / "preprocessor_config.json"))
    return {
        "name": model_name(run),
        "folder": inputs.folder_name,
        "parameters": run.fact("parameters", "student"),
        "patch": lookup(run.model_config, ("patch_size",), config),
        "width": lookup(run.model_config, ("hidden_size",), config),
        "image_size": (size["height"], size["width"]),
        "frames_seen": run.fact("frames_seen"),
        "teachers": run.teachers,
        "corpus": inputs.corpus,
        "corpus_record": flatten(run.corpus),
        "fingerprint": lookup(run.corpus, ("fingerprint",), "corpus.json"),
        "picture": None if inputs.picture_note is None else {"file": PICTURE, "note": inputs.picture_note},
        "training": training_facts(run),
        "strategy": strategy(run),
        "agreement": run.agreement(),
        "held_out_measures": run.measures(),
        "tasks": [(task, result_tables(task)) for task in inputs.results.tasks],
        "skips": inputs.results.skips,
        "reported": reported_for((task.task for task in inputs.results.tasks), read_reported()),
        "tested": measured_datasets(inputs.results.tasks),
        "diagnosis": inputs.diagnosis,
        "findings": [
            *comparisons(inputs.results.tasks),
            *outside_intervals(inputs.results.tasks),
            *(inputs.diagnosis.findings() if inputs.diagnosis else []),
            *cautions(inputs.results.tasks, ()),
        ],
        "standing_limits": (_FRAME_BY_FRAME, _TEACHERS_LIMIT) if run.teachers else (_FRAME_BY_FRAME,),
        "licence": licence,
        "implications": implications(licensed_inputs(run, inputs.corpus)),
        "environment": environment(run, inputs.results.tasks),
        "citation": read_citation(CITATION_FILE),
    }


def training_facts(run: Run) -> list[tuple[str, str]]:
    """What was trained, for how long and on what, as pairs of text."""
    batch, per_clip = run.fact("settings", "batch_size"), run.fact("settings", "data", "frames_per_clip")
    processes, threads = run.fact("hardware", "processes"), run.fact("hardware", "threads")
    hardware = f"{run.fact('hardware', 'device')}, {processes} process{'es' if processes != 1 else ''}"
    clip = f"{per_clip} frame{'s' if per_clip != 1 else ''}"
    return [
        ("objective", OBJECTIVES.get(strategy(run), strategy(run))),
        ("student", f"ZEN {run.fact('settings', 'student', 'size')}, {run.fact('parameters', 'student'):,} parameters"),
        ("heads, used in training only", f"{run.fact('parameters', 'heads'):,} parameters"),
        ("steps", f"{run.fact('steps'):,}"),
        ("frames seen", f"{run.fact('frames_seen'):,} ({batch} clips of {clip} per process and step)"),
        ("input", f"{run.fact('settings', 'student', 'image_size')} px squares"),
        ("time", duration(run.fact("seconds"))),
        ("hardware", f"{hardware}, {threads} CPU thread{'s' if threads != 1 else ''}"),
        ("energy", energy_statement(run.fact("hardware", "device"), processes, run.fact("seconds"))),
        ("precision", str(run.fact("settings", "mixed_precision")).replace("no", "float32")),
        ("seed", str(run.fact("settings", "seed"))),
    ]


def environment(run: Run, tasks: Sequence[TaskScores]) -> list[tuple[str, str]]:
    """Package versions and devices of pretraining and of the benchmark."""
    pairs = [("pretraining", _versions(run.fact("packages")))]
    records = [record for task in tasks for score in task.scores for record in score.records]
    for text in sorted({f"{_versions(record.package_versions)}; on {record.device}" for record in records}):
        pairs.append(("benchmark", text))
    return pairs


def flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A nested JSON object as (dotted key, value) pairs, in its order."""
    pairs: list[tuple[str, Any]] = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        pairs += flatten(item, f"{name}.") if isinstance(item, Mapping) else [(name, item)]
    return pairs


def strategy(run: Run) -> str:
    """How it was pretrained, by name; distillation in records of before there were other ways."""
    return str(run.fact("settings").get("strategy", DISTILLATION))


def model_name(run: Run) -> str:
    """The model's name in titles."""
    return f"ZEN {run.fact('settings', 'student', 'size')}"


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
