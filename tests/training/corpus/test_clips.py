"""Cutting clips and merging drop rows."""

from pathlib import Path

from training.corpus.clips import Verdict, cut_clips, drop_spans
from training.corpus.frames import Sample
from training.corpus.sources import SourceFile

FILE = SourceFile("data", "a.mp4", Path("a.mp4"), 1, 1)
OTHER = SourceFile("data", "b.jpg", Path("b.jpg"), 1, 1)


def samples(number: int, breaks: tuple[int, ...] = (), files: tuple[SourceFile, ...] = ()) -> list[Sample]:
    return [
        Sample(files[index] if files else FILE, index * 25, float(index), index > 0 and index not in breaks)
        for index in range(number)
    ]


def verdicts(text: str) -> list[Verdict | None]:
    """One letter per sample; "." keeps."""
    return [None if letter == "." else Verdict(letter) for letter in text]


def test_maximal_runs_cut_at_the_longest():
    assert cut_clips(samples(7), verdicts("......."), ["x"] * 7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert cut_clips(samples(7), verdicts("..b...."), ["x"] * 7, 16) == [[0, 1], [3, 4, 5, 6]]
    assert cut_clips(samples(3), verdicts("bbb"), ["x"] * 3, 16) == []


def test_gaps_and_other_looks_break_a_clip():
    assert cut_clips(samples(5, breaks=(2,)), verdicts("....."), ["x"] * 5, 16) == [[0, 1], [2, 3, 4]]
    assert cut_clips(samples(5), verdicts("....."), ["x", "x", "x", "y", "y"], 16) == [[0, 1, 2], [3, 4]]


def test_a_new_scene_is_a_new_clip():
    assert cut_clips(samples(5), verdicts("....."), ["x"] * 5, 16, {0, 3}) == [[0, 1, 2], [3, 4]]
    assert cut_clips(samples(5), verdicts("..b.."), ["x"] * 5, 16, {2}) == [[0, 1], [3, 4]]


def test_consecutive_drops_of_one_reason_are_one_row():
    spans = drop_spans(samples(8), verdicts("bb.bbfb."), "v")
    assert [(s.t_start, s.t_end, s.num_frames, s.reason) for s in spans] == [
        (0.0, 1.0, 2, "b"),
        (3.0, 4.0, 2, "b"),
        (5.0, 5.0, 1, "f"),
        (6.0, 6.0, 1, "b"),
    ]
    assert {(s.input, s.path, s.video_id) for s in spans} == {("data", "a.mp4", "v")}


def test_a_span_shows_the_score_nearest_to_the_threshold():
    black = [Verdict("black", 1.0, 10.0), Verdict("black", 8.5, 10.0), Verdict("black", 0.0, 10.0)]
    (span,) = drop_spans(samples(3), black, "v")
    assert (span.score, span.threshold, span.num_frames) == (8.5, 10.0, 3)


def test_every_file_has_its_own_row():
    spans = drop_spans(samples(2, files=(FILE, OTHER)), verdicts("bb"), "v")
    assert [span.path for span in spans] == ["a.mp4", "b.jpg"]
