"""What will be published, collected and checked: nothing is sent from here, and nothing is changed on disk."""

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from evaluation.protocols.lora import hash_adapter
from hub_cards.card_figures import hash_figures
from hub_cards.hub_folder import MARKER, README, read_marker
from hub_cards.publishing.card_check import check_card, check_licence, read_front_matter
from hub_cards.publishing.contents import Content as Content
from hub_cards.publishing.contents import check_contents
from hub_cards.publishing.export_card import export_card
from hub_cards.publishing.folder_files import Limits, collect
from hub_cards.publishing.kinds import ADAPTER, EXPORT, METRIC, MODEL, Kind, extra_names, find_folder, find_kind
from hub_cards.publishing.metric_space import metric_files
from hub_cards.publishing.traces import TEXTS, refuse_traces
from hub_cards.run_records import WEIGHTS, hash_weights_file, lookup, read_json, sha256_of
from modeling_zen.export.runtime import FACTS
from training.errors import UserError
from training.redaction import holds_secret

MADE_BY = "hub_cards.publish"  # in markers of folders that no other command of ours marked
_BASE_FIELDS = {"adapter_config.json": "base_model_name_or_path", "head_config.json": "_name_or_path"}
# What a card loads as long as it lies on a disk; whoever copies the code from the Hub has no such folder.
_OWN_FOLDER = re.compile(r'^folder = "[^"\n]*"  # this folder, or its id on the Hub$', re.MULTILINE)
_LICENCE_KEYS = ("license", "license_name", "license_link")


@dataclass(frozen=True)
class Base:
    """The published model that an adapter or export belongs to."""

    repo_id: str
    licence: dict[str, str]  # `license`, `license_name` and `license_link` of its card; empty without one


@dataclass(frozen=True)
class Publication:
    """Files by their path in the repository, all checked but for loading."""

    repo_id: str
    kind: Kind
    folder: Path
    base_id: str  # "" for what has no base model
    files: dict[str, Content]
    card: str
    accepted: str | None  # why unclear licences are accepted
    notes: tuple[str, ...]  # what the user should know and is no mistake
    hashes: dict[str, str]  # SHA-256 of every file but the marker, as they were checked

    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        return {name: size_of(content) for name, content in self.files.items()}


def size_of(content: Content) -> int:
    """Bytes of a file or content."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def hash_of(content: Content) -> str:
    """SHA-256 of a file or content."""
    return sha256(content).hexdigest() if isinstance(content, bytes) else sha256_of(content)


def check_unchanged(publication: Publication) -> None:
    """`UserError` naming a file that was changed after it was checked."""
    for name, digest in publication.hashes.items():
        if hash_of(publication.files[name]) != digest:
            raise UserError(f"{name} was changed while it was published: run the same command again")


def check_repo_id(repo_id: str, option: str) -> None:
    """`UserError` unless this can be the id of a repository."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{option} {repo_id!r} is no repository name: it must be ORG/NAME") from error
    if repo_id.count("/") != 1:
        raise UserError(f"{option} {repo_id!r} is no repository name: it must be ORG/NAME")


def find_base_id(folder: Path, kind: Kind, given: str | None) -> str:
    """The id of the base model: given, or what the adapter names; "" for what has none.

    Raises:
        UserError: an adapter or export without one, or one for what needs none.
    """
    if kind.name not in (ADAPTER, EXPORT):
        if given is not None:
            raise UserError(f"--base-id is for adapters and exports; {str(folder)!r} is a {kind.name}")
        return ""
    if given is None and kind.name == ADAPTER:
        name = "adapter_config.json"
        given = str(lookup(read_json(folder / name), (_BASE_FIELDS[name],), str(folder / name)))
        if given.count("/") != 1 or Path(given).exists():
            raise UserError(
                f"{str(folder / name)!r} names its base model by the path {given!r}: give its id with --base-id"
            )
    if given is None:
        raise UserError(f"the export {str(folder)!r} names no base model: give its id with --base-id ORG/NAME")
    check_repo_id(given, "--base-id")
    return given


def locate(location: Path, kind: str | None) -> tuple[Path, Kind]:
    """The folder to publish and what it is."""
    folder = find_folder(location)
    return folder, find_kind(folder, kind)


def plan_publication(
    folder: Path, kind: Kind, repo_id: str, *, base: Base | None, accepted: str | None, limits: Limits | None = None
) -> Publication:
    """Collect the files and check names, types, sizes, card, licence and traces.

    Args:
        folder: to publish.
        kind: of the folder.
        repo_id: "ORG/NAME" on the Hub.
        base: of an adapter or export.
        accepted: why unclear licences are accepted; it will stand in the description of the commit.
        limits: on names and sizes.

    Raises:
        UserError: naming the first file that must not be published and why.
    """
    limits = limits or Limits()
    check_repo_id(repo_id, "--repo-id")
    if kind.name == METRIC and repo_id.partition("/")[2] != folder.resolve().name:
        raise UserError(
            f"a metric is found by its name: publish it as {repo_id.partition('/')[0]}/{folder.resolve().name}"
        )
    found = collect(folder, kind.endings, extra_names(kind, folder), limits)
    files: dict[str, Content] = dict(metric_files(folder, repo_id) if kind.name == METRIC else found)
    files = {name: _held(content, name, limits) for name, content in files.items()}
    marker, notes = _read_own_marker(folder, kind, found)
    check_contents(kind, files)
    if base is not None:
        files |= _with_base(folder, kind, files, repo_id, base)
    if README not in files:
        raise UserError(f"{str(folder)!r} has no {README}; make its card first")
    card = _OWN_FOLDER.sub(f'folder = "{repo_id}"', _text(files[README], README))
    files[README] = card.encode()
    metadata = read_front_matter(card)
    check_card(metadata, kind, files)
    check_licence(metadata, card, _licensed_inputs(folder, marker, base), accepted)
    refuse_traces(files, limits.text_bytes, (repo_id, *([base.repo_id] if base else [])))
    if accepted is not None and not accepted.strip():
        raise UserError("--accept-licence is empty: say why you may publish, for those who read the history")
    if accepted is not None and holds_secret(accepted):
        raise UserError("--accept-licence holds what looks like a token; it would be published")
    hashes = {name: hash_of(content) for name, content in sorted(files.items()) if name != MARKER}
    files[MARKER] = (json.dumps({**marker, "files": hashes}, indent=2) + "\n").encode()
    base_id = "" if base is None else base.repo_id
    return Publication(repo_id, kind, folder, base_id, dict(sorted(files.items())), card, accepted, notes, hashes)


