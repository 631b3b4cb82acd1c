"""The report: one file that needs nothing else, with inert names and bars that end where the numbers say."""

import re
from html.parser import HTMLParser

import pytest

from hub_cards import card
from hub_cards.report import main
from hub_cards.report_page import bars, glance
from hub_cards.results import read_results
from hub_cards.run_records import read_run
from training.errors import UserError


def arguments(files) -> list[str]:
    return [
        *(str(files.run), str(files.results), "--corpus", str(files.corpus)),
        *("--hub", str(files.output), "--output", str(files.report)),
    ]


@pytest.fixture
def carded(files):
    """A private copy with a card (without picture, which takes time)."""
    card.main(files.card())
    return files


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory) -> str:
    """The report of the finished run with its picture, made once."""
    root = tmp_path_factory.mktemp("page")
    hub, output = root / "hub", root / "report.html"
    run, results, corpus = str(finished.run), str(finished.results), str(finished.corpus)
    card.main([run, results, "--output", str(hub), "--corpus", corpus])
    main([run, results, "--corpus", corpus, "--hub", str(hub), "--output", str(output)])
    return output.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects elements and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []

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
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def test_it_needs_nothing_else_and_runs_nothing(page):
    reader = Reader()
    reader.feed(page)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(reader.elements)
    assert all(address.startswith(("data:image/", "#")) for address in reader.addresses)
    assert sum(address.startswith("data:image/png") for address in reader.addresses) == 1
    assert sum(address.startswith("data:image/jpeg") for address in reader.addresses) == 8
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page
    assert reader.open == []


def test_names_are_inert(page):
    assert "&lt;script&gt;alert(1)&lt;/<wbr>script&gt;" in page
    assert "&lt;img src=x onerror=alert(2)&gt;.mp4" in page
    assert "sleeve &lt;b&gt;gastrectomy&lt;/<wbr>b&gt;" in page
    assert "<b>gastrectomy" not in page


@pytest.mark.parametrize(
    "part",
    [
        "<h1>ZEN nano</h1>",
        '<td class="number">0.610<span class="interval">0.560 to 0.660</span></td>',
        '<td class="number">+0.190<span class="interval">+0.150 to +0.230</span></td>',
        '<span class="down">▼</span>',
        "<figcaption>Explained variance, dense tokens</figcaption><svg",
        "<figcaption>Training loss, weighted sum</figcaption><svg",
        '<td class="name">black</td><td class="number">2</td><td class="number">6</td>',
        '<td class="name">h2</td><td class="number">0.560</td>',
        '<td class="number">undefined</td>',
        "Frames: videos (CC BY 4.0).",
        "<td>licence of the weights</td>",
    ],
)
def test_it_shows(page, part):
    assert part in page


def test_nothing_of_this_machine_is_in_it(page, finished):
    assert str(finished.run.parent) not in page


def test_glance_marks_the_best_and_what_is_shown(files):
    table = glance(read_results(files.results, read_run(files.run).weights_sha256))
    assert table.columns == ("student", "random init", "efficientnet_lite0", "histogram", "majority")
    cells = table.rows[0].cells
    assert [cell.best for cell in cells] == [False, False, True, False, False]
    assert [cell.verdict for cell in cells] == [None, "up", "down", "even", "up"]


def test_bars_share_one_axis_with_a_zero(files):
    records = files.records()[:5]
    records[4] |= {"value": -0.5, "interval": [-3.0, 0.0]}
    files.write_records(records)
    (table,) = read_results(files.results, read_run(files.run).weights_sha256)
    placed = {row.role: bar for row, bar in bars(table)}
    # The axis runs from -1 (where it is cut off) to 0.71, the end of the teacher's interval.
    zero = 100 * 1 / 1.71
    assert placed["student"].zero == pytest.approx(zero, abs=0.01)
    assert placed["student"].start == pytest.approx(zero, abs=0.01)
    assert placed["student"].length == pytest.approx(100 * 0.61 / 1.71, abs=0.02)
    assert placed["teacher"].low + placed["teacher"].span == pytest.approx(100, abs=0.01)
    assert placed["majority"].start == pytest.approx(100 * 0.5 / 1.71, abs=0.01)
    assert placed["majority"].low == 0


def test_without_a_picture_it_says_why(carded):
    main(arguments(carded))
    assert "There is no picture" in carded.report.read_text()
    main(arguments(carded))  # its own report may be replaced


def test_user_errors(carded):
    with pytest.raises(UserError, match=r"card.json' does not exist"):
        main([*arguments(carded), "--hub", str(carded.run / "hub")])
    carded.report.write_text("<html>mine</html>")
    with pytest.raises(UserError, match=r"exists and is no report of this command"):
        main(arguments(carded))
    with pytest.raises(UserError, match=r"is a folder: name a file that ends in .html"):
        main([*arguments(carded), "--output", str(carded.corpus)])
    carded.report.unlink()
    marker = carded.output / "card.json"
    carded.edit(marker, weights_sha256="f" * 64)
    with pytest.raises(UserError, match=r"holds another model than run .*; make its card anew"):
        main(arguments(carded))
    assert not carded.report.exists()
