"""Models of the benchmark from a Hub, by processes that have never seen it: commits and refusals."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer, Repository
from tests.hub_server.client import HubClient
from tests.hub_server.repositories import Stored

FRIEND, STRANGER, WRONG = ("hf_" + letter * 34 for letter in "fsx")
HERE = "tests.evaluation.backbones.test_from_the_hub"


def backbone(name: str) -> dict[str, Any]:
    """What records say of a model."""
    import torch

    from evaluation.backbones import load_backbone

    loaded = load_backbone(name, "student", torch.device("cpu"))
    return {"name": loaded.name, "network": type(loaded.network).__name__, **asdict(loaded.identity)}


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        server.tokens |= {FRIEND: "read", STRANGER: "read"}
        yield server


@pytest.fixture(scope="module")
def client(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubClient]:
    with HubClient(server, tmp_path_factory.mktemp("home")) as client:
        yield client


def publish(server: HubServer, name: str, folder: Path, **rights: bool) -> Repository:
    """A repository of the files of a folder."""
    repository = Repository("model", name, **rights)  # type: ignore[arg-type]
    repository.readers.add(FRIEND)
    repository.commit_folder(folder)
    server.repositories["model", name] = repository
    return repository


@pytest.mark.parametrize("kind", ["zen", "teacher"])
def test_records_name_the_commit(
    kind: str, server: HubServer, client: HubClient, zen_folder: Path, teacher_folder: Path
) -> None:
    repository = publish(server, f"org/{kind}", zen_folder if kind == "zen" else teacher_folder)
    first = repository.branches["v1"] = repository.branches["main"]
    found = client.call(HERE, "backbone", f"org/{kind}")["value"]
    assert (found["name"], found["id"], found["revision"]) == (f"org/{kind}", f"org/{kind}", first)
    assert found["network"] == ("ZenNetwork" if kind == "zen" else "TeacherNetwork")
    server.requests.clear()
    files = repository.commits[first]
    second = repository.commit("main", {**files, "README.md": Stored(b"# Later\n", is_large=False)})
    assert client.call(HERE, "backbone", f"org/{kind}@v1")["value"] == found
    assert client.call(HERE, "backbone", f"org/{kind}@{first}")["value"] == found
    assert client.call(HERE, "backbone", f"org/{kind}")["value"] == {**found, "revision": second}
    named = {path.split("/")[4] for path in server.asked("GET", "/resolve/") + server.asked("HEAD", "/resolve/")}
    assert named <= {first, second}  # never a branch, which may move between two files


def test_what_the_hub_refuses_is_one_sentence(
    server: HubServer, client: HubClient, zen_folder: Path, tmp_path: Path
) -> None:
    publish(server, "org/open", zen_folder)
    publish(server, "org/gated", zen_folder, gated=True)
    publish(server, "org/private", zen_folder, private=True)
    for name, token, sentence in (
        ("org/gated", None, "org/gated is gated, and there is no token on this machine: accept its terms at "),
        ("org/gated", STRANGER, "org/gated is gated, and the token of this machine has no access to it"),
        ("org/private", None, "there is no folder and no public Hub model called 'org/private'"),
        ("org/none", FRIEND, "there is no folder and no Hub model called 'org/none' that the token of this machine"),
        ("org/open", WRONG, "the Hub does not accept the token of this machine (HTTP 401, asked for org/open)"),
        ("org/open@v9", None, "org/open has no revision 'v9': give a commit, tag or branch of "),
    ):
        said = client.error(HERE, "backbone", name, token=token)
        assert said.partition(" ")[2].startswith(f"{name.partition('@')[0]!r}: {sentence}"), said
    for name in ("org/gated", "org/private"):
        assert client.call(HERE, "backbone", name, token=FRIEND)["value"]["id"] == name
    server.outage = 502
    assert f"the Hub at {server.address} fails (HTTP 502, asked for org/open)" in client.error(
        HERE, "backbone", "org/open"
    )
    server.outage = None
    with HubClient(server, tmp_path / "home", HF_HUB_OFFLINE="1") as offline:
        assert offline.error(HERE, "backbone", "org/open@v1") == (
            "model 'org/open': org/open at 'v1' is not in the local cache, and HF_HUB_OFFLINE switches the Hub off; "
            "run `python -m training.teachers fetch org/open@v1` where there is a network and bring that cache "
            "(HF_HOME) along, or give a local folder with its files"
        )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("facebook/dinov2-smal", "Did you mean 'facebook/dinov2-small'?"),
        ("visurg/LemonFN", "Did you mean 'lemonfm'?"),
        ("somebody/endo-vit", "Did you mean the peer 'endovit'?"),
        ("visurg/LemonFM", "model 'visurg/LemonFM' holds peers, which are called by their names: lemonfm"),
    ],
)
def test_a_name_that_is_nearly_right(name: str, hint: str, client: HubClient) -> None:
    assert client.error(HERE, "backbone", name).endswith(hint)


def test_a_name_like_no_other_gets_no_hint(client: HubClient) -> None:
    assert client.error(HERE, "backbone", "org/something-else").endswith("`hf auth login` or set HF_TOKEN")


def test_peers(server: HubServer, client: HubClient, tmp_path: Path) -> None:
    (tmp_path / "SurgMotion-vitl.pt").write_bytes(b"weights")
    publish(server, "CAIR-HKISI/SurgMotion", tmp_path, gated=True)
    said = client.error(HERE, "backbone", "surgmotion_l", token=STRANGER)
    assert said.startswith("peer 'surgmotion_l': CAIR-HKISI/SurgMotion is gated, and the token of this machine has no")
    said = client.error(HERE, "backbone", "surgmotion_l@v9", token=FRIEND)
    assert said.startswith("peer 'surgmotion_l': CAIR-HKISI/SurgMotion has no revision 'v9'")
    said = client.error(HERE, "backbone", "pl_stitch")
    assert said.startswith("peer 'pl_stitch': there is no folder and no public Hub model called 'visurg/PL-Stitch'")
    said = client.error(HERE, "backbone", "surgmotion_l", token=FRIEND)
    assert "SurgMotion-vitl.pt" in said  # it came, and is no file of weights
