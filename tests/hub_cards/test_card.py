"""The card command: from records to a folder that loads, with a card whose code runs and whose figures are recorded."""

import getpass
import json
import re
import socket
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from transformers import AutoModel, dynamic_module_utils

from hub_cards import assembly
from hub_cards.card import main
from training.errors import UserError


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """The card of the finished run with its corpus, made once."""
    output = tmp_path_factory.mktemp("made") / "my-zen"
    main([str(finished.run), str(finished.results), "--output", str(output), "--corpus", str(finished.corpus)])
    return output


def text_of(folder) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_leaves_exactly_the_model_the_card_and_the_picture(made, finished):
    model = {path.name for path in (finished.run / "hub").iterdir()}
    assert {path.name for path in made.iterdir()} == model | {
        "README.md",
        "dense_pca.png",
        "card.json",
        ".eval_results",
    }
    assert len(list((made / ".eval_results").iterdir())) == 3


def test_metadata_is_what_the_hub_reads(made):
    data = ModelCard.load(made / "README.md").data
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "image-feature-extraction"
    assert data.license == "cc-by-4.0"
    assert data.model_name == "ZEN nano"
    assert [(each.task_name, each.metric_value) for each in data.eval_results] == [
        ("presence_synthetic", 0.61),
        ("presence_synthetic", 0.61),
        ("segmentation_synthetic", 0.61),
    ]
    assert data.eval_results[0].metric_args["floors"]["histogram"] == 0.6


@pytest.mark.parametrize(
    "part",
    [
        "# ZEN nano",
        "**Not a medical device.**",
        "not its authors' code, weights or numbers",
        "![Held-out frames beside the main directions of dense tokens](dense_pca.png)",
        "## Out of scope: clinical use",
        "| dinov2-small | apache-2.0 | permissive: keep the notices, state changes | summary and dense tokens, 224 ×",
        "dinov2-small: <https://huggingface.co/facebook/dinov2-small>, commit `ffffffffff",
        "| frames | 18 | 12 |",
        "| black | 2 | 6 |",
        "| videos | CC BY 4.0 | 30 | 10 | 5 |",
        "| time | 1 min 15 s |",
        "| hardware | CPU (x86_64), 1 process, 2 CPU threads |",
        "| seed | 7 |",
        "| lite | dense | 0.375 | 0.475 |",
        "| **ZEN nano** | 0.610 (0.560 to 0.660) | – |",
        "| efficientnet_lite0 (teacher) | 0.660 (0.610 to 0.710) | −0.050 (−0.090 to −0.010) |",
        "- No difference from color histogram is shown in 3 of 3 comparisons: presence_synthetic",
        "**cc-by-4.0**, because cc-by-4.0 is the most restrictive licence among the inputs: corpus source videos.",
        "| benchmark | scikit-learn 1.9.1, torch 2.14.1; on cpu |",
        "synthetic, default split (folders train and test of the dataset), 2 test cases.",
        "| synthetic | default | 2 | 0 |",
        "The manifest names no clip as a test case of a public data set.",
        "Hyper-parameters: train folds by case (mAP).",
        "| energy | not estimated: the power of CPU (x86_64) is not recorded |",
        "- No input forbids commercial use, derivation or sharing; notices and credit are kept.",
        "eprint = {2602.13633}",
    ],
)
def test_card_says(made, part):
    assert part in text_of(made)


def test_names_are_inert_in_the_rendered_card(made):
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(ModelCard.load(made / "README.md").text)
    assert "sleeve &lt;b&gt;gastrectomy&lt;/b&gt;" in page
    for element in ("<script", "<img src=x", "<b>", "javascript:"):
        assert element not in page
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    assert len(rows) > 30


def test_its_code_runs_as_printed(made, monkeypatch, tmp_path):
    monkeypatch.chdir(made.parent)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", text_of(made), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["output"].pooler_output.shape == (1, 32)
    dense = names["model"].dense_tokens(names["output"].last_hidden_state, 32, 32)
    assert dense.shape == (1, 32, 2, 2)
    pooled = names["features"](names["image"], pool=True)
    torch.testing.assert_close(torch.tensor(pooled), names["output"].pooler_output)


