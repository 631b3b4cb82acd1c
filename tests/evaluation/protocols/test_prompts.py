import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.datasets import WORKFLOW_DATASETS, endoscapes
from evaluation.datasets.samples import SAMPLE_DATASETS, Target
from evaluation.protocols.prompts import PROMPTS, load_prompts
from training.corpus.synthetic.vocabulary import INSTRUMENTS
from training.errors import UserError

FILES = sorted(PROMPTS.glob("*.json"))
TARGET = Target("tool", "multi", ("Grasper", "Hook"))


def classes_of_readers() -> dict[str, tuple[str, ...]]:
    """Class names by the name of the file that would hold prompts for them."""
    classes = {
        "synthetic_presence": INSTRUMENTS,
        "endoscapes_presence": endoscapes.STRUCTURES,
        "endoscapes_cvs": endoscapes.CVS_NAMES,
    }
    for dataset in WORKFLOW_DATASETS.names():
        module = importlib.import_module(f"evaluation.datasets.{dataset}")
        classes |= {f"{dataset}_{track.name}": track.classes for track in getattr(module, "TRACKS", ())}
    for dataset in SAMPLE_DATASETS.names():
        target = SAMPLE_DATASETS.get(dataset).target
        classes[f"{dataset}_{target.name}"] = target.classes
    return classes


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_file_names_exactly_the_classes_of_its_reader(file: Path) -> None:
    content = json.loads(file.read_text())
    classes = classes_of_readers()[file.stem]
    assert tuple(content["classes"]) == tuple(classes)
    assert set(content.get("opposites", {})) <= set(classes)
    assert set(content) <= {"source", "templates", "classes", "opposites"}
    dataset, _, name = file.stem.rpartition("_")
    prompts = load_prompts(dataset, Target(name, "single", tuple(classes)))
    assert prompts is not None
    every = [prompts.of(name) for name in classes]
    assert min(map(len, every)) >= 3
    flat = [prompt for own in every for prompt in own]
    assert len(set(flat)) == len(flat)  # no prompt stands for two classes
    assert not any("{" in prompt or "_" in prompt for prompt in flat)


def test_prompts_are_every_template_with_every_phrase(tmp_path: Path) -> None:
    content = {
        "templates": ["an image of {}.", "{}."],
        "classes": {"Grasper": ["a grasper", "forceps"], "Hook": ["a hook"]},
        "opposites": {"Hook": ["no hook"]},
    }
    (tmp_path / "cholec80_tool.json").write_text(json.dumps(content))
    prompts = load_prompts("cholec80", TARGET, tmp_path)
    assert prompts is not None
    assert prompts.of("Grasper") == ["an image of a grasper.", "an image of forceps.", "a grasper.", "forceps."]
    assert prompts.against("Hook") == ["an image of no hook.", "no hook."]
    assert prompts.against("Grasper") == []
    assert load_prompts("cholec80", Target("step", "single", ("a", "b")), tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"are not a JSON object with 'templates' and 'classes'"),
        ({"templates": ["{}"]}, r"are not a JSON object with 'templates' and 'classes' \(KeyError\('classes'\)\)"),
        ({"templates": ["a hook"], "classes": {}}, r"need templates, each with a \{\} for the phrase$"),
        (
            {"templates": ["{}"], "classes": {"Grasper": ["x"], "Hook": []}},
            r"have no phrase for the class 'Hook' of tool; named are Grasper, Hook$",
        ),
    ],
)
def test_files_that_are_not_understood(content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "cholec80_tool.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        load_prompts("cholec80", TARGET, tmp_path)
