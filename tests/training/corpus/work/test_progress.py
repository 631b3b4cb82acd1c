"""The progress bar: bytes of all units, each counted once, whoever works on them and however often."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from training.corpus.work.progress import ProgressBar


def task(name: str, size: int) -> SimpleNamespace:
    file = SimpleNamespace(location=Path(f"/data/{name}.mp4"))
    return SimpleNamespace(folder=Path(name), unit=SimpleNamespace(size=size, files=[file]))


def test_every_unit_counts_with_its_size(capsys):
    one, two, earlier = task("one", 100), task("two", 50), task("earlier", 30)
    with ProgressBar() as bar:
        bar.add([one.unit, two.unit])
        bar.advance(one, 2, 60.5)
        bar.advance(one, 1, 70.0)  # of a second attempt
        bar.advance(two, 1, 20.0)
        assert (bar._bar.n, bar._bar.total) == (120, 150)
        bar.end(two)
        bar.add([earlier.unit])
        bar.end(earlier)  # finished by an interrupted run
        bar.end(one)
        assert (bar._bar.n, bar._bar.total) == (180, 180)
        assert bar._bar.postfix.startswith("4 frames, ")
        assert bar._bar.postfix.endswith("3/3 videos, one.mp4")
    assert "180/180" in capsys.readouterr().err


@pytest.mark.parametrize("units", [[], None])
def test_nothing_to_do_shows_no_bar(capsys, units):
    with ProgressBar() as bar:
        if units is not None:
            bar.add(units)
    assert capsys.readouterr().err == ""
