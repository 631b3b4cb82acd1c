"""Counts of a corpus, and frames spread over its cases."""

import pytest

from hub_cards.corpus_facts import count_corpus, open_corpus, spread_frames
from training.corpus.corpus import Corpus
from training.errors import UserError


@pytest.fixture
def corpus(files):
    return Corpus.open(files.corpus)


def test_counts(files, corpus):
    facts = count_corpus(corpus, files.corpus)
    train, held_out = facts.splits
    assert (train.frames, train.clips, train.videos, train.cases) == (18, 6, 3, 3)
    assert (held_out.frames, held_out.clips, held_out.videos, held_out.cases) == (12, 4, 2, 2)
    assert facts.frames == 30
    assert [(group.name, group.frames, group.cases) for group in facts.procedures] == [
        ("cholecystectomy", 18, 3),
        ("sleeve <b>gastrectomy</b>", 12, 2),
    ]
    assert [(group.name, group.licence, group.clips) for group in facts.sources] == [("videos", "CC BY 4.0", 10)]
    assert facts.robotic == (("not recorded", 10),)
    assert facts.drops[1].detail == "cannot open 'x.mp4'"  # without the folders of the machine it was curated on
    assert facts.drop_reasons() == [("black", 2, 6), ("unreadable", 1, 0)]


def test_another_corpus_is_refused(files):
    with pytest.raises(UserError, match=r"has fingerprint .* but the run was trained on ffffffffffff"):
        open_corpus(files.corpus, "f" * 64)


def test_a_missing_drop_report_is_named(files, corpus):
    (files.corpus / "drops.parquet").unlink()
    with pytest.raises(UserError, match=r"drops.parquet' does not exist"):
        count_corpus(corpus, files.corpus)


@pytest.mark.parametrize(("count", "cases"), [(1, 1), (2, 2), (3, 2), (8, 2), (100, 2)])
def test_frames_are_spread_over_cases_and_the_same_at_every_call(corpus, count, cases):
    shown = spread_frames(corpus, "held_out", count)
    places = [(clip.clip_id, position) for clip, position in shown]
    assert len(places) == len(set(places)) == min(count, 12)
    assert len({clip.case_id for clip, _ in shown}) == cases
    assert all(clip.split == "held_out" for clip, _ in shown)
    assert places == [(clip.clip_id, position) for clip, position in spread_frames(corpus, "held_out", count)]