def test_the_folder_loads_as_the_run_did(made, finished):
    loaded, trained = (AutoModel.from_pretrained(folder).state_dict() for folder in (made, finished.run / "hub"))
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[key], trained[key]) for key in loaded)


def test_nothing_of_this_machine_is_published(made, finished):
    folders = [str(finished.run.parent), str(made.parent)]
    machine = re.compile(rf"\b({re.escape(socket.gethostname())}|{re.escape(getpass.getuser())})\b")
    for path in filter(Path.is_file, made.rglob("*")):
        assert not any(folder.encode() in path.read_bytes() for folder in folders), path.name
        if path.suffix in {".md", ".json", ".yaml"}:
            assert not machine.search(path.read_text(encoding="utf-8")), path.name


def test_a_second_run_gives_the_same_folder(files, capsys):
    main(files.card())
    first = {path: path.read_bytes() for path in files.output.rglob("*") if path.is_file()}
    main(files.card())
    assert {path: path.read_bytes() for path in files.output.rglob("*") if path.is_file()} == first
    assert "my-zen" in capsys.readouterr().out


def test_without_the_corpus_there_is_no_picture_and_the_licence_is_open(files):
    main(files.card())
    text = text_of(files.output)
    assert not (files.output / "dense_pca.png").exists()
    assert "dense_pca" not in text
    assert "| splits.held_out.frames | 12 |" in text
    assert "the corpus, which was not at hand (not recorded)" in text
    assert yaml.safe_load(text.split("---")[1])["license"] == "other"


def test_a_run_without_held_out_cases_says_so(files):
    files.edit(files.run / "run.json", held_out=[])
    main(files.card())
    assert "Nothing was measured on held-out cases at the end of the run." in text_of(files.output)


@pytest.mark.parametrize("keys", [("seconds",), ("parameters", "student"), ("settings", "seed"), ("held_out",)])
def test_a_figure_that_no_record_holds_stops_it(files, keys):
    path = files.run / "run.json"
    content = json.loads(path.read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"run.json has no '{'.'.join(keys)}'"):
        main(files.card())
    assert not files.output.exists()


def test_other_weights_are_refused_and_nothing_is_written(files):
    records = files.records()
    for record in records:
        if record["paired"]:
            record["paired"]["against_sha256"] = "f" * 64
        else:
            record["backbone"]["weights_sha256"] = "f" * 64
    files.write_records(records)
    with pytest.raises(UserError, match=r"is about weights ffffffffffff, but this run's model has"):
        main(files.card())
    assert not files.output.exists()


def test_user_errors(files, monkeypatch):
    with pytest.raises(UserError, match="the following arguments are required: --output"):
        main([str(files.run), str(files.results)])
    with pytest.raises(UserError, match="unrecognized arguments: --corpuss"):
        main(files.card("--corpuss", str(files.corpus)))
    with pytest.raises(UserError, match="--teacher is for the picture of held-out frames, which needs --corpus"):
        main(files.card("--teacher", "dinov2-small"))
    with pytest.raises(UserError, match=r"corpus folder .* does not exist"):
        main(files.card("--corpus", str(files.corpus / "elsewhere")))
    monkeypatch.setattr(assembly, "load_teacher", lambda name: StrangeTeacher())
    with pytest.raises(UserError, match="--teacher 'x' did not teach this model; its teachers are efficientnet_lite0"):
        main(files.card("--corpus", str(files.corpus), "--teacher", "x"))
    monkeypatch.setattr(assembly, "load_teacher", lambda name: SummaryTeacher())
    with pytest.raises(UserError, match="--teacher 'x' gives no dense tokens"):
        main(files.card("--corpus", str(files.corpus), "--teacher", "x"))
    assert not files.output.exists()


class StrangeTeacher:
    def identity(self):
        return {"weights_sha256": "c" * 64}


class SummaryTeacher:
    dense_width = None

    def identity(self):
        return {"weights_sha256": "a" * 64}
