"""The tables of the filter measurement, on outcomes written by hand, and the whole command once in small."""

import re
from pathlib import Path

import pytest

from training.corpus.measure_filters import Found, MeasureSettings, curated, filter_table, main, spoiled_cases
from training.corpus.synthetic.records import FieldOfView
from training.corpus.synthetic.spoiling import SpoiledCase
from training.errors import UserError


def test_precision_and_recall_by_hand() -> None:
    truth = ("white", "white", "white", "blur", "", "", "", "")
    case = SpoiledCase("c", Path("c.mp4"), truth, None, None, FieldOfView(1, 1, 1))
    # Of three white frames one is found and one goes to another filter; of four good ones one is lost to white.
    reasons = {0: "white", 1: "frozen", 2: "", 3: "white", 4: "white", 5: "", 6: "", 7: "blur"}
    lines = filter_table([case], [Found(reasons, frozenset(), [])])
    [white] = [line for line in lines if line.startswith("| white")]
    assert white == "| white | 3 | 3 | 0.33 | 0.67 | 0.33 | 0.67 |"
    [blur] = [line for line in lines if line.startswith("| blur")]
    assert blur == "| blur | 1 | 1 | 0.00 | 0.00 | 0.00 | 1.00 |"
    assert lines[-1] == "Good frames: 4, of them dropped: 2 (blur 1, white 1)."


def test_every_sample_of_a_small_run_is_accounted_for(tmp_path: Path) -> None:
    settings = MeasureSettings(cases=1, seconds=12, fps=3, sampled_fps=1)
    cases = spoiled_cases(tmp_path, settings)
    [found] = curated(tmp_path, cases, settings)
    assert sorted(found.reasons) == list(range(0, 36, 3))
    assert "lost" not in found.reasons.values()
    assert {number for number, reason in found.reasons.items() if cases[0].truth[number] == "black"} <= {
        number for number, reason in found.reasons.items() if reason == "black"
    }


def test_wrong_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["measure_filters"])
    with pytest.raises(UserError, match=re.escape("the output folder is missing")):
        main()
    monkeypatch.setattr("sys.argv", ["measure_filters", "out", "case=3"])
    with pytest.raises(UserError, match="cases"):
        main()
