"""A corpus on a Hub, read by processes that have never seen it: commits, connections that break, refusals."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer, Repository
from tests.hub_server.client import HubClient

FRIEND, STRANGER, WRONG = ("hf_" + letter * 34 for letter in "fsx")
HERE = "tests.training.corpus.test_from_the_hub"


def facts(location: str) -> dict[str, Any]:
    """What a run records of a corpus, and the digest of all of its frames."""
    from training.corpus import Corpus
    from training.export import describe_corpus

    corpus = Corpus.open(location)
    digest = hashlib.sha256()
    for clip in corpus.manifest:
        for frame in corpus.read(clip, range(clip.num_frames)):
            digest.update(frame.tobytes())
    return {**describe_corpus(corpus), "frames": digest.hexdigest()}


def curation_input(word: str) -> str:
    """The media column of a dataset that is to be curated."""
    from training.corpus.hub_source import open_dataset

    return open_dataset(word, {}).column


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
    """A dataset repository of the files of a folder."""
    repository = Repository("dataset", name, **rights)  # type: ignore[arg-type]
    repository.readers.add(FRIEND)
    repository.commit_folder(folder)
    server.repositories["dataset", name] = repository
    return repository


def test_a_revision_is_a_commit(
    server: HubServer, client: HubClient, write_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    old = write_corpus(tmp_path / "old", [{"num_frames": 3}, {"num_frames": 2, "split": "held_out"}])
    new = write_corpus(tmp_path / "new", [{"num_frames": 4}, {"num_frames": 2, "split": "held_out"}])
    repository = publish(server, "org/frames", old)
    first = repository.branches["v1"] = repository.branches["main"]
    expected = facts(str(old))
    assert "revision" not in expected
    expected |= {"name": "frames", "revision": first}
    assert client.call(HERE, "facts", "hf://datasets/org/frames")["value"] == expected
    second = repository.commit_folder(new)
    for revision in ("v1", first):
        assert client.call(HERE, "facts", f"hf://datasets/org/frames@{revision}")["value"] == expected
    found = client.call(HERE, "facts", "hf://datasets/org/frames")["value"]
    assert found == facts(str(new)) | {"name": "frames", "revision": second}


def test_a_connection_that_breaks_off(
    server: HubServer, client: HubClient, write_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_corpus(tmp_path / "corpus", [{"num_frames": 5}, {"num_frames": 2, "split": "held_out"}])
    repository = publish(server, "org/cut", folder)
    commit = repository.branches["main"]
    [shard] = [each.sha256 for name, each in repository.commits[commit].items() if name.startswith("shards/")]
    whole = facts(str(folder))["frames"]
    server.cuts[shard] = 2
    assert client.call(HERE, "facts", "hf://datasets/org/cut")["value"]["frames"] == whole  # it is asked again
    assert server.cuts[shard] == 0
    server.cuts[shard] = 1000
    said = client.error(HERE, "facts", "hf://datasets/org/cut")
    assert said.startswith(f"'hf://datasets/org/cut@{commit}")
    assert "cannot be reached or broke off (RemoteProtocolError): run the same command again, or run `hf" in said
    server.cuts[shard] = 0


def test_what_the_hub_refuses_is_one_sentence(
    server: HubServer, client: HubClient, write_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_corpus(tmp_path / "corpus", [{"num_frames": 2}, {"num_frames": 2, "split": "held_out"}])
    publish(server, "org/open", folder)
    gated = publish(server, "org/gated", folder, gated=True)
    publish(server, "org/private", folder, private=True)
    (tmp_path / "empty").mkdir()
    empty = publish(server, "org/empty", tmp_path / "empty").branches["main"]
    page = f"{server.address}/datasets"
    for name, token, sentence in (
        ("org/none", None, "there is no public Hub dataset called 'org/none': check the name, and if it is private, "
         "run `hf auth login` or set HF_TOKEN"),
        ("org/private", None, "there is no public Hub dataset called 'org/private': check the name, and if it is "
         "private, run `hf auth login` or set HF_TOKEN"),
        ("org/open@v9", None, "org/open has no revision 'v9': give a commit, tag or branch of "
         f"{page}/org/open/tree/main"),
        (f"org/open@{'0' * 40}", None, f"org/open has no revision '{'0' * 40}': give a commit, tag or branch of "
         f"{page}/org/open/tree/main"),
        ("org/open", WRONG, "the Hub does not accept the token of this machine (HTTP 401, asked for org/open): renew "
         "it with `hf auth login`, or correct or unset HF_TOKEN"),
    ):  # fmt: skip
        word = f"hf://datasets/{name}"
        assert client.error(HERE, "facts", word, token=token) == f"corpus {word!r}: {sentence}"
    at = f"hf://datasets/org/gated@{gated.branches['main']}"
    assert client.error(HERE, "facts", "hf://datasets/org/gated") == (
        f"{at!r} cannot be read: org/gated is gated, and there is no token on this machine: accept its terms at "
        f"{page}/org/gated and run `hf auth login`, or set HF_TOKEN"
    )
    assert "the token of this machine has no access to it" in client.error(
        HERE, "facts", "hf://datasets/org/gated", token=STRANGER
    )
    for name in ("org/gated", "org/private"):
        assert client.call(HERE, "facts", f"hf://datasets/{name}", token=FRIEND)["value"]["name"] == name[4:]
    assert client.error(HERE, "facts", "hf://datasets/org/empty") == (
        f"corpus 'hf://datasets/org/empty@{empty}' has no curation.json: is it a corpus that training.corpus_publish "
        "made, and whole?"
    )
    server.outage = 500
    assert f"the Hub at {server.address} fails (HTTP 500, asked for org/open)" in client.error(
        HERE, "facts", "hf://datasets/org/open"
    )
    server.outage = None


def test_a_dataset_to_curate(server: HubServer, client: HubClient, tmp_path: Path) -> None:
    """The same refusals where a dataset of others is an input of curation."""
    (tmp_path / "README.md").write_text("# Videos\n")
    publish(server, "org/videos", tmp_path)
    publish(server, "org/closed", tmp_path, gated=True)
    for word, token, sentence in (
        ("org/none", None, "there is no public Hub dataset called 'org/none': check the name"),
        ("org/videos@v9", None, "org/videos has no revision 'v9'"),
        ("org/closed", None, "org/closed is gated, and there is no token"),
        ("org/closed", STRANGER, "org/closed is gated, and the token of this machine has no access to it"),
        ("org/videos", WRONG, "the Hub does not accept the token of this machine (HTTP 401"),
    ):
        said = client.error(HERE, "curation_input", f"hf://datasets/{word}", token=token)
        assert said.startswith(f"dataset 'hf://datasets/{word}': {sentence}"), said
    server.outage = 500
    assert "fails (HTTP 500" in client.error(HERE, "curation_input", "hf://datasets/org/videos")
    server.outage = None


def test_without_internet(server: HubServer, tmp_path: Path) -> None:
    with HubClient(server, tmp_path / "home", HF_HUB_OFFLINE="1") as offline:
        assert offline.error(HERE, "facts", "hf://datasets/org/frames@v1") == (
            "corpus 'hf://datasets/org/frames@v1': org/frames at 'v1' is on the Hub, and HF_HUB_OFFLINE switches the "
            "Hub off; run `hf download org/frames --repo-type dataset --revision v1 --local-dir frames` where there is "
            "a network and give that folder"
        )
        said = offline.error(HERE, "curation_input", "hf://datasets/org/frames")
        assert "HF_HUB_OFFLINE switches the Hub off" in said
