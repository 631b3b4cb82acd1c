"""The page of a corpus: its numbers, its pictures, and that no name in it can act."""

import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training import corpus_report as entry
from training.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.manifest import CLIP_SCHEMA, DROP_SCHEMA, fingerprint, read_clips, read_drops, write_rows
from training.corpus.report import page as page_module
from training.corpus.report.page import make_report, report_page
from training.errors import UserError

HOSTILE = "<script>alert('x')</script>&\"\u202e\n"


class Page(HTMLParser):
    """Tags, addresses and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.words.append("" if tag == "wbr" else " ")
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        self.words.append(" ")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def rewrite(out: Path, change) -> None:
    """Change every clip of the manifest, and the fingerprint with it."""
    clips = [change(clip) for clip in read_clips(out / "manifest.parquet")]
    write_rows(clips, CLIP_SCHEMA, out / "manifest.parquet")
    facts = json.loads((out / "curation.json").read_text())
    facts["fingerprint"] = fingerprint(clips)
    (out / "curation.json").write_text(json.dumps(facts))


@pytest.fixture
def own(mixed_corpus, tmp_path) -> Path:
    """The mixed corpus, to be changed."""
    return shutil.copytree(mixed_corpus, tmp_path / "own")


@pytest.fixture(scope="module")
def text(mixed_corpus) -> str:
    return report_page(Corpus.open(mixed_corpus))


def test_numbers_of_the_corpus(text, mixed_corpus):
    shown = Page(text).text
    clips = read_clips(mixed_corpus / "manifest.parquet")
    kept = sum(clip.num_frames for clip in clips)
    for fact in (
        f"frames kept {kept} ",
        "cases 4 ",
        f"clips {len(clips)} ",
        "Of 42 frames sampled from the sources, 34 are in the corpus (81.0 %)",
        "black 1 3 7.1 %",
        "frozen 1 2 4.8 %",
        "label folder 3 0 –",
        "below folder 'masks'",
        "Nobody has looked for near-duplicates",
        "No clip is marked as showing a case of a public benchmark",
        Corpus.open(mixed_corpus).fingerprint,
        "short_side: 64",
    ):
        assert fact in shown, fact


def test_it_asks_for_nothing_and_runs_nothing(text):
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on"), (name, value)
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/jpeg;base64,", "#")), value[:80]
    assert ("content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes
    assert not re.search(r"url\((?!#)", text)


def test_pictures_of_what_was_dropped_and_kept(text):
    assert text.count("data:image/jpeg;base64,") >= 6
    shown = Page(text).text
    assert "lap/case1.mp4, 4.0 s, score 0" in shown  # of the black span
    assert "seq/0021.jpg, 0.9 s" in shown  # the last of six spread over nine clips


def test_names_are_inert(own):
    names = {"source": HOSTILE, "licence": HOSTILE, "case_id": HOSTILE, "path": HOSTILE, "video_id": HOSTILE}
    rewrite(own, lambda clip: replace(clip, **names, procedures=(HOSTILE,), overlaps=(HOSTILE,)))
    drops = [replace(drop, detail=HOSTILE, path=HOSTILE) for drop in read_drops(own / "drops.parquet")]
    write_rows(drops, DROP_SCHEMA, own / "drops.parquet")
    facts = json.loads((own / "curation.json").read_text())
    facts["settings"]["source"] = HOSTILE
    facts["code"] = {HOSTILE: HOSTILE}
    (own / "curation.json").write_text(json.dumps(facts))
    made = report_page(Corpus.open(own))
    page = Page(made)
    assert "script" not in page.tags
    assert "<script>alert('x')</script>&\"" in page.text
    assert "\u202e" not in made


def test_groups_weights_and_unknown_labels(own):
    def change(clip):
        far = clip.video_id.endswith("10")
        return replace(clip, procedures=("a", "b") if far else (), licence="", weight=2.0, split="train")

    rewrite(own, change)
    shown = Page(report_page(Corpus.open(own))).text
    # 3 frames of two procedures count half in each; all weights are 2
    assert "not recorded 31 31 62 3" in shown
    assert "a 2 2 3 1" in shown  # 1.5, 1.5 and 3
    assert "Of 34 frames of the train split that may be drawn, an epoch draws 68" in shown


def test_near_duplicates(own):
    clips = read_clips(own / "manifest.parquet")
    members = [clips[0], clips[1], clips[3]]
    rows = {
        "cluster": pa.array([5] * 3, pa.int64()),
        "clip_id": [clip.clip_id for clip in members],
        "position": pa.array([0] * 3, pa.int32()),
        "video_id": [clip.video_id for clip in members],
        "case_id": [clip.case_id for clip in members],
        "representative": [True, False, False],
        "distance": pa.array([0.0, 1.0, 3.0], pa.float32()),
        "method": ["hash"] * 3,
    }
    pq.write_table(pa.table(rows), own / "duplicates.parquet")
    shown = Page(report_page(Corpus.open(own))).text
    assert "1 clusters, 1 of them across cases; 2 frames are left out of training" in shown
    assert "3 frames of 2 videos and 2 cases, by hash, largest distance 3" in shown


def test_masks_circles_overlaps_and_removed_cases(own):
    def change(clip):
        clip = replace(clip, overlaps=("cholec80/video41",), mask="", fov_cx=None, fov_cy=None, fov_radius=None)
        if clip.video_id.endswith("10"):
            clip = replace(clip, fov_cx=40.0, fov_cy=30.0, fov_radius=25.0, fov_confidence=0.75)
        return clip

    rewrite(own, change)
    removal = {"case_id": "gone", "time": "2026-01-02T03:04:05Z", "clips": 2, "frames": 9, "shards": [], "files": []}
    (own / "removals.json").write_text(json.dumps([removal]))
    facts = json.loads((own / "curation.json").read_text())
    facts["overlaps"] = {"possible": {"lemon": ["cholec80", "autolaparo"]}}
    (own / "curation.json").write_text(json.dumps(facts))
    shown = Page(report_page(Corpus.open(own))).text
    assert "cholec80/video41 9 34" in shown
    assert "without saying which: lemon (cholec80, autolaparo)." in shown
    assert "data__far__10, confidence 0.75" in shown
    assert "gone 2026-01-02T03:04:05Z 2 9" in shown


def test_optional_tables_may_be_missing(own):
    shutil.rmtree(own / "journal")
    for name in ("drops.parquet", "masks.parquet"):
        (own / name).unlink(missing_ok=True)
    rewrite(own, lambda clip: replace(clip, mask=""))
    shown = Page(report_page(Corpus.open(own))).text
    assert "This corpus has no drops.parquet" in shown
    assert "0 have a mask" in shown


def test_nothing_dropped(tmp_path, settings, scene, write_still):
    for video in range(2):
        write_still(tmp_path / "data" / f"v{video}_000.png", scene(video))
    curate([tmp_path / "data"], tmp_path / "out", settings())
    shown = Page(report_page(Corpus.open(tmp_path / "out"))).text
    assert "nothing was left out" in shown
    assert "There are no pictures of dropped frames" in shown


def test_void_drops_have_no_picture(own):
    drops = [drop for drop in read_drops(own / "drops.parquet") if drop.reason != "black"]
    write_rows(drops, DROP_SCHEMA, own / "drops.parquet")
    shown = Page(report_page(Corpus.open(own))).text
    assert "lap/case1.mp4, 4.0 s" not in shown
    assert "lap/case1.mp4, 8.0 s" in shown  # frozen


def test_only_columns_of_shards_are_read(own, monkeypatch):
    # Frames of no value to the page would not fit in memory: `image` is read for the pictures alone.
    values, owners = page_module._frame_values(Corpus.open(own))
    table = pq.read_table(own / "shards" / "shard-00000.parquet", columns=["luma", "sharpness", "clip_id"])
    assert values[0].tolist() == table["luma"].to_pylist()
    assert values[1].tolist() == table["sharpness"].to_pylist()
    clips = read_clips(own / "manifest.parquet")
    assert [clips[owner].clip_id for owner in owners] == table["clip_id"].to_pylist()
    rewrite(own, lambda clip: replace(clip, shard_row=clip.shard_row + 1))
    with pytest.raises(UserError, match=r"has 34 rows, the manifest of .* points to row 34: shard and manifest"):
        page_module._frame_values(Corpus.open(own))


def test_rows_of_a_removed_case_in_a_shard_are_passed_over(own):
    clips = read_clips(own / "manifest.parquet")
    facts = json.loads((own / "curation.json").read_text())
    facts["counts"]["clips"] = len(clips) - 1
    (own / "curation.json").write_text(json.dumps(facts))
    write_rows([clip for clip in clips if clip != clips[3]], CLIP_SCHEMA, own / "manifest.parquet")
    values, _ = page_module._frame_values(Corpus.open(own))
    whole = pq.read_table(own / "shards" / "shard-00000.parquet", columns=["luma"])["luma"].to_numpy()
    first, end = clips[3].shard_row, clips[3].shard_row + clips[3].num_frames
    np.testing.assert_array_equal(values[0], np.delete(whole, np.s_[first:end]))


def test_same_corpus_same_page(mixed_corpus, text):
    assert report_page(Corpus.open(mixed_corpus)) == text


def test_output_is_replaced_only_if_it_is_ours(own, tmp_path):
    target = tmp_path / "new" / "page.html"
    make_report(str(own), target)
    first = target.read_bytes()
    make_report(str(own), target)
    assert target.read_bytes() == first
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(UserError, match=r"notes.html' exists and is no report of this command: choose another name"):
        make_report(str(own), tmp_path / "notes.html")
    with pytest.raises(UserError, match=r"is a folder: name a file that ends in .html"):
        make_report(str(own), tmp_path)
    with pytest.raises(UserError, match=r"corpus folder .* does not exist"):
        make_report(str(tmp_path / "no"), tmp_path / "no.html")
    assert not (tmp_path / "no.html").exists()


def call(monkeypatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["corpus_report", *map(str, words)])
    entry.main()


def test_command_line(own, monkeypatch, capsys):
    call(monkeypatch, own)
    assert f"report: {own / 'report.html'}" in capsys.readouterr().out
    assert (own / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>\n<!-- made by")
    assert Corpus.open(own)


def test_command_line_mistakes(own, monkeypatch):
    with pytest.raises(UserError, match=r"'memory://corpus' is not a local folder: say where the page goes with --out"):
        call(monkeypatch, "memory://corpus")
    monkeypatch.setattr(entry, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"the report needs jinja2 and matplotlib: pip install jinja2 matplotlib"):
        call(monkeypatch, own)
