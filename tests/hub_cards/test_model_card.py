"""Facts of the model card that the whole command does not show."""

import json
import shutil

from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from evaluation.skips import Skip, append_skips
from hub_cards.card import main
from hub_cards.model_card import flatten
from tests.hub_cards.conftest import write_corpus


def test_flatten():
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == [("a", 1), ("b.c", 2), ("b.d.e", 3)]


def card_text(files, *more: str) -> str:
    main(files.card(*more))
    return (files.output / "README.md").read_text(encoding="utf-8")


def write_log(files, *rows: dict) -> None:
    lines = [{"split": "held_out", **row} for row in rows] + [{"step": 100, "split": "train", "loss/pixels": 0.5}]
    (files.run / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_teacher_against_commercial_use_binds_the_weights(files):
    teachers = json.loads((files.run / "teachers.json").read_text())
    teachers[0]["licence"] = "CC BY-NC-SA 4.0"
    (files.run / "teachers.json").write_text(json.dumps(teachers))
    text = card_text(files, "--corpus", str(files.corpus))
    assert "- No commercial use of these weights: teacher efficientnet_lite0 (CC BY-NC-SA 4.0) permits none." in text
    assert ModelCard.load(files.output / "README.md").data.license == "cc-by-nc-sa-4.0"


def test_a_run_without_teachers_names_its_strategy(files):
    (files.run / "teachers.json").unlink()
    settings = json.loads((files.run / "run.json").read_text())["settings"]
    files.edit(files.run / "run.json", settings={**settings, "strategy": "mae"}, held_out=[])
    write_log(files, {"step": 50, "loss/pixels": 0.875}, {"step": 100, "loss/pixels": 0.75})
    files.write_records([record for record in files.records() if record["model_role"] != "teacher"])
    text = card_text(files)
    assert "without labels and without teachers (mae), on 1,600 augmented views." in text
    assert "| objective | masked autoencoder:" in text
    assert text.count("| loss/pixels |") == 1
    assert "| loss/pixels | 0.750 |" in text
    assert "## Teachers" not in text
    assert "What the teachers cannot see" not in text


def test_quick_diagnostics_beside_agreement_are_shown(files):
    write_log(files, {"step": 100, "teacher": "lite", "loss": 1.0}, {"step": 100, "diagnostics/rank": 4.5})
    text = card_text(files)
    assert "| lite | dense | 0.375 | 0.475 |" in text
    assert "| diagnostics/rank | 4.500 |" in text


def test_a_known_device_has_an_energy_estimate(files):
    files.edit(
        files.run / "run.json",
        hardware={"device": "NVIDIA H100 80GB HBM3", "processes": 8, "threads": 4},
        seconds=7200,
    )
    assert "| energy | about 17.7 kWh = 8 x 700 W (most that the maker states for NVIDIA H100" in card_text(files)


def test_results_of_others_stand_apart_with_their_sources(files):
    assert "Reported elsewhere" not in card_text(files)
    files.write_records([{**record, "task": "phase_cholec80"} for record in files.records()[:5]])
    text = card_text(files)
    assert "### Reported elsewhere" in text
    assert "unless the protocol is the same**" in text
    row = (
        "| phase_cholec80 | SurgeNetXL | accuracy | 73.2 | frozen backbone, linear probe | LemonFM paper (CVPR 2026) |"
    )
    assert f"{row} second hand |" in text


def test_the_ledger_names_test_cases_that_were_trained_on(files):
    shutil.rmtree(files.corpus)
    write_corpus(files.corpus, {"a1": ("cholec80/video41",), "h1": ("cholec80/<i>video50",)})
    facts = json.loads((files.corpus / "curation.json").read_text())
    files.edit(files.corpus / "curation.json", overlaps={"possible": {"SurgeNetXL": ["cholec80"]}})
    run_corpus = json.loads((files.run / "corpus.json").read_text())
    assert run_corpus["fingerprint"] != facts["fingerprint"]  # overlaps are part of the manifest
    files.edit(files.run / "corpus.json", fingerprint=facts["fingerprint"])
    text = card_text(files, "--corpus", str(files.corpus))
    assert "| cholec80 | 1 | 6 | 1 | video41 |" in text
    assert "- SurgeNetXL is known to hold cholec80, whose cases cannot be told by name." in text


def test_what_was_not_measured_is_said(files):
    skip = Skip("cvs_synthetic", "lora", "", "", "its <script>data</script> is missing", "2026-01-01T00:00:00+00:00")
    append_skips(files.results, [skip])
    assert "- cvs_synthetic, lora: its &lt;script&gt;data&lt;/script&gt; is missing" in card_text(files)


def test_hostile_names_in_records_cannot_act(files):
    bad = "x](javascript:1)<img src=x onerror=alert(1)>|`$\n# y"
    records = [
        {
            **record,
            "variant": f"v {bad}",
            "task": f"t {bad}",
            "dataset": f"d {bad}",
            "model": record["model"] + bad,
            "probe": f"p {bad}",
            "split": {**record["split"], "source": f"s {bad}"},
        }
        for record in files.records()[:5]
    ]
    files.write_records(records)
    text = card_text(files)
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(
        ModelCard.load(files.output / "README.md").text
    )
    for element in ("<img src=x", "javascript:1)</a>", 'href="javascript'):
        assert element not in page
    assert page.count("<h1>") == 1
    assert ModelCard(text).data.eval_results[0].task_name.startswith("t x](javascript:1)")
