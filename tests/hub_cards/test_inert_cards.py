"""Whatever names, licences and notes say, a card keeps the structure it has with plain words: nothing of them acts."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from evaluation.reporting.results import read_results as read_files
from evaluation.reporting.scores import group_scores
from evaluation.skips import Skip, append_skips
from hub_cards.adapter_folder import Adapter, adapter_card
from hub_cards.corpus_facts import count_corpus
from hub_cards.diagnosis import Diagnosis, Line
from hub_cards.evaluation_metadata import eval_results_files
from hub_cards.hub_folder import PICTURE
from hub_cards.ledger import PossibleDataset, SeenDataset
from hub_cards.licence_terms import licence_file
from hub_cards.model_card import CardInputs, licensed_inputs, model_card
from hub_cards.publishing.card_check import read_front_matter
from hub_cards.publishing.export_card import export_card
from hub_cards.publishing.folder_files import Limits
from hub_cards.results import read_results
from hub_cards.run_records import read_run
from training.corpus.corpus import Corpus
from training.licences import derive
from training.report.rendering import one_line

PLAIN = "word"
PAYLOADS = (
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)><iframe src=//evil>",
    "[x](javascript:alert(1)) ![y](http://evil.example/p.png) <javascript:alert(1)>",
    "a | b \\| c \\\\| d",
    "line\n\n# head\n- item\n\n---\n\n| a |\n|---|\n| b |",
    "`code` ``` ~~~ **bold** _em_ ~~gone~~",
    "{{ 7 * 7 }} {% for x in y %} {# z #} ${x}",
    "---\nlicense: mit\n---",
    "&lt;b&gt; &#60;script&#62; &copy;",
    "no",
    "1e3",
    "*a &b !!python/object:x {c: [d",
    "right\u202eleft zero\u200bwidth tag\U000e0041 soft\xadhyphen \u2066iso",
    "http://evil.example www.evil.example me@evil.example",
)


class Structure(HTMLParser):
    """Tags with their attributes, in order; texts are left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, *attrs))

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}",))

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def columns(self) -> list[list[int]]:
        """Of every table, the number of cells of its rows."""
        tables: list[list[int]] = []
        for tag, *_ in self.tags:
            if tag == "table":
                tables.append([])
            elif tag == "tr":
                tables[-1].append(0)
            elif tag in ("td", "th"):
                tables[-1][-1] += 1
        return tables


def structure(text: str) -> Structure:
    """Of a card as GitHub's Markdown shows it."""
    return Structure(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text))


def write_named_records(files, name: str) -> None:
    """Records in which everything that is a word is `name`."""
    records = []
    for record in files.records()[:5]:
        cases = [f"{name}1", f"{name}2"]
        values = list(record["per_case"].values())
        record |= {
            "model": record["model"] + name,
            "task": name,
            "dataset": name,
            "split": {**record["split"], "test_cases": cases, "source": name, "name": name},
            "per_case": dict(zip(cases, values, strict=True)),
            "protocol": name,
            "probe": name,
            "metric": name,
            "variant": name,
            "hyperparameters": {"values": {name: name}, "chosen_on": "train folds by case", "criterion": name},
            "package_versions": {name: name},
            "device": name,
            "created": name,
        }
        records.append(record)
        records.append({**record, "primary": False, "metric": f"other{name}"})
    files.write_records(records)
    skips = files.results.with_suffix(".skipped.jsonl")
    skips.unlink(missing_ok=True)
    append_skips(files.results, [Skip(name, "p", "q", "m", name, "2026-01-01")])


def card_of(files, name: str) -> ModelCard:
    """The card of a run in which every name is `name`."""
    run = read_run(files.run)
    facts = json.loads(json.dumps(run.facts))
    facts["packages"] = {name: name}
    facts["hardware"]["device"] = name
    facts["settings"] |= {"strategy": "distillation", "seed": name, "mixed_precision": name}
    facts["settings"]["student"]["size"] = f"nano{name}"
    for row in facts["held_out"]:
        row["teacher"] = name
    teachers = tuple(
        replace(each, key=name, name=name, repo=name, licence=name, source=name, revision=name, tokens=(name, name))
        for each in run.teachers
    )
    corpus = count_corpus(Corpus.open(files.corpus), files.corpus)
    corpus = replace(
        corpus,
        procedures=tuple(replace(each, name=name) for each in corpus.procedures),
        sources=tuple(replace(each, name=name, licence=name) for each in corpus.sources),
        drops=tuple(replace(each, reason=name, detail=name) for each in corpus.drops),
        seen=(SeenDataset(name, (name,), (), 3),),
        possible=(PossibleDataset(name, name),),
    )
    write_named_records(files, name)
    diagnosis = Diagnosis((f"s{name}", name), (Line(name, (0.5, None)),), 3, 2, True, f"s{name}", name)
    results = read_results(files.results, run.weights_sha256)
    return model_card(
        CardInputs(replace(run, facts=facts, teachers=teachers), results, corpus, diagnosis, f"note {name}", name)
    )


