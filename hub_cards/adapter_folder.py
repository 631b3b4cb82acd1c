"""From an adapter, its record and its base model to a folder for the Hub; nothing is written before all is checked."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from safetensors import SafetensorError, safe_open

from evaluation.protocols import lora
from evaluation.records import ResultRecord, read_records
from evaluation.reporting.results import Found, read_results
from evaluation.reporting.scores import TaskScores, group_scores
from evaluation.tasks import TASKS
from hub_cards.card_figures import hash_figures
from hub_cards.evaluation_metadata import eval_results_files, hub_task, metric_names, model_index
from hub_cards.hub_folder import README, check_target, write_folder
from hub_cards.licence_terms import LICENCE_FILE, OTHER, implications, licence_file, licence_keys
from hub_cards.model_card import CODE_LICENCE, TEMPLATES
from hub_cards.record_checks import check_records
from hub_cards.result_text import RESULT_FILTERS
from hub_cards.results import comparisons, outside_intervals, result_tables
from hub_cards.run_records import WEIGHTS, hash_weights_file, lookup, read_json
from training.errors import UserError
from training.licences import derive
from training.report.markdown import markdown_environment
from training.report.rendering import one_line, render

TEMPLATE = "adapter_card.md.jinja"
CONFIG, HEAD_CONFIG = "adapter_config.json", "head_config.json"
_FILES = {CONFIG, lora.WEIGHTS_FILE, lora.HEAD_FILE}
_OPTIONAL = {HEAD_CONFIG, README}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Adapter:
    """An adapter folder: PEFT's settings, what its head says, and its record among those of other models."""

    folder: Path
    config: dict[str, Any]
    head: dict[str, Any]  # target, kind, classes, image_size
    record: ResultRecord
    task: TaskScores  # the record's table: other models by the same protocol, seed and settings


def make_adapter_folder(folder: Path, results: Path, base: Path, base_id: str, output: Path) -> None:
    """Write the folder for the Hub: the adapter, naming its base model by id, and its card.

    Args:
        folder: as `evaluation.protocols.lora.save_adapter` leaves it.
        results: the results file with its record.
        base: model folder that it was trained on.
        base_id: id of that model, which the adapter's settings and the card name.
        output: folder to write; an earlier one made here is replaced.

    Raises:
        UserError: something is missing, broken or does not belong together; nothing has been written then.
    """
    if not _HUB_ID.fullmatch(base_id):
        raise UserError(f"--base-id {base_id!r} is no id of a model; it has the form ORG/NAME")
    check_adapter(folder)
    check_target(output, folder)
    adapter = read_adapter(folder, results)
    measured, own = adapter.record.student_sha256, hash_weights_file(base / WEIGHTS)
    if measured != own:
        raise UserError(f"the adapter was trained on weights {measured[:12]}, but --base {str(base)!r} has {own[:12]}")
    card = str(adapter_card(adapter, base, base_id, output.resolve().name))
    inputs = licensed_inputs(adapter.record, base)
    additions = {README: card}
    if (licence := derive(inputs)).identifier == OTHER:
        additions[LICENCE_FILE] = licence_file(licence, inputs)
    additions |= {CONFIG: _as_json({**adapter.config, "base_model_name_or_path": base_id, "revision": None})}
    if (folder / HEAD_CONFIG).is_file():
        additions[HEAD_CONFIG] = _as_json({**read_json(folder / HEAD_CONFIG), "_name_or_path": base_id})
    additions |= eval_results_files([adapter.task])
    facts: dict[str, Any] = {"weights_sha256": own, "adapter_sha256": lora.hash_adapter(folder), "picture_note": None}
    facts |= {"inputs": inputs, "figures_sha256": hash_figures(card)}
    write_folder(output, folder, {name: text.encode() for name, text in additions.items()}, facts)


def check_adapter(folder: Path) -> None:
    """`UserError` unless the folder holds exactly the files of an adapter and its head."""
    if not folder.is_dir():
        raise UserError(
            f"adapter folder {str(folder)!r} does not exist; evaluation.benchmark --protocols lora keeps them"
        )
    found = {path.name for path in folder.iterdir()}
    if missing := sorted(_FILES - found):
        raise UserError(f"{str(folder)!r} is no adapter folder of the benchmark: {missing[0]} is missing")
    if odd := sorted(found - _FILES - _OPTIONAL):
        raise UserError(f"{str(folder / odd[0])!r} does not belong in an adapter folder; move it away")