def _held(content: Content, name: str, limits: Limits) -> Content:
    """Texts in memory, so that what is sent is what was checked."""
    if isinstance(content, bytes) or Path(name).suffix not in TEXTS or content.stat().st_size > limits.text_bytes:
        return content
    return content.read_bytes()


def _read_own_marker(folder: Path, kind: Kind, found: dict[str, Path]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The marker that the folder was made with, or a new one; and a note where its card was edited since."""
    is_ours = MARKER in found and read_json(found[MARKER]).get("made_by") != MADE_BY
    if kind.name != MODEL and not is_ours:
        return {"schema_version": 1, "made_by": MADE_BY}, ()
    if MARKER not in found:
        raise UserError(f"{str(folder)!r} was not made by hub_cards.card, so nothing says what its figures rest on")
    marker = read_marker(folder)
    recorded = marker["files"]
    changed = sorted(found.keys() - {MARKER} ^ recorded.keys())
    changed += [name for name in sorted(found.keys() & recorded.keys()) if sha256_of(found[name]) != recorded[name]]
    if [name for name in changed if name != README]:
        raise UserError(
            f"{str(folder)!r} was changed after {marker['made_by']} made it ({', '.join(changed[:5])}); make it again"
        )
    _check_hashes(folder, kind, marker)
    if not changed:
        return marker, ()
    if README in found and hash_figures(_text(found[README], README)) != marker.get("figures_sha256"):
        raise UserError(
            f"tables or results in the metadata of {str(folder / README)!r} are not as {marker['made_by']} made them, "
            "and figures come from records only: make it again; prose may be edited"
        )
    return marker, (f"{README} was edited by hand since {marker['made_by']} made it",)


def _check_hashes(folder: Path, kind: Kind, marker: dict[str, Any]) -> None:
    """`UserError` if the weights are not those that the records of the card are about."""
    if kind.name == MODEL:
        recorded, own = marker["weights_sha256"], hash_weights_file(folder / WEIGHTS)
    elif kind.name == ADAPTER:
        recorded, own = lookup(marker, ("adapter_sha256",), str(folder / MARKER)), hash_adapter(folder)
    else:
        return
    if recorded != own:
        raise UserError(
            f"the card of {str(folder)!r} is about weights {str(recorded)[:12]}, but those in it are {own[:12]}: make "
            "it again"
        )


def _with_base(folder: Path, kind: Kind, files: dict[str, Content], repo_id: str, base: Base) -> dict[str, Content]:
    """The files that name the base model, naming it by its id; of an export without a card, the card."""
    if kind.name == EXPORT:
        if README in files:
            return {}
        if not base.licence:
            raise UserError(f"the card of {base.repo_id!r} states no license, which the card of an export repeats")
        card = export_card(read_json(folder / FACTS), folder, repo_id, base.repo_id, base.licence)
        return {README: card.encode()}
    changed: dict[str, Content] = {}
    for name, field in _BASE_FIELDS.items():
        if name in files:
            content = read_json(folder / name)
            if content.get(field) != base.repo_id:
                changed[name] = (json.dumps({**content, field: base.repo_id}, indent=2) + "\n").encode()
    card = _text(files[README], README)
    named = read_front_matter(card).get("base_model")
    if isinstance(named, str) and named != base.repo_id:
        # A mere word may stand elsewhere with another meaning; a path or id is replaced wherever it stands.
        whole = rf"(?<![\w./-]){re.escape(named)}(?![\w/-])" if "/" in named else r"(?<=\nbase_model: )[^\n]*"
        changed[README] = re.sub(whole, lambda _: base.repo_id, card).encode()
    return changed


def _licensed_inputs(folder: Path, marker: dict[str, Any], base: Base | None) -> list[tuple[str, str | None]]:
    """What the weights were made from, with its licence: by the card's record, the run's teachers, the base model."""
    inputs: list[tuple[str, str | None]] = [(str(what), licence) for what, licence in marker.get("inputs", [])]
    if base is not None:
        licence = base.licence
        inputs.append((f"the base model {base.repo_id}", licence.get("license_name") or licence.get("license")))
    path = folder / "teachers.json"
    for number, row in enumerate(read_json(path) if path.is_file() else []):
        name = lookup(row, ("name",), f"{path} entry {number}")
        inputs.append((f"teacher {name}", lookup(row, ("licence",), f"{path} entry {number}")))
    return list(dict.fromkeys(inputs))


def licence_of(metadata: dict[str, Any]) -> dict[str, str]:
    """The licence keys of a card's metadata."""
    return {key: str(metadata[key]) for key in _LICENCE_KEYS if metadata.get(key)}


def _text(content: Content, name: str) -> str:
    data = content if isinstance(content, bytes) else content.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
