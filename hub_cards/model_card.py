"""The model card: metadata and text, every figure of which comes from a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from hub_cards.citation import FILE as CITATION_FILE
from hub_cards.citation import read_citation
from hub_cards.corpus_facts import CorpusFacts
from hub_cards.hub_folder import PICTURE
from hub_cards.results import ResultTable, by_task, cautions, comparisons, eval_results
from hub_cards.run_records import Run, lookup, read_json
from training.licences import DerivedLicence, derive
from training.report.formats import duration
from training.report.markdown import markdown_environment
from training.report.rendering import render

TEMPLATES = Path(__file__).parent / "templates"
TEMPLATE = "model_card.md.jinja"
TAGS = ("surgery", "endoscopy", "laparoscopy", "medical", "distillation", "foundation-model", "zen")
CODE_LICENCE = ("the code of this project", "apache-2.0")
_STANDING_LIMITS = (
    "Frames are encoded one by one: the model knows nothing of time.",
    "What the teachers cannot see was not taught: their data and biases are described by their makers, not here.",
)


@dataclass(frozen=True)
class CardInputs:
    """Everything a card is made from."""

    run: Run
    results: Sequence[ResultTable]
    corpus: CorpusFacts | None
    picture_note: str | None  # what the picture shows; None without one
    folder_name: str  # how the loading example calls the folder


def model_card(inputs: CardInputs) -> ModelCard:
    """The card, metadata and text; `UserError` naming a figure that no record holds."""
    licence = weights_licence(inputs.run, inputs.corpus)
    text = render(markdown_environment(TEMPLATES), TEMPLATE, _facts(inputs, licence))
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-feature-extraction",
        license=licence.identifier,
        license_name=licence.name,
        tags=[*TAGS, "custom_code"],
        model_name=model_name(inputs.run),
        eval_results=eval_results(inputs.results),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")


def weights_licence(run: Run, corpus: CorpusFacts | None) -> DerivedLicence:
    """Licence of the weights from those of teachers, corpus and code; a corpus not at hand counts as unknown."""
    teachers = [(f"teacher {teacher.name}", teacher.licence) for teacher in run.teachers]
    if corpus is None:
        sources: list[tuple[str, str | None]] = [("the corpus, which was not at hand", None)]
    else:
        sources = [(f"corpus source {source.name}", source.licence) for source in corpus.sources]
    return derive([*teachers, *sources, CODE_LICENCE])


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
        "agreement": run.held_out(),
        "tasks": by_task(inputs.results),
        "findings": [*comparisons(inputs.results), *cautions(inputs.results)],
        "standing_limits": _STANDING_LIMITS,
        "licence": licence,
        "environment": environment(run, inputs.results),
        "citation": read_citation(CITATION_FILE),
    }


def training_facts(run: Run) -> list[tuple[str, str]]:
    """What was trained, for how long and on what, as pairs of text."""
    batch, per_clip = run.fact("settings", "batch_size"), run.fact("settings", "data", "frames_per_clip")
    processes, threads = run.fact("hardware", "processes"), run.fact("hardware", "threads")
    hardware = f"{run.fact('hardware', 'device')}, {processes} process{'es' if processes != 1 else ''}"
    return [
        ("student", f"ZEN {run.fact('settings', 'student', 'size')}, {run.fact('parameters', 'student'):,} parameters"),
        ("heads, used in training only", f"{run.fact('parameters', 'heads'):,} parameters"),
        ("steps", f"{run.fact('steps'):,}"),
        ("frames seen", f"{run.fact('frames_seen'):,} ({batch} clips of {per_clip} frames per process and step)"),
        ("input", f"{run.fact('settings', 'student', 'image_size')} px squares"),
        ("time", duration(run.fact("seconds"))),
        ("hardware", f"{hardware}, {threads} CPU thread{'s' if threads != 1 else ''}"),
        ("precision", str(run.fact("settings", "mixed_precision")).replace("no", "float32")),
        ("seed", str(run.fact("settings", "seed"))),
    ]


def environment(run: Run, results: Sequence[ResultTable]) -> list[tuple[str, str]]:
    """Package versions and devices of pretraining and of the benchmark."""
    pairs = [("pretraining", _versions(run.fact("packages")))]
    records = [record for table in results for record in table.records]
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


def model_name(run: Run) -> str:
    """The model's name in titles."""
    return f"ZEN {run.fact('settings', 'student', 'size')}"


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
