"""The contamination ledger: public test cases in the corpus, and test files that were looked for."""

from hub_cards.ledger import MeasuredDataset, SeenDataset, measured_datasets, possible_datasets, seen_datasets
from hub_cards.results import read_results
from hub_cards.run_records import read_run
from tests.hub_cards.conftest import write_corpus
from training.corpus.corpus import Corpus


def test_cases_trained_on_and_held_out(tmp_path):
    overlaps = {
        "a1": ("cholec80/video41", "cholect50/VID41"),
        "a2": ("cholec80/video42",),
        "h1": ("cholec80/video41", "cholec80/video50"),
    }
    write_corpus(tmp_path / "corpus", overlaps)
    # Each case has two clips of three frames.
    assert seen_datasets(Corpus.open(tmp_path / "corpus")) == (
        SeenDataset("cholec80", ("video41", "video42"), ("video50",), 12),
        SeenDataset("cholect50", ("VID41",), (), 6),
    )


def test_a_corpus_of_no_public_case(files):
    assert seen_datasets(Corpus.open(files.corpus)) == ()


def test_many_names_are_cut():
    seen = SeenDataset("cholec80", tuple(f"video{number}" for number in range(1, 24)), (), 9)
    assert seen.listed.endswith("video20 and 3 more")
    assert SeenDataset("cholec80", ("video1",), (), 9).listed == "video1"


def test_collections_that_may_hold_more():
    [found] = possible_datasets({"overlaps": {"possible": {"SurgeNetXL": ["cholec80", "autolaparo"]}}})
    assert (found.collection, found.contains) == ("SurgeNetXL", "cholec80, autolaparo")
    assert possible_datasets({}) == ()


def test_tested_data_sets_with_the_files_seen(files):
    weights = read_run(files.run).weights_sha256
    assert measured_datasets(read_results(files.results, weights).tasks) == [
        MeasuredDataset("synthetic", "default", 2, 0)
    ]
    records = files.records()
    records[7]["pretraining_overlap"] = 3
    files.write_records(records)
    assert measured_datasets(read_results(files.results, weights).tasks)[0].seen_files == 3
    records[2]["pretraining_overlap"] = None
    files.write_records(records)
    assert measured_datasets(read_results(files.results, weights).tasks)[0].seen_files is None
