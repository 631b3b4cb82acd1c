"""What can be published: a model, an adapter, an exported graph or a metric, told apart by the files in the folder."""

from dataclasses import dataclass
from pathlib import Path

from hub_cards.hub_folder import MARKER, README
from hub_cards.run_records import WEIGHTS, lookup, read_json
from modeling_zen.export.runtime import FACTS
from training.errors import UserError

MODEL, ADAPTER, EXPORT, METRIC = "model", "adapter", "export", "metric"
_RAW_WEIGHTS = frozenset({"openvino_model.bin", "model.onnx.data"})  # neither pickles nor programs


@dataclass(frozen=True)
class Kind:
    """What belongs into a folder of a kind; any other file stops the command."""

    name: str
    repo_type: str  # of the repository on the Hub: "model" or "space"
    required: tuple[str, ...]
    endings: frozenset[str]
    card_keys: tuple[str, ...]  # without these the Hub could neither show nor load what was published


_TEXTS = {".json", ".md", ".yaml"}
KINDS = {
    MODEL: Kind(
        MODEL,
        "model",
        ("config.json", "preprocessor_config.json", WEIGHTS, README),
        frozenset({*_TEXTS, ".py", ".safetensors", ".png"}),
        ("license", "library_name", "pipeline_tag"),
    ),
    ADAPTER: Kind(
        ADAPTER,
        "model",
        ("adapter_config.json", "adapter_model.safetensors", README),
        frozenset({*_TEXTS, ".safetensors"}),
        ("license", "library_name", "base_model"),
    ),
    EXPORT: Kind(
        EXPORT,
        "model",
        ("config.json", "preprocessor_config.json", FACTS),
        frozenset({*_TEXTS, ".onnx", ".xml"}),
        ("license", "library_name", "base_model"),
    ),
    METRIC: Kind(METRIC, "space", (README,), frozenset({".py", ".md"}), ("license", "sdk", "app_file", "title")),
}


def find_folder(location: Path) -> Path:
    """The folder to publish: this one, or its folder `hub` that a card was made for, as `make demo` leaves it.

    Raises:
        UserError: neither is there.
    """
    if not location.is_dir():
        raise UserError(f"{str(location)!r} is no folder; give one made by hub_cards.card or hub_cards.adapter_card")
    inner = location / "hub"
    return inner if not (location / README).is_file() and (inner / MARKER).is_file() else location


def find_kind(folder: Path, wanted: str | None) -> Kind:
    """The kind that was asked for, or the one whose files are there.

    Raises:
        UserError: no kind fits, or a file of the kind is missing.
    """
    if wanted is None:
        wanted = _guess(folder)
    kind = KINDS[wanted]
    for name in kind.required:
        if not (folder / name).is_file():
            cure = "; make its card with hub_cards.card or hub_cards.adapter_card" if name == README else ""
            raise UserError(f"{str(folder)!r} is no complete {kind.name} folder: {name} is missing{cure}")
    if wanted == METRIC and not (folder / f"{folder.resolve().name}.py").is_file():
        raise UserError(f"{str(folder)!r} is no metric: evaluate looks for {folder.resolve().name}.py in it")
    return kind


def extra_names(kind: Kind, folder: Path) -> frozenset[str]:
    """Files that may be there although their ending may not: raw weights beside a graph, if the export lists them."""
    if kind.name != EXPORT:
        return frozenset()
    return _RAW_WEIGHTS & frozenset(lookup(read_json(folder / FACTS), ("files",), str(folder / FACTS)))


def _guess(folder: Path) -> str:
    present = {path.name for path in folder.iterdir()}
    for name, sign in ((ADAPTER, "adapter_config.json"), (EXPORT, FACTS), (MODEL, "config.json")):
        if sign in present:
            return name
    if f"{folder.resolve().name}.py" in present:
        return METRIC
    raise UserError(
        f"{str(folder)!r} holds nothing to publish: a model, adapter or export has config.json, adapter_config.json or "
        f"{FACTS}, a metric {folder.resolve().name}.py"
    )
