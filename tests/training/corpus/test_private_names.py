"""The private folder: nothing in it is lost when several runs share it. What it is good for: test_identity.py."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from training.corpus import private_names
from training.corpus.private_names import NameRow, PrivateNames, read_names
from training.errors import UserError


def row(path: str) -> NameRow:
    return NameRow("input-1", path, "video-1", "case-1", "data", f"Musterfrau/{path}", "v", "c", f"/data/{path}", None)


def opened(folder: Path) -> tuple[PrivateNames, bytes, list[NameRow]]:
    names = PrivateNames(folder)
    return names, *names.open()


def test_what_is_added_is_read_back(tmp_path):
    names, salt, rows = opened(tmp_path / "keys")
    assert (len(salt), rows) == (32, [])
    assert names.add([row("a"), row("b")]) == [row("a"), row("b")]
    assert names.add([row("c")]) == [row("c")]
    names.close()
    assert read_names(tmp_path / "keys") == [row("a"), row("b"), row("c")]
    assert opened(tmp_path / "keys")[1:] == (salt, [row("a"), row("b"), row("c")])


def test_half_a_line_of_a_killed_run_is_overwritten(tmp_path):
    names = opened(tmp_path)[0]
    names.add([row("a")])
    with (tmp_path / "names.jsonl").open("a") as table:
        table.write('{"input": "inp')
    assert read_names(tmp_path) == [row("a")]
    names.add([row("b")])
    assert read_names(tmp_path) == [row("a"), row("b")]


@pytest.mark.parametrize("damage", ['{"input": 1}', "[]", "{broken"])
def test_a_damaged_line_is_named(tmp_path, damage):
    names = opened(tmp_path)[0]
    names.add([row("a"), row("b"), row("c")])
    lines = (tmp_path / "names.jsonl").read_text().splitlines()
    (tmp_path / "names.jsonl").write_text("\n".join([lines[0], damage, lines[2], ""]))
    for act in (lambda: read_names(tmp_path), lambda: opened(tmp_path)):
        with pytest.raises(UserError, match=r"names.jsonl' line 2 is damaged: restore the file from a copy"):
            act()
    (tmp_path / "names.jsonl").write_text("\n".join([*lines, damage, ""]))
    with pytest.raises(UserError, match=r"names.jsonl' line 4 is damaged"):
        names.add([row("d")])


def test_runs_that_share_a_new_folder_draw_one_salt_and_lose_no_row(tmp_path, monkeypatch):
    draw = private_names.secrets.token_bytes

    def slow(count: int) -> bytes:
        time.sleep(0.05)
        return draw(count)

    monkeypatch.setattr(private_names.secrets, "token_bytes", slow)

    def run(number: int) -> bytes:
        names, salt, _ = opened(tmp_path / "keys")
        for each in range(20):
            names.add([row(f"{number}/{each}")])
        names.close()
        return salt

    with ThreadPoolExecutor(4) as pool:
        salts = list(pool.map(run, range(4)))
    assert len(set(salts)) == 1
    rows = read_names(tmp_path / "keys")
    assert len(rows) == 80
    assert {each.path for each in rows} == {f"{number}/{each}" for number in range(4) for each in range(20)}


def test_one_learns_what_another_run_has_added(tmp_path):
    one, two = opened(tmp_path)[0], opened(tmp_path)[0]
    one.add([row("a")])
    assert two.add([row("b")]) == [row("a"), row("b")]


def test_a_salt_is_taken_back_only_if_nobody_uses_it(tmp_path):
    opened(tmp_path / "unused")[0].close()
    assert not (tmp_path / "unused").exists()
    first = opened(tmp_path / "keys")[0]
    second, salt, _ = opened(tmp_path / "keys")
    second.add([row("a")])
    first.close()
    assert opened(tmp_path / "keys")[1] == salt


def test_a_salt_that_was_taken_back_under_the_hands_of_another_run_comes_back(tmp_path):
    first = opened(tmp_path)[0]
    second, salt, _ = opened(tmp_path)
    (tmp_path / "other").touch()  # so that the folder stays
    first.close()
    assert not (tmp_path / "salt").exists()
    second.add([row("a")])
    assert opened(tmp_path)[1] == salt


def test_another_salt_in_the_place_of_the_own_one_is_noticed(tmp_path):
    names = opened(tmp_path)[0]
    (tmp_path / "salt").write_text("00" * 32)
    with pytest.raises(UserError, match=r"another run has drawn another salt in .*: run the same command again"):
        names.add([row("a")])
    assert read_names(tmp_path) == []


@pytest.mark.parametrize("content", ["no salt", "00" * 31, "ü" * 64])
def test_a_damaged_salt_is_named(tmp_path, content):
    (tmp_path / "salt").write_text(content)
    with pytest.raises(UserError, match=r"salt' is no salt: it must hold 64 hex digits; restore it"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot use the private folder '.*file': File exists"):
        opened(tmp_path / "file")
