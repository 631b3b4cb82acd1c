"""The whole report: one page that needs nothing else, inert names, the same bytes twice, nothing lost."""

import csv
import io
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from evaluation.records import append_records, read_records
from evaluation.report import main
from training.errors import UserError

from .conftest import Bench, NewRecord, without_predictions

Files = tuple[Path, Path]


@pytest.fixture(scope="session")
def report(benchmark: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once."""
    folder = tmp_path_factory.mktemp("report") / "report"
    main([*map(str, benchmark), "--output", str(folder)])
    return folder


@pytest.fixture(scope="session")
def page(report: Path) -> str:
    return (report / "report.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects elements, the text and everything that a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        if tag not in {"meta", "img", "col", "wbr"}:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"<{tag} {name}> is a script"
            if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}:
                self.addresses.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_nothing_else_and_runs_nothing(page: str) -> None:
    reader = Reader(page)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(reader.elements)
    assert all(address.startswith(("data:image/png", "#")) for address in reader.addresses)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert reader.open == []


def test_names_are_inert(report: Path, page: str) -> None:
    for text in ("<script>alert", "<b>here", "<no>"):
        assert text not in page
    assert "made up <b>here</b>" in Reader(page).text
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render((report / "report.md").read_text())
    assert not {"script", "b", "no"} & set(Reader(rendered).elements)
    assert "<script>alert(1)</script>|$\\frac{" in Reader(rendered).text


def test_files_and_figures(report: Path, page: str) -> None:
    files = sorted(path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file())
    assert files[-3:] == ["report.html", "report.md", "table.csv"]
    kinds = [re.sub(r"-[0-9a-f]{6}\.svg$", "", Path(name).name) for name in files[:-3]]
    assert kinds == [
        "phase-made-up-bars-jaccard-strict-mean-over-the-videos-whose-truth-has-t",
        "phase-made-up-frozen-linear-confusion",
        "phase-made-up-frozen-linear-timelines",
        "presence-made-up-bars-mean-average-precision-pooled-frames-mean-over-cla",
        "presence-made-up-few-shot-linear-cases-mean-average-precision-pooled-fra",
        "presence-made-up-frozen-linear-precision-and-recall",
        "rank-few-shot-linear-1-case",
        "rank-few-shot-linear-2-cases",
        "rank-frozen-linear",
        "skill-made-up-bars-spearman-mean-over-criteria-whose-truth-varies-undefi",
        "skill-made-up-frozen-linear-truth-and-prediction",
    ]
    for name in files[:-3]:
        ET.parse(report / name)  # raises unless it is whole
        assert f"figures/{Path(name).name}" in (report / "report.md").read_text()
    assert page.count("<svg") == len(kinds)


def test_two_runs_give_equal_bytes(benchmark: Files, report: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    main([*map(str, benchmark), "--output", str(again)])
    files = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((report / name).read_bytes() == (again / name).read_bytes() for name in files)
    assert list(tmp_path.iterdir()) == [again]


@pytest.mark.parametrize(
    "part",
    [
        "Benchmark of zen-a, zen-b",
        "Few test cases (phase_made_up 3, presence_made_up 3, skill_made_up 3)",
        "Whether test files were in the pretraining corpus was not checked",
        "On 1 task: phase_made_up. 1,000 resamples.",
        "Left out: presence_made_up (not measured: zen-b); skill_made_up (not measured: ",
        "3 subsets",
        "subset 2, seed 0",
        "every two models: few_shot, linear, 2 cases, mean average precision",
        "mean absolute error ↓",
        "What was not measured, and why",
        "has <no> attention layers",
    ],
)
def test_it_shows(page: str, part: str) -> None:
    assert part in Reader(page).text


def test_scores_are_those_of_the_records(benchmark: Files, report: Path, page: str) -> None:
    records = read_records(benchmark[0])
    of_student = next(r for r in records if r.model == "zen-a" and r.primary and r.task == "phase_made_up")
    assert of_student.value is not None
    assert of_student.interval is not None
    floors = [f"{getattr(of_student.floors, name):.3f}" for name in ("majority", "random_init", "histogram")]
    cell = (
        f'<td class="number">{of_student.value:.3f}<span class="interval">{of_student.interval[0]:.3f} to '
        f'{of_student.interval[1]:.3f}</span><span class="floors">{" · ".join(floors)}</span>'
    )
    assert cell in page
    assert "no memory" not in page  # was skipped once and measured since
    rows = list(csv.DictReader(io.StringIO((report / "table.csv").read_text(encoding="utf-8"))))
    both = records + read_records(benchmark[1])
    assert [float(row["value"]) if row["value"] else None for row in rows] == [record.value for record in both]
    assert rows[0]["floor_majority"] == str(records[0].floors.majority)
    assert {row["subset"] for row in rows} == {"", "0", "1", "2"}
    assert str(benchmark[0].parent) not in page


def test_a_formula_in_a_name_is_text_in_the_table(tmp_path: Path, new_record: NewRecord) -> None:
    append_records(tmp_path / "results.jsonl", [new_record(model="=cmd|x")])
    main([str(tmp_path / "results.jsonl"), "--output", str(tmp_path / "out")])
    assert ",'=cmd|x," in (tmp_path / "out" / "table.csv").read_text()


def test_missing_predictions_are_named_and_the_records_stand_in(bench: Bench, tmp_path: Path) -> None:
    bench.measure("presence_made_up", skills={"zen-a": 0.45, "random init": 0.2, "histogram": 0.15, "majority": 0.0})
    gone = next((tmp_path / "predictions").glob("presence_made_up-linear-all-0-*.safetensors"))
    gone.unlink()
    main([str(bench.file), "--output", str(tmp_path / "out")])
    shown = Reader((tmp_path / "out" / "report.html").read_text()).text
    assert f"Predictions file '{gone.name}' is missing beside its results file." in shown
    assert "as the records state them, against the student" in shown
    assert "Left out: presence_made_up (no usable predictions: zen-a)." in shown


def test_a_task_that_keeps_no_predictions(bench: Bench, tmp_path: Path) -> None:
    records = bench.measure("presence_made_up")
    bench.file.unlink()
    append_records(bench.file, without_predictions(records))
    main([str(bench.file), "--output", str(tmp_path / "out")])
    files = [path.name for path in (tmp_path / "out" / "figures").iterdir()]
    assert [name.startswith("presence-made-up-bars") for name in files] == [True]
    assert "safetensors" not in (tmp_path / "out" / "report.html").read_text()


def test_only_an_earlier_report_is_replaced(tmp_path: Path, new_record: NewRecord) -> None:
    results, output = tmp_path / "results.jsonl", tmp_path / "out"
    append_records(results, [new_record()])
    output.mkdir()
    main([str(results), "--output", str(output)])
    append_records(results, [new_record("majority")])
    main([str(results), "--output", str(output)])
    assert "majority" in (output / "report.html").read_text()
    (output / "mine.txt").touch()
    with pytest.raises(UserError, match=r"--output '.*out' holds 'mine.txt' and is no report of this command"):
        main([str(results), "--output", str(output)])
    (output / "mine.txt").unlink()
    (output / "report.html").write_text("<html>mine</html>")
    with pytest.raises(UserError, match=r"exists and is no report of this command"):
        main([str(results), "--output", str(output)])
    (output / "report.html").unlink()
    with pytest.raises(UserError, match=r"--output '.*out' is not empty and is no report of this command"):
        main([str(results), "--output", str(output)])
    with pytest.raises(UserError, match=r"--output '.*results.jsonl' is a file; name a folder"):
        main([str(results), "--output", str(results)])


def test_nothing_is_written_when_there_is_nothing_to_report(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match=r"empty.jsonl': no record to report on"):
        main([str(tmp_path / "empty.jsonl"), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path)
