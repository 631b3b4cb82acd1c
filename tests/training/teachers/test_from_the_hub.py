"""Teachers from a Hub, by processes that have never seen it: commits, the cache, and what the Hub refuses."""

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from tests.hub_server import HubServer, Repository
from tests.hub_server.client import HubClient
from tests.hub_server.repositories import Stored
from training.errors import UserError
from training.teachers import load_teacher
from training.teachers.fetching import fetch_teacher

FRIEND, STRANGER, WRONG = ("hf_" + letter * 34 for letter in "fsx")
HERE = "tests.training.teachers.test_from_the_hub"
COMMAND = ("training.teachers.__main__", "main")


def identity(*arguments: str) -> dict[str, Any]:
    """Of a teacher: name, and revision if any."""
    name, revision = (*arguments, None)[:2]
    assert name is not None
    return load_teacher(name, revision=revision).identity()


def changed(folder: Path, target: Path) -> Path:
    """A copy with other weights."""
    shutil.copytree(folder, target)
    tensors = {name: tensor + 1 for name, tensor in load_file(target / "model.safetensors").items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.fixture(scope="module")
def server(model_folder: Callable[[str], Path]) -> Iterator[HubServer]:
    """A Hub with org/open, org/gated, org/private, the empty org/nothing, and two more that tests change."""
    with HubServer() as server:
        server.tokens |= {FRIEND: "read", STRANGER: "read"}
        for name in ("open", "gated", "private", "nothing", "moving", "cut"):
            repository = Repository("model", f"org/{name}", private=name == "private", gated=name == "gated")
            server.repositories["model", repository.name] = repository
            if name != "nothing":
                repository.commit_folder(model_folder("dinov2"))
            repository.readers.add(FRIEND)
        yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HF_HOME of `client`."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def client(server: HubServer, home: Path) -> Iterator[HubClient]:
    """A process with a network."""
    with HubClient(server, home) as client:
        yield client


def test_revisions_become_commits(
    server: HubServer, client: HubClient, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    repository = server.repositories["model", "org/moving"]
    first = repository.branches["v1"] = repository.branches["main"]  # a tag
    second = repository.commit_folder(changed(model_folder("dinov2"), tmp_path / "changed"))
    old, new = (client.call(HERE, "identity", "org/moving", revision)["value"] for revision in ("v1", "main"))
    assert (old["revision"], new["revision"]) == (first, second)
    assert old["weights_sha256"] != new["weights_sha256"]
    assert client.call(HERE, "identity", "org/moving", first)["value"] == old  # though main has moved on
    assert client.call(HERE, "identity", f"org/moving@{first}")["value"] == old
    assert client.call(HERE, "identity", "org/moving@v1")["value"] == old
    assert client.call(HERE, "identity", "org/moving")["value"] == new
    assert client.error(HERE, "identity", "org/moving@v1", first) == (
        f"teacher 'org/moving': its name says revision 'v1', its setting '{first}'"
    )


REFUSED = {  # name, token, the sentence
    ("org/gated", None): "org/gated is gated, and there is no token on this machine: accept its terms at URL/org/gated "
    "and run `hf auth login`, or set HF_TOKEN",
    ("org/gated", STRANGER): "org/gated is gated, and the token of this machine has no access to it: accept its terms "
    "at URL/org/gated with the account of that token, which needs the right to read gated repositories",
    ("org/private", None): "there is no folder and no public Hub model called 'org/private': check the name, and if it "
    "is private, run `hf auth login` or set HF_TOKEN",
    ("org/none", STRANGER): "there is no folder and no Hub model called 'org/none' that the token of this machine may "
    "read: check the name and the rights of the token",
    ("org/open", WRONG): "the Hub does not accept the token of this machine (HTTP 401, asked for org/open): renew it "
    "with `hf auth login`, or correct or unset HF_TOKEN",
    ("org/open@v9", None): "org/open has no revision 'v9': give a commit, tag or branch of URL/org/open/tree/main",
    (f"org/open@{'0' * 40}", None): f"org/open has no revision '{'0' * 40}': give a commit, tag or branch of "
    "URL/org/open/tree/main",
}


def test_what_the_hub_refuses_is_one_sentence(server: HubServer, client: HubClient) -> None:
    for (name, token), sentence in REFUSED.items():
        expected = f"teacher {name.partition('@')[0]!r}: {sentence.replace('URL', server.address)}"
        assert client.error(HERE, "identity", name, token=token) == expected
        assert client.error(*COMMAND, "fetch", name, token=token) == expected
    for token in ("hf_ä" + "q" * 20, "hf_\x0b" + "q" * 20):
        assert client.error(HERE, "identity", "org/open@v3", token=token) == (
            "teacher 'org/open': the token of this machine holds a character that no token has: set HF_TOKEN anew, or "
            "run `hf auth login`"
        )
    lacking = client.error(*COMMAND, "fetch", "org/nothing")
    assert re.fullmatch(r"teacher 'org/nothing': org/nothing at \w{40} has no config.json and no weights .*", lacking)
    for name in ("org/gated", "org/private"):
        assert client.call(HERE, "identity", name, token=FRIEND)["value"]["repo"] == name


def test_a_hub_that_fails(server: HubServer, client: HubClient) -> None:
    server.outage = 503
    try:
        assert client.error(HERE, "identity", "org/nothing@v1") == (
            f"teacher 'org/nothing': the Hub at {server.address} fails (HTTP 503, asked for org/nothing at 'v1'): run "
            "it again later, or, if it was fetched before, with HF_HUB_OFFLINE=1"
        )
        assert "fails (HTTP 503, asked for org/none)" in client.error(*COMMAND, "fetch", "org/none")
    finally:
        server.outage = None


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://user:secret@{place}")
    for ask in (load_teacher, fetch_teacher):
        with pytest.raises(UserError) as caught:
            ask("org/open@v1")
        assert str(caught.value) == (
            f"teacher 'org/open': org/open at 'v1' is not in the local cache, or not all of it, and the Hub at http://"
            f"{place} cannot be reached or broke off (ConnectError): run the same command again, or run `python -m "
            "training.teachers fetch org/open@v1` where there is a network and bring that cache (HF_HOME) along, or "
            "give a local folder with its files"
        )


def test_a_connection_that_breaks_off(server: HubServer, client: HubClient) -> None:
    repository = server.repositories["model", "org/cut"]
    files = repository.commits[repository.branches["main"]]
    # Weights of their own, since the cache knows those of the others.
    weights = files["model.safetensors"] = Stored(files["model.safetensors"].content + b" ", is_large=True)
    server.cuts[weights.sha256] = 1000
    said = client.error(*COMMAND, "fetch", "org/cut")
    assert "cannot be reached or broke off (RemoteProtocolError): run the same command again" in said
    server.cuts[weights.sha256] = 2
    assert "org/cut at" in client.call(*COMMAND, "fetch", "org/cut")["said"]  # goes on where it broke off


def test_fetched_here_trained_there(
    server: HubServer,
    client: HubClient,
    home: Path,
    tiny_corpus: Path,
    model_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    repository = server.repositories["model", "org/open"]
    first = repository.branches["v1"] = repository.branches["main"]
    gated = server.repositories["model", "org/gated"].branches["main"]
    said = client.call(*COMMAND, "--fetch", "org/open", "org/open@v1", "org/gated", token=FRIEND)["said"]
    assert re.sub(r"[\d.]+ [kM]B", "SIZE", said).splitlines() == [
        f"{name}: {name.partition('@')[0]} at {commit}, SIZE, licence: not stated: see its model card"
        for name, commit in (("org/open", first), ("org/open@v1", first), ("org/gated", gated))
    ]
    repository.commit_folder(changed(model_folder("dinov2"), tmp_path / "changed"))
    server.requests.clear()
    run = tmp_path / "run"
    words = [
        *(f"data.corpus={tiny_corpus}", f"output_dir={run}", "student.size=nano", "student.image_size=32"),
        *("teachers.one.repo=org/open", "teachers.two.repo=org/gated", "teachers.two.revision=main"),
        *("distillation.head_width=16", "distillation.calibration_frames=32", "data.held_out_frames=4"),
        *("batch_size=2", "optimizer.schedule_steps=3", "log.every=1", "log.eval_every=3", "log.save_every=2"),
        "log.plan=false",
    ]
    with HubClient(server, home, HF_HUB_OFFLINE="1") as offline:
        assert "error" not in offline.call("training.pretrain", "main", *words, "max_steps=2")
        assert offline.error(HERE, "identity", "org/nothing@v2") == (
            "teacher 'org/nothing': org/nothing at 'v2' is not in the local cache, and HF_HUB_OFFLINE switches the Hub "
            "off; run `python -m training.teachers fetch org/nothing@v2` where there is a network and bring that cache "
            "(HF_HOME) along, or give a local folder with its files"
        )
        assert "fetch dinov2-small` where" in offline.error(HERE, "identity", "dinov2-small")
    assert server.requests == []
    rows = json.loads((run / "teachers.json").read_text())
    assert [row["revision"] for row in rows] == [first, gated]
    assert json.loads((run / "hub" / "teachers.json").read_text()) == rows
    # Continued where there is a network, it stays with the commits that it began with.
    again = client.call("training.pretrain", "main", *words, "max_steps=3", token=FRIEND)
    assert "resuming at step 2" in again["said"], again
    assert json.loads((run / "teachers.json").read_text()) == rows
    written = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert FRIEND.encode() not in written + client.log.read_bytes()


def test_several_names_of_which_some_are_not_there(client: HubClient) -> None:
    assert client.error(*COMMAND, "fetch", "org/none", "org/private", "dinov2-smal", token=FRIEND) == (
        "2 of 3 could not be fetched: org/none, dinov2-smal"
    )
    log = client.log.read_text()
    assert "error: unknown teacher 'dinov2-smal'. Did you mean 'dinov2-small'?" in log
    assert "error: teacher 'org/none': there is no folder and no Hub model called 'org/none'" in log
    none = client.error(*COMMAND, "fetch")
    assert re.fullmatch(r"fetch needs .* ORG/NAME\[@REVISION\] or one of dinov2-base, .*vjepa2-large", none)
