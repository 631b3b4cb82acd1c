import json
from pathlib import Path

from evaluation.leakage.findings import BETWEEN, Checked, Finding, Report

CHECKED = Checked("cholec80", "/data/cholec80", "40_8_32", 40, 8, 32)
PAIRS = tuple((f"a{number}", f"b{number}") for number in range(5))
LEAK = Finding("identical files", "cholec80", "train case 'x' and test case 'y'", PAIRS)
SHARED = Finding(BETWEEN, "m2cai16_tool", "1 test cases are training cases of cholec80", (("c", "d"),))


def test_a_line_shows_three_pairs_and_counts_the_rest() -> None:
    line = (
        "identical files: cholec80: train case 'x' and test case 'y': 'a0' = 'b0', 'a1' = 'b1', 'a2' = 'b2' and 2 more"
    )
    assert str(LEAK) == line
    assert str(Finding("val equals test", "cholec80", "split 'a'")) == "val equals test: cholec80: split 'a'"


def test_verdicts_and_exit_codes() -> None:
    clean = Report([CHECKED], [], [])
    assert (clean.verdict, clean.exit_code) == ("no leak found in 1 dataset", 0)
    broken = Report([CHECKED], [], [("pitvis", "row 1 ...")])
    assert (broken.verdict, broken.exit_code) == ("no leak found in 2 datasets; 1 could not be read", 2)
    leaking = Report([CHECKED], [LEAK, LEAK], [("pitvis", "row 1 ...")])
    assert (leaking.verdict, leaking.exit_code) == ("2 leaks in 1 of 2 datasets; 1 could not be read", 1)


def test_what_datasets_share_counts_unless_it_is_said_not_to() -> None:
    assert Report([CHECKED], [SHARED], []).exit_code == 1
    apart = Report([CHECKED], [SHARED], [], transfer=False)
    assert (apart.verdict, apart.exit_code) == ("no leak found in 1 dataset; 1 between datasets not counted", 0)
    assert str(SHARED) in apart.to_text()


def test_text_and_json(tmp_path: Path) -> None:
    report = Report([CHECKED], [LEAK], [("pitvis", "row 1 ...")])
    assert report.to_text().splitlines() == [
        "read: cholec80: split 40_8_32, 40 train, 8 val and 32 test cases in '/data/cholec80'",
        "not read: pitvis: row 1 ...",
        str(LEAK),
        "verdict: 1 leak in 1 of 2 datasets; 1 could not be read",
    ]
    report.write(tmp_path / "new" / "leakage.json")
    content = json.loads((tmp_path / "new" / "leakage.json").read_text())
    assert (content["exit_code"], content["schema_version"]) == (1, 1)
    assert content["findings"][0]["pairs"] == [list(pair) for pair in PAIRS]
    assert content["not_read"] == [{"dataset": "pitvis", "reason": "row 1 ..."}]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["leakage.json"]
