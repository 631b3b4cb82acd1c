"""What will be published, collected and checked: nothing is sent from here, and nothing is changed on disk."""

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from hub_cards.hub_folder import MARKER, README, read_marker
from hub_cards.publishing.card_check import check_card, check_licence, read_front_matter
from hub_cards.publishing.export_card import export_card
from hub_cards.publishing.folder_files import Limits, collect
from hub_cards.publishing.kinds import ADAPTER, EXPORT, METRIC, MODEL, Kind, extra_names, find_folder, find_kind
from hub_cards.publishing.metric_space import metric_files
from hub_cards.publishing.traces import looks_like_token, refuse_traces
from hub_cards.run_records import lookup, read_json, sha256_of
from modeling_zen.export.runtime import FACTS
from training.errors import UserError

MADE_BY = "hub_cards.publish"  # in markers of folders that no other command of ours marked
_BASE_FIELDS = {"adapter_config.json": "base_model_name_or_path", "head_config.json": "_name_or_path"}
_LICENCE_KEYS = ("license", "license_name", "license_link")

Content = Path | bytes


@dataclass(frozen=True)
class Base:
    """The published model that an adapter or export belongs to."""

    repo_id: str
    licence: dict[str, str]  # `license` and, where that is "other", `license_name`, of its card; empty without one


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

    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        return {name: size_of(content) for name, content in self.files.items()}


def size_of(content: Content) -> int:
    """Bytes of a file or content."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def hash_of(content: Content) -> str:
    """SHA-256 of a file or content."""
    return sha256(content).hexdigest() if isinstance(content, bytes) else sha256_of(content)


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
    marker, notes = _read_own_marker(folder, kind, found)
    if base is not None:
        files |= _with_base(folder, kind, files, repo_id, base)
    if README not in files:
        raise UserError(f"{str(folder)!r} has no {README}; make its card first")
    card = _text(files[README], README)
    metadata = read_front_matter(card)
    check_card(metadata, kind)
    check_licence(metadata["license"], _licensed_inputs(folder, base), accepted)
    refuse_traces(files, limits.text_bytes, (repo_id, *([base.repo_id] if base else [])))
    if accepted is not None and not accepted.strip():
        raise UserError("--accept-licence is empty: say why you may publish, for those who read the history")
    if accepted is not None and looks_like_token(accepted):
        raise UserError("--accept-licence holds what looks like a token; it would be published")
    hashes = {name: hash_of(content) for name, content in sorted(files.items()) if name != MARKER}
    files[MARKER] = (json.dumps({**marker, "files": hashes}, indent=2) + "\n").encode()
    base_id = "" if base is None else base.repo_id
    return Publication(repo_id, kind, folder, base_id, dict(sorted(files.items())), card, accepted, notes)


def _read_own_marker(folder: Path, kind: Kind, found: dict[str, Path]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The marker that the folder was made with, or a new one; and a note where its card was edited since."""
    if kind.name != MODEL and MARKER not in found:
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
    edited = (f"{README} was edited by hand since {marker['made_by']} made it",) if changed else ()
    return marker, edited


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


def _licensed_inputs(folder: Path, base: Base | None) -> list[tuple[str, str | None]]:
    """What the weights were made from, with its licence: the teachers in the run's record, or the base model."""
    if base is not None:
        licence = base.licence
        return [(f"the base model {base.repo_id}", licence.get("license_name") or licence.get("license"))]
    path = folder / "teachers.json"
    if not path.is_file():
        return []
    inputs = []
    for number, row in enumerate(read_json(path)):
        name = lookup(row, ("name",), f"{path} entry {number}")
        inputs.append((f"teacher {name}", lookup(row, ("licence",), f"{path} entry {number}")))
    return inputs


def licence_of(metadata: dict[str, Any]) -> dict[str, str]:
    """The licence keys of a card's metadata."""
    return {key: str(metadata[key]) for key in _LICENCE_KEYS if metadata.get(key)}


def _text(content: Content, name: str) -> str:
    data = content if isinstance(content, bytes) else content.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
