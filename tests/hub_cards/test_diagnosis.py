"""A diagnosis enters the card if it is about its weights."""

import json

import pytest
from safetensors.torch import load_file

from hub_cards.card import main
from hub_cards.diagnosis import Line, read_diagnosis
from hub_cards.run_records import read_run
from training.errors import UserError
from training.teachers.checkpoint import hash_weights

MODELS = [{"name": "student", "role": "student"}, {"name": "random init", "role": "random_init"}]


@pytest.fixture
def diagnosis(files, tmp_path):
    """diagnosis.json as `training.diagnose` writes it, cut to what a card reads."""
    row = {"measure": "rank_me", "tokens": "frame", "value": 9.5, "model": "student"}
    record = {
        "made_by": "training.diagnose",
        "checkpoint": {"weights_sha256": hash_weights(load_file(files.run / "hub" / "model.safetensors"))},
        "corpus": {"fingerprint": read_run(files.run).corpus["fingerprint"]},
        "frames": {"held_out": 12, "videos": 2},
        "models": MODELS,
        "measures": [
            row,
            {**row, "model": "random init", "value": 3.25},
            {**row, "measure": "positional_leak", "tokens": "dense", "value": 0.125},
            {**row, "measure": "lidar"},  # none of the main figures
            *({**row, "measure": "pck", "tokens": "dense", "model": each["name"], "value": 0.5} for each in MODELS),
        ],
    }
    path = tmp_path / "diagnosis.json"
    path.write_text(json.dumps(record))
    return path


def test_main_figures_by_model(files, diagnosis):
    found = read_diagnosis(diagnosis, read_run(files.run))
    assert found.models == ("student", "random init")
    assert found.lines == (
        Line("rank_me, frame", (9.5, 3.25)),
        Line("positional_leak, dense", (0.125, None)),
        Line("pck, dense", (0.5, 0.5)),
    )
    assert found.findings() == ["In the diagnosis the student is not above random weights (no test) in: pck, dense."]
    assert (found.frames, found.videos, found.own_corpus) == (12, 2, True)


def test_the_card_shows_them(files, diagnosis):
    main(files.card("--diagnosis", str(diagnosis)))
    text = (files.output / "README.md").read_text(encoding="utf-8")
    assert "On 12 frames of 2 held-out videos of the corpus it was trained on." in text
    assert "| measure | student | random init |\n|---|---:|---:|\n| rank me, frame | 9.500 | 3.250 |\n" in text
    assert "| positional leak, dense | 0.125 | – |" in text
    assert "- In the diagnosis the student is not above random weights (no test) in: pck, dense." in text


def test_a_diagnosis_of_other_weights_or_programs_is_refused(files, diagnosis):
    run = read_run(files.run)
    files.edit(diagnosis, corpus={"fingerprint": "f" * 64})
    assert not read_diagnosis(diagnosis, run).own_corpus
    files.edit(diagnosis, checkpoint={"weights_sha256": "e" * 64})
    with pytest.raises(UserError, match=r"is about weights eeeeeeeeeeee, but this run's model has .*; diagnose "):
        read_diagnosis(diagnosis, run)
    files.edit(diagnosis, checkpoint={})
    with pytest.raises(UserError, match=r"has no 'checkpoint.weights_sha256'"):
        read_diagnosis(diagnosis, run)
    files.edit(diagnosis, made_by="someone")
    with pytest.raises(UserError, match=r"was not made by training.diagnose"):
        read_diagnosis(diagnosis, run)
    with pytest.raises(UserError, match=r"does not exist"):
        read_diagnosis(diagnosis.with_name("other.json"), run)
