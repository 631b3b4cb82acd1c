import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from evaluation.check_leakage import main, parse
from evaluation.leakage.check import check_leakage
from tests.evaluation.datasets.layouts import edit_line
from tests.evaluation.leakage.folders import POLYPS, TABLE, draw, name_of, write_hyperkvasir
from training.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_hyperkvasir(tmp_path / "data" / "hyper-kvasir")


def image(root: Path, number: int) -> Path:
    return root / POLYPS / f"{name_of(number)}.jpg"


def test_nothing_leaks(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["--data-root", str(root.parent), "--near-duplicates", "--json", str(tmp_path / "report.json")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"read: hyperkvasir: split fold_1, 2 train, 0 val and 2 test cases in {str(root)!r}",
        "verdict: no leak found in 1 dataset",
        f"report: {tmp_path / 'report.json'}",
    ]
    assert json.loads((tmp_path / "report.json").read_text())["exit_code"] == 0


def test_a_copy_leaks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(image(root, 0), image(root, 2))
    with pytest.raises(SystemExit) as left:
        main(["--data-root", str(root.parent)])
    assert left.value.code == 1
    out = capsys.readouterr().out
    assert f"'{POLYPS}/{name_of(0)}.jpg' = '{POLYPS}/{name_of(2)}.jpg'" in out
    assert out.splitlines()[-1] == "verdict: 1 leak in 1 of 1 dataset"


def test_a_coarser_copy_leaks_where_pictures_are_compared(root: Path) -> None:
    Image.fromarray(draw(1)).save(image(root, 3), quality=50)
    assert check_leakage([root]).exit_code == 0
    report = check_leakage([root], pictures=True)
    assert [finding.kind for finding in report.findings] == ["near-duplicate frames"]


def test_a_broken_dataset_is_named_and_the_others_are_checked(
    root: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_line(root / TABLE, 2, f"{name_of(0)}.jpg;polip;0")
    with pytest.raises(SystemExit) as left:
        main(["--data-root", str(root.parent), str(synthetic_folder)])
    assert left.value.code == 2
    out = capsys.readouterr().out
    assert "not read: hyperkvasir: hyperkvasir: row 1 of" in out
    assert "read: synthetic: split official, 4 train, 0 val and 2 test cases" in out


def test_a_broken_image_hides_nothing_that_was_found_before(root: Path) -> None:
    shutil.copy(image(root, 0), image(root, 2))
    image(root, 1).write_bytes(b"no image")
    report = check_leakage([root], pictures=True)
    assert [finding.kind for finding in report.findings] == ["identical files"]
    assert [name for name, _ in report.unread] == ["hyperkvasir"]
    assert (report.exit_code, report.checked) == (1, [])


def test_a_corpus_with_a_test_case(root: Path, corpus_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data-root", str(root), "--corpus", str(corpus_folder)])
    assert "no leak found" in capsys.readouterr().out
    image(root, 3).write_bytes(b"corpus1")  # what the fixture says that the corpus was made of
    with pytest.raises(SystemExit):
        main(["--data-root", str(root), "--corpus", str(corpus_folder)])
    assert f"test file in the corpus: hyperkvasir: test case {name_of(3)!r}" in capsys.readouterr().out


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no dataset is in or up to two levels below '.*'; docs/datasets.md"):
        main(["--data-root", str(tmp_path)])
    with pytest.raises(UserError, match="--data-root; --help shows the options"):
        parse([])
    with pytest.raises(UserError, match=r"corpus folder '.*none' does not exist"):
        main(["--data-root", str(tmp_path), "--corpus", str(tmp_path / "none")])
