import sys
from pathlib import Path

import pytest

from training.errors import run_entry
from training.teachers import TEACHERS, __main__
from training.teachers.fetching import FetchedTeacher


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["teachers", *words])
    with pytest.raises(SystemExit) as left:
        run_entry(__main__.main)
    return int(left.value.code or 0)


def test_list_shows_every_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(TEACHERS.names())]] == TEACHERS.names()
    assert any("facebook/dinov2-small" in line and "112-1022" in line for line in lines)
    assert any("endovit" in line and "not loadable" in line for line in lines)
    assert any("dinov3-base" in line and "gated" in line for line in lines)


def test_prepare_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, Path]] = []

    def prepare(name: str, output: Path) -> tuple[Path, bool]:
        calls.append((name, output))
        return output / name, name == "a"

    monkeypatch.setattr(__main__, "prepare", prepare)
    assert run(monkeypatch, "prepare", "a", "b", "--output", str(tmp_path)) == 0
    assert calls == [("a", tmp_path), ("b", tmp_path)]
    assert capsys.readouterr().out == f"a: written to {tmp_path / 'a'}\nb: already there: {tmp_path / 'b'}\n"


def test_fetch_says_what_now_lies_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "fetch_teacher", lambda name: FetchedTeacher(f"org/{name}", "01ab", 1_230_000, "mit"))
    assert run(monkeypatch, "fetch", "a", "b") == 0
    assert (
        capsys.readouterr().out == "a: org/a at 01ab, 1.23 MB, licence: mit\nb: org/b at 01ab, 1.23 MB, licence: mit\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prepare", "efficientnet_lite7", "--output", "x"), "unknown packaged teacher 'efficientnet_lite7'"),
        (("prepare", "efficientnet_lite0", "--ouput", "x"), "--output"),
        (("prepare", "efficientnet_lite0", "--out", "x"), "--output"),
        (("fetch", "dinov2-smal"), "unknown teacher 'dinov2-smal'. Did you mean 'dinov2-small'?"),
        (("lst",), "invalid choice: 'lst'"),
        ((), "required: command"),
    ],
)
def test_mistakes_end_with_a_sentence_and_nothing_written(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
