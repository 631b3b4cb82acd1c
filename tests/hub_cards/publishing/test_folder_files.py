"""Files that are refused before anything is sent, each with its sentence."""

import os
import socket
from pathlib import Path

import pytest

from hub_cards.publishing.folder_files import EXECUTABLE, Limits, collect
from training.errors import UserError

ENDINGS = frozenset({".json", ".md", ".safetensors"})


def collected(folder, **limits):
    return list(collect(folder, ENDINGS, frozenset(), Limits(**limits)))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / ".eval_results").mkdir(parents=True)
    for name in ("README.md", "config.json", ".eval_results/results.json"):
        (folder / name).write_text("x")
    return folder


def test_what_belongs_is_collected_in_order(folder):
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert collected(folder) == ["README.md", "config.json", ".eval_results/results.json"]


@pytest.mark.parametrize("ending", sorted(EXECUTABLE))
def test_formats_that_may_run_code(folder, ending):
    (folder / f"weights{ending}").write_bytes(b"x")
    with pytest.raises(UserError, match=rf"weights\{ending}' is of a format that may run code when it is read"):
        collected(folder)


def test_a_name_on_the_list_may_have_any_ending(folder):
    (folder / "openvino_model.bin").write_bytes(b"x")
    assert "openvino_model.bin" in collect(folder, ENDINGS, frozenset({"openvino_model.bin"}), Limits())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.txt", r"notes.txt' does not belong here: only .json, .md, .safetensors are; move it away"),
        ("a.PT", r"a.PT' is of a format that may run code"),
        (".env.json", r"'.env.json' is hidden, and hidden files are not published"),
        (".git/config.json", r"'.git' is hidden"),
        ("a\nb.json", r"the name of 'a\\nb.json' must be of letters, digits and _ . \+ - only"),
        ("a\u202egnp.json", r"the name of 'a\\u202egnp.json' must be of letters"),
        ("-rf.json", r"the name of '-rf.json' must be of letters"),
        ("a b.json", r"the name of 'a b.json' must be of letters"),
        ("CON.json", r"the name of 'CON.json' cannot be written on Windows"),
        ("a/lpt1", r"the name of 'a/lpt1' cannot be written on Windows"),
        ("a./config.json", r"the name of 'a.' cannot be written on Windows"),
        ("a.json.", r"the name of 'a.json.' cannot be written on Windows"),
        ("cafe\u0301.json", r"must be of letters, digits"),
        ("con\ufb01g.json", r"must be of letters, digits"),
        ("x" * 120 + ".json", r"has 125 characters; at most 100 are published"),
        ("a/b/c/d.json", r"'a/b/c/d.json' lies deeper than 3 levels"),
        ("CONFIG.json", r"'config.json' and 'CONFIG.json' are one file on systems that ignore case; rename one"),
    ],
)
def test_names(folder, name, message):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")
    with pytest.raises(UserError, match=message):
        collected(folder)


def test_links_and_what_is_no_file(folder, tmp_path):
    (tmp_path / "secret.json").write_text("x")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UserError, match=r"link.json' is a symbolic link, which is not published"):
        collected(folder)
    (folder / "link.json").unlink()
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"linked' is a symbolic link"):
        collected(folder)
    (folder / "linked").unlink()
    for name, target in (
        ("loop", folder),
        ("dangling.json", tmp_path / "nowhere"),
        ("up.json", Path("../secret.json")),
    ):
        (folder / name).symlink_to(target)
        with pytest.raises(UserError, match=rf"{name}' is a symbolic link"):
            collected(folder)
        (folder / name).unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s.json"))
        with pytest.raises(UserError, match=r"s.json' is no regular file"):
            collected(folder)
    (folder / "s.json").unlink()
    os.mkfifo(folder / "pipe.json")
    with pytest.raises(UserError, match=r"pipe.json' is no regular file"):
        collected(folder)


def test_sizes_and_counts(folder):
    with pytest.raises(UserError, match=r"holds 3 files; at most 2 are published"):
        collected(folder, files=2)
    (folder / "a.safetensors").write_bytes(b"12345")
    with pytest.raises(UserError, match=r"a.safetensors' has 5 bytes, more than the 4 of one upload"):
        collected(folder, file_bytes=4)
    (folder / "a.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"a.safetensors' is empty"):
        collected(folder)
