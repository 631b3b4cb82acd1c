"""A folder that hub_cards.card made of a tiny run, and a Hub on the loopback interface to publish it to."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from hub_cards.assembly import make_hub_folder
from hub_cards.publishing.publication import Publication, locate, plan_publication
from hub_cards.run_records import sha256_of
from tests.hub_server import HubServer

TOKENS = {"hf_" + "w" * 34: "write", "hf_" + "r" * 34: "read"}
WRITE, READ = TOKENS
WHY = "its owner has agreed"  # in writing, to the corpus of unknown licence


@pytest.fixture(scope="session")
def made(finished, tmp_path_factory) -> Path:
    """Made once; tests get copies."""
    folder = tmp_path_factory.mktemp("made") / "my-zen"
    make_hub_folder(finished.run, finished.results, folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A private copy of what the card command made."""
    return Path(shutil.copytree(made, tmp_path / "my-zen"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty Hub."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between tries
    with HubServer() as server:
        server.tokens |= TOKENS
        yield server


@pytest.fixture
def api(server: HubServer) -> HfApi:
    """A client that may write there."""
    return HfApi(endpoint=server.address, token=WRITE)


def plan(folder: Path, **changes: object) -> Publication:
    """Of a folder, as the command makes it."""
    found, kind = locate(folder, None)
    options = {"repo_id": "org/zen", "base": None, "accepted": WHY, **changes}
    return plan_publication(found, kind, **options)  # type: ignore[arg-type]


def mark_again(folder: Path) -> None:
    """Let the marker of a folder say what is there, as if the card command had written it."""
    marker = folder / "card.json"
    content = json.loads(marker.read_text())
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    content["files"] = {name: sha256_of(path) for name, path in files.items() if path != marker}
    marker.write_text(json.dumps(content, indent=2) + "\n")
