"""What is sent: what changed and no more, once, in one commit, and what the Hub's refusals become."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from safetensors.torch import save_file

from hub_cards.publishing import upload
from tests.hub_cards.publishing.conftest import READ, WHY, WRITE, mark_again, plan
from tests.hub_server.repositories import Stored
from tests.hub_server.server import SIGNATURE
from training.errors import UserError


def publish(api, publication, revision="main", private=False):
    """As the command does."""
    upload.prepare_repository(api, publication, revision, private=private)
    remote = upload.read_remote(api, publication, revision, private=private)
    changes = upload.compare(api, publication, remote)
    if changes:
        upload.send(api, publication, remote, changes, revision)
    return changes


def local(folder):
    """The files of a folder as they are published: the code of the card loads the repository."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    own = b'folder = "my-zen"  # this folder, or its id on the Hub'
    assert own in files["README.md"]
    files["README.md"] = files["README.md"].replace(own, b'folder = "org/zen"')
    marker = json.loads(files["card.json"])
    marker["files"]["README.md"] = hashlib.sha256(files["README.md"]).hexdigest()
    files["card.json"] = (json.dumps(marker, indent=2) + "\n").encode()
    return files


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_repository_holds_the_folder_and_a_second_time_sends_nothing(api, server, folder):
    changes = publish(api, plan(folder))
    repository = server.repositories["model", "org/zen"]
    assert repository.files() == local(folder)
    assert (set(changes.add), changes.replace, changes.delete) == (set(local(folder)), (), ())
    sent = len(server.asked("PUT")), len(server.asked("POST", "/commit/"))
    again = publish(api, plan(folder))
    assert not again
    assert set(again.keep) == set(local(folder))
    assert (len(server.asked("PUT")), len(server.asked("POST", "/commit/"))) == sent == (1, 1)


def test_only_what_changed_goes_and_only_own_files_are_removed(api, server, folder):
    publish(api, plan(folder))
    repository = server.repositories["model", "org/zen"]
    foreign = {**repository.commits[repository.branches["main"]], "notes.md": Stored(b"by hand", False)}
    repository.commit("main", {**foreign, "training.json": Stored(b"edited there", False)})
    for name in ("training.json", "corpus.json"):
        (folder / name).unlink()
    readme = folder / "README.md"
    readme.write_text(readme.read_text() + "\nmore\n")
    mark_again(folder)
    changes = publish(api, plan(folder))
    assert (changes.add, set(changes.replace), changes.delete) == ((), {"README.md", "card.json"}, ("corpus.json",))
    assert repository.files() == {**local(folder), "notes.md": b"by hand", "training.json": b"edited there"}
    assert len(server.asked("PUT")) == 1


def test_files_of_another_origin_are_not_replaced(api, server, folder):
    api.create_repo("org/zen")
    first = {"README.md": Stored(b"by the Hub", False), "config.json": Stored(b"{}", False)}
    server.repositories["model", "org/zen"].commit("main", first)
    with pytest.raises(UserError, match=r"'org/zen' holds 'config.json', which no earlier publication wrote"):
        publish(api, plan(folder))
    first["card.json"] = Stored(b'{"made_by": "someone", "files": {"config.json": ""}}', False)
    server.repositories["model", "org/zen"].commit("main", first)
    with pytest.raises(UserError, match=r"'org/zen' holds 'config.json', which no earlier publication wrote"):
        publish(api, plan(folder))


def test_a_branch_begins_as_main_and_main_stays(api, server, folder):
    publish(api, plan(folder))
    repository = server.repositories["model", "org/zen"]
    before = repository.files()
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nof v2\n")
    changes = publish(api, plan(folder), revision="v2/rc")
    assert set(changes.replace) == {"README.md", "card.json"}
    assert repository.files() == before
    assert repository.files("v2/rc")["README.md"].endswith(b"of v2\n")
    with pytest.raises(UserError, match=r"--revision 'a\.\.b' is no branch"):
        upload.check_branch("a..b")
    with pytest.raises(UserError, match=r"is no branch; give a name such as v1.0"):
        upload.check_branch("0" * 40)


def test_a_dry_look_changes_nothing(api, server, folder):
    remote = upload.read_remote(api, plan(folder), "main", private=True)
    assert (remote.commit, remote.private) == (None, None)
    assert len(upload.compare(api, plan(folder), remote).add) == len(local(folder))
    publish(api, plan(folder))
    remote = upload.read_remote(api, plan(folder), "v2", private=False)
    assert remote.commit is None
    assert not upload.compare(api, plan(folder), remote)
    assert server.asked("POST", "/branch/") == []


def test_a_connection_that_breaks_once_is_taken_up_again(api, server, folder):
    server.cuts[sha256(folder / "model.safetensors")] = 1
    publish(api, plan(folder))
    assert server.repositories["model", "org/zen"].files() == local(folder)
    assert len(server.asked("PUT")) == 2


def test_an_interrupted_upload_goes_on_where_it_was(api, server, folder):
    (folder / "dense_pca.png").write_bytes(b"\x89PNG" * 1000)
    mark_again(folder)
    weights = sha256(folder / "model.safetensors")
    server.cuts[weights] = 99
    with pytest.raises(
        UserError, match=r"the connection to the Hub broke off \(\w+\): run the same command again, and"
    ):
        publish(api, plan(folder))
    repository = server.repositories["model", "org/zen"]
    assert repository.files() == {}
    assert set(server.blobs) == {sha256(folder / "dense_pca.png")}
    server.cuts.clear()
    server.requests.clear()
    publish(api, plan(folder))
    assert [path.partition("?")[0] for path in server.asked("PUT")] == [f"/blobs/{weights}"]
    assert repository.files() == local(folder)


