"""The Hub folder is whole or absent, replaced only when it is ours, and free of what does not belong there."""

import json
from pathlib import Path

import pytest

from hub_cards import hub_folder
from hub_cards.hub_folder import check_source, check_target, refuse_machine_paths, write_folder
from training.errors import UserError

FACTS = {"weights_sha256": "a" * 64, "picture_note": None}


def write(files, text="# card\n"):
    write_folder(files.output, files.run / "hub", {"README.md": text.encode()}, FACTS)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_writes_the_model_the_additions_and_the_marker(files):
    write(files)
    assert names(files.output) == names(files.run / "hub") | {"README.md", "card.json"}
    weights = "model.safetensors"
    assert (files.output / weights).read_bytes() == (files.run / "hub" / weights).read_bytes()
    assert names(files.output.parent) == {"pretrain", "results.jsonl", "corpus", "my-zen"}


def test_an_own_folder_is_replaced(files):
    write(files)
    check_target(files.output, files.run / "hub")
    write(files, "# another\n")
    assert (files.output / "README.md").read_text() == "# another\n"
    assert names(files.output.parent) == {"pretrain", "results.jsonl", "corpus", "my-zen"}


def test_a_foreign_folder_is_refused(files):
    files.output.mkdir()
    check_target(files.output, files.run / "hub")
    (files.output / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"is not empty and was not made by hub_cards.card"):
        check_target(files.output, files.run / "hub")
    (files.output / "card.json").write_text('{"made_by": "someone"}')
    with pytest.raises(UserError, match=r"was not made by hub_cards.card"):
        check_target(files.output, files.run / "hub")


@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_folder_changed_since_is_refused_and_the_change_named(files, change):
    write(files)
    path = files.output / ("notes.md" if change == "add" else "README.md")
    if change == "remove":
        path.unlink()
    else:
        path.write_text("by hand")
    with pytest.raises(UserError, match=rf"was changed after hub_cards.card made it \({path.name}\)"):
        check_target(files.output, files.run / "hub")


def test_impossible_targets(files):
    for place in (files.run / "hub", files.run / "hub" / "inside"):
        with pytest.raises(UserError, match="is the run's own model folder"):
            check_target(place, files.run / "hub")
    with pytest.raises(UserError, match="is a file; choose a folder"):
        check_target(files.results, files.run / "hub")


def test_a_failed_exchange_leaves_the_old_folder(files, monkeypatch):
    write(files)
    rename = Path.rename

    def fail_for_new(self, target):
        if self.name == "new":
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="no space"):
        write(files, "# another\n")
    assert (files.output / "README.md").read_text() == "# card\n"
    assert names(files.output.parent) == {"pretrain", "results.jsonl", "corpus", "my-zen"}


def test_what_is_incomplete_or_does_not_belong_is_named(files):
    hub = files.run / "hub"
    check_source(hub)
    (hub / "optimizer.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"optimizer.pt' does not belong in a model folder"):
        check_source(hub)
    (hub / "optimizer.pt").unlink()
    (hub / "modeling_zen.py").rename(hub / "elsewhere.py")
    with pytest.raises(UserError, match=r"config.json' names modeling_zen.Zen\w+, but modeling_zen.py is not beside"):
        check_source(hub)
    (hub / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"is not a complete model folder: preprocessor_config.json is missing"):
        check_source(hub)


def test_a_path_of_this_machine_stops_it(files, monkeypatch):
    facts = files.run / "hub" / "training.json"
    facts.write_text(json.dumps({"corpus": str(files.corpus.resolve())}))
    with pytest.raises(UserError, match=r"training.json would publish a path of this machine, '/"):
        write(files)
    assert not files.output.exists()
    monkeypatch.setattr(hub_folder.Path, "home", lambda: Path("/home/somebody"))
    with pytest.raises(UserError, match="'/home/somebody/videos'"):
        refuse_machine_paths('{"data": "/home/somebody/videos"}', "x.json", [])
    refuse_machine_paths("a/b and /x but https://huggingface.co/home/somebody", "x.json", [])


@pytest.mark.parametrize("secret", ["hf_" + "Ab1" * 10, "https://me:s3cret@host/org/x"])
def test_a_secret_in_a_record_stops_it_and_is_not_repeated(files, secret):
    files.edit(files.run / "hub" / "training.json", settings={"teachers": {"x": {"repo": secret}}})
    with pytest.raises(
        UserError, match=r"training.json would publish what looks like a token, key or password"
    ) as caught:
        write(files)
    assert secret not in str(caught.value)
    assert not files.output.exists()
    files.edit(files.run / "hub" / "training.json", settings={})
    with pytest.raises(UserError, match=r"README.md would publish what looks like a token, key or password"):
        write(files, f"# card\n\nmeasured on {secret}\n")
    assert names(files.output.parent) == {"pretrain", "results.jsonl", "corpus"}