def read_adapter(folder: Path, results: Path) -> Adapter:
    """The adapter with its record, found by the hash of its tensors.

    Raises:
        UserError: damaged files, or no record of this adapter.
    """
    try:
        sha256 = lora.hash_adapter(folder)
        with safe_open(folder / lora.HEAD_FILE, framework="pt") as opened:
            head = json.loads((opened.metadata() or {}).get("head", "{}"))
    except SafetensorError as error:
        raise UserError(f"{str(folder)!r} holds a file that is not valid safetensors: {error}") from error
    for key in ("target", "kind", "classes", "image_size"):
        lookup(head, (key,), f"{folder / lora.HEAD_FILE}")
    if type(head["image_size"]) is not int:  # it stands in the code that the card prints
        raise UserError(f"image_size of {str(folder / lora.HEAD_FILE)!r} is no whole number; train the adapter again")
    found = read_results([results]).found
    check_records(results, read_records(results))
    own = [each.record for each in found if each.record.details.get("adapter_sha256") == sha256]
    if not own:
        raise UserError(
            f"{str(results)!r} has no record of the adapter {str(folder)!r} (hash {sha256[:12]}); it is of another "
            "run, or was trained again since"
        )
    beside = [each for each in found if _same_table(each, own[0])]
    [task] = group_scores(beside)
    return Adapter(folder, read_json(folder / CONFIG), head, own[0], task)


def adapter_card(adapter: Adapter, base: Path, base_id: str, folder_name: str) -> ModelCard:
    """The card, metadata and text; `UserError` naming a figure that no record holds."""
    record = adapter.record
    inputs = licensed_inputs(record, base)
    licence = derive(inputs)
    keys = licence_keys(licence, inputs)
    environment = markdown_environment(TEMPLATES)
    environment.filters.update(RESULT_FILTERS)
    facts = {
        "name": f"{record.task} adapter",
        "folder": folder_name,
        "base_id": base_id,
        "base_sha256": record.student_sha256,
        "sha256": record.details["adapter_sha256"],
        "head": adapter.head,
        "head_file": lora.HEAD_FILE,
        "training": _training(adapter),
        "task": adapter.task,
        "members": result_tables(adapter.task),
        "overlap": record.pretraining_overlap,
        "findings": [*comparisons([adapter.task]), *outside_intervals([adapter.task])],
        "licence": licence,
        "implications": implications(inputs),
        "packages": ", ".join(f"{name} {version}" for name, version in sorted(record.package_versions.items())),
        "device": record.device,
    }
    data = ModelCardData(
        library_name="peft",
        base_model=base_id,
        pipeline_tag=hub_task(record.task),
        license=keys["license"],
        license_name=keys.get("license_name"),
        license_link=keys.get("license_link"),
        tags=["lora", f"base_model:adapter:{base_id}", "surgery", "endoscopy", "medical", "zen"],
        model_name=one_line(f"{record.task} adapter"),
        metrics=metric_names([adapter.task]),
        eval_results=model_index([adapter.task]),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{render(environment, TEMPLATE, facts)}")


def licensed_inputs(record: ResultRecord, base: Path) -> list[tuple[str, str | None]]:
    """What an adapter is made of, with its licence: the base model, the data set of its record and the code."""
    name = record.task.partition("@")[0]
    data_licence = TASKS.get(name).licence if name in TASKS else None
    return [("the base model", _licence_of(base)), (f"the data set {record.dataset}", data_licence), CODE_LICENCE]


def _training(adapter: Adapter) -> list[tuple[str, str]]:
    """How it was trained, from its record, as pairs of text."""
    record = adapter.record
    where = "details of its record"
    rank, alpha = (lookup(record.details, ("lora", key), where) for key in ("rank", "alpha"))
    values = ", ".join(f"{key} {value}" for key, value in record.hyperparameters.values.items())
    return [
        ("trained parameters", f"{lookup(record.details, ('trainable_parameters',), where):,} with the head"),
        ("all parameters", f"{lookup(record.details, ('parameters',), where):,}"),
        ("adapted layers", f"{lookup(record.details, ('adapted_layers',), where)}"),
        ("rank, alpha", f"{rank}, {alpha:g}"),
        ("peak learning rate", f"{lookup(record.details, ('lora', 'lr'), where):g}"),
        ("frames", f"whole frames as {lookup(record.settings, ('image_size',), where)} px squares"),
        ("training cases", f"{len(record.split.train_cases):,}"),
        ("chosen", f"{values}, on {record.hyperparameters.chosen_on} ({record.hyperparameters.criterion})"),
        ("seed", ", ".join(map(str, record.seeds))),
    ]


def _same_table(found: Found, record: ResultRecord) -> bool:
    other = found.record
    places = [
        (each.task, each.protocol, each.probe, each.seeds, dict(each.settings), each.student_sha256)
        for each in (other, record)
    ]
    return places[0] == places[1]


def _licence_of(base: Path) -> str | None:
    """The licence that the base model's card states, by its name where it is "other"; None without a card."""
    path = base / README
    if not path.is_file():
        return None
    data = ModelCard.load(path).data
    licence: str | None = (data.license_name or data.license) if data.license == OTHER else data.license
    return licence


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