def test_a_full_quota_and_what_it_leaves(api, server, folder):
    server.quota = 1000
    with pytest.raises(
        UserError,
        match=r"'org/zen' cannot be written \(HTTP 403, the Hub says: .*limit reached.*\): it needs a token with",
    ):
        publish(api, plan(folder))
    assert server.repositories["model", "org/zen"].files() == {}
    server.quota = None
    server.requests.clear()
    publish(api, plan(folder))
    assert server.asked("PUT") == []


def test_a_commit_of_somebody_else_in_between(api, server, folder):
    publication = plan(folder)
    upload.prepare_repository(api, publication, "main", private=False)
    remote = upload.read_remote(api, publication, "main", private=False)
    changes = upload.compare(api, publication, remote)
    server.repositories["model", "org/zen"].commit("main", {"notes.md": Stored(b"x", False)})
    with pytest.raises(UserError, match=r"'org/zen' was changed by somebody else meanwhile \(HTTP 412"):
        upload.send(api, publication, remote, changes, "main")


def test_logins(server, folder):
    publication = plan(folder)
    wrong = HfApi(endpoint=server.address, token="hf_" + "x" * 34)
    with pytest.raises(UserError, match=r"the login is missing or not accepted \(HTTP 401") as caught:
        upload.prepare_repository(wrong, publication, "main", private=False)
    assert "hf_" not in str(caught.value).replace("HF_TOKEN", "")
    with pytest.raises(UserError, match=r"not accepted \(HTTP 401.*\): set HF_TOKEN or run `hf auth login`"):
        upload.prepare_repository(HfApi(endpoint=server.address, token=False), publication, "main", private=False)
    with pytest.raises(UserError, match=r"cannot be written \(HTTP 403, the Hub says: You don't have the rights"):
        upload.prepare_repository(HfApi(endpoint=server.address, token=READ), publication, "main", private=False)
    with pytest.raises(UserError, match=r"the Hub cannot be reached \(ConnectError\): check .*; nothing was sent"):
        upload.read_remote(HfApi(endpoint="http://127.0.0.1:9"), publication, "main", private=False)


def test_offline(server, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="publishing needs the network, but HF_HUB_OFFLINE is set: unset it"):
        upload.read_remote(HfApi(endpoint=server.address), plan(folder), "main", private=False)


def test_private(api, server, folder):
    publish(api, plan(folder), private=True)
    assert server.repositories["model", "org/zen"].private
    server.repositories["model", "org/zen"].private = False
    with pytest.raises(UserError, match="'org/zen' exists and is public: make it private first, or leave --private"):
        publish(api, plan(folder), private=True)


def test_messages_hold_no_address_and_no_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITE)
    text = upload._without_secrets(f"see https://store/x?{SIGNATURE}\n with {WRITE} " + "y" * 500)
    assert text.startswith("see (address) with (token) yyy")
    assert len(text) == 200


def test_a_file_that_changed_after_its_check_is_not_sent(api, server, folder):
    publication = plan(folder)
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match="safetensors was changed while it was published: run the"):
        publish(api, publication)
    assert server.blobs == {}


def test_why_a_licence_was_accepted_stands_in_the_commit(api, server, folder, monkeypatch):
    seen = {}
    send = HfApi.create_commit
    monkeypatch.setattr(HfApi, "create_commit", lambda *args, **named: (seen.update(named), send(*args, **named))[1])
    publish(api, plan(folder))
    assert seen["commit_description"] == f"Unclear licences accepted: {WHY}"
    assert seen["commit_message"] == f"Publish model of {len(local(folder))} files"


def test_metadata_that_the_hub_does_not_take(api, server, folder):
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("license: other", "license: MIT", 1))
    with pytest.raises(UserError, match=r'the Hub does not take README.md: .*"license" must be one of'):
        publish(api, plan(folder))
    assert server.repositories["model", "org/zen"].files() == {}


def test_a_base_model_has_to_be_published(api, server, folder):
    with pytest.raises(UserError, match="the base model 'org/zen' is not on the Hub, or not open to you: publish it"):
        upload.read_base(api, "org/zen")
    publish(api, plan(folder))
    named = {"license": "other", "license_name": "see-inputs", "license_link": "LICENSE.md"}
    assert upload.read_base(api, "org/zen").licence == named


def test_an_adapter_of_plain_peft_names_its_base_by_id(api, server, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"a": torch.zeros(1)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "runs/zen"}))
    (folder / "README.md").write_text("---\nbase_model: runs/zen\nlibrary_name: peft\nlicense: mit\n---\nof runs/zen\n")
    publication = plan(folder, base=upload.Base("org/zen", {"license": "mit"}), accepted=None, repo_id="org/lora")
    publish(api, publication)
    files = server.repositories["model", "org/lora"].files()
    assert json.loads(files["adapter_config.json"]) == {"base_model_name_or_path": "org/zen"}
    assert files["README.md"] == b"---\nbase_model: org/zen\nlibrary_name: peft\nlicense: mit\n---\nof org/zen\n"
    assert json.loads(files["card.json"])["made_by"] == "hub_cards.publish"
    assert not publish(api, publication)