def adapter_card_of(files, name: str) -> ModelCard:
    """The card of an adapter in whose record every name is `name`."""
    write_named_records(files, name)
    records = files.records()
    details = {
        "adapter_sha256": name,
        "trainable_parameters": 12,
        "parameters": 34,
        "adapted_layers": name,
        "lora": {"rank": name, "alpha": 16.0, "lr": 5e-4},
    }
    files.write_records([{**record, "details": details} for record in records])
    found = read_files([files.results]).found
    [task] = group_scores(found)
    head = {"target": name, "kind": "single", "classes": [name, name], "image_size": 32}
    return adapter_card(Adapter(files.run, {}, head, found[0].record, task), files.run / "hub", "org/zen", name)


@pytest.mark.parametrize("make", [card_of, adapter_card_of])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_text_and_metadata_are_built_as_of_plain_words(files, make, payload):
    original = files.results.read_text()
    plain = make(files, PLAIN)
    files.results.write_text(original)
    found = make(files, payload)
    expected = structure(plain.text)
    assert structure(found.text).tags == expected.tags
    assert all(len(set(rows)) == 1 for rows in expected.columns())
    for tag, *attributes in expected.tags:
        named = dict(attributes)
        assert set(named) <= {"href", "src", "alt", "style", "class", "start"}
        assert named.get("href", "https://").startswith("https://")
        assert named.get("src", PICTURE) == PICTURE
        assert tag.strip("/") not in ("script", "iframe", "object", "embed", "form", "input", "svg", "style")
    check_metadata(str(plain), str(found))


def check_metadata(plain: str, card: str) -> None:
    """One block with the keys of the plain one, whose values are texts; and no hidden characters anywhere."""
    expected, found = read_front_matter(plain), read_front_matter(card)
    assert found == yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert found.keys() == expected.keys()
    results = [metadata["model-index"][0]["results"][0] for metadata in (found, expected)]
    assert results[0].keys() == results[1].keys()
    assert isinstance(results[0]["dataset"]["name"], str)
    assert (found["license"], found["license_link"]) == ("other", "LICENSE.md")
    assert all(one_line(line) == line.strip() for line in card.split("\n"))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_results_terms_and_export_cards(files, payload):
    write_named_records(files, payload)
    tasks = read_results(files.results, read_run(files.run).weights_sha256).tasks
    for name, text in eval_results_files(tasks, payload).items():
        assert len(name) < Limits().name_length
        assert set(name.removeprefix(".eval_results/")) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.")
        [entry] = yaml.safe_load(text)
        assert isinstance(entry["notes"], str)
        assert entry["value"] == 0.61
    inputs = [(f"teacher {payload}", payload), ("the code", "mit")]
    plain = [(f"teacher {PLAIN}", PLAIN), ("the code", "mit")]
    assert structure(licence_file(derive(inputs), inputs)).tags == structure(licence_file(derive(plain), plain)).tags
    cards = [
        ModelCard(export_card(exported(word), files.run, "org/x", "org/zen", {"license": "mit"}))
        for word in (PLAIN, payload)
    ]
    assert structure(cards[0].text).tags == structure(cards[1].text).tags
    assert cards[1].data.license == "mit"


def exported(name: str) -> dict:
    """Facts of an export in which every name is `name`."""
    return {
        "format": name,
        "precision": name,
        "input": {"height": name, "width": 32},
        "parity": {"frames": name, "on": name}
        | {part: {"cosine_mean": 1.0, "cosine_min": 0.99} for part in ("pooler", "dense")},
        "versions": {name: name},
        "source_weights_sha256": name,
    }


def test_what_the_inputs_imply_reaches_the_card(files):
    run = read_run(files.run)
    teachers = (replace(run.teachers[0], licence="CC BY-NC 4.0"), replace(run.teachers[1], licence=None))
    inputs = licensed_inputs(replace(run, teachers=teachers), None)
    card = model_card(
        CardInputs(
            replace(run, teachers=teachers), read_results(files.results, run.weights_sha256), None, None, None, "x"
        )
    )
    assert (card.data.license, card.data.license_name) == ("other", "see-inputs-non-commercial")
    for text in (card.text, licence_file(derive(inputs), inputs)):
        assert "No commercial use of these weights: teacher efficientnet_lite0 (CC BY-NC 4.0) permits none." in text
