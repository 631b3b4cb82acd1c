"""From rendered clips to a stranger on the Hub who measures again what the card says."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.records import read_records

from .documents.demo import demo_commands
from .documents.running import CHECKOUT, run_steps, start_runner
from .hub_server import HubServer
from .hub_server.processes import environment

TOKEN = "hf_" + "w" * 34
MODEL = "org/zen-demo"


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The folder that `make demo` leaves, in small."""
    folder = tmp_path / "world"
    (folder / "training").mkdir(parents=True)
    (folder / "training" / "recipes").symlink_to(CHECKOUT / "training" / "recipes")
    with start_runner(tmp_path / "huggingface") as runner:
        run_steps(CHECKOUT / "Makefile", demo_commands(), folder, runner)
    return folder / "runs" / "demo"


def call(module: str, *words: object, server: HubServer, home: Path, **more: str) -> str:
    """What a command prints in a process of its own, with an empty cache."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env=environment(server, home, PYTHONPATH=str(CHECKOUT), **more),
        cwd=home.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def claims(card: bytes) -> dict[tuple[str, str], dict[str, Any]]:
    """What the metadata of a card says of the frozen probes, by task and probe."""
    (model,) = yaml.safe_load(card.decode().split("---\n")[1])["model-index"]
    metrics = [(result["dataset"]["config"], metric) for result in model["results"] for metric in result["metrics"]]
    return {(task, metric["args"]["probe"]): metric for task, metric in metrics}


@pytest.mark.timeout(600)
def test_a_published_demo_gives_a_stranger_the_figures_of_its_card(demo: Path, tmp_path: Path) -> None:
    with HubServer() as server:
        server.tokens[TOKEN] = "write"
        publish = (demo, "--repo-id", MODEL)
        said = call("hub_cards.publish", *publish, server=server, home=tmp_path / "publisher", HF_TOKEN=TOKEN)
        assert f"published: {server.address}/{MODEL}/commit/" in said
        repository = server.repositories["model", MODEL]
        data = {name: shutil.move(demo / name, tmp_path / name) for name in ("synthetic", "corpus", "teachers")}
        shutil.rmtree(demo)  # the model is on the Hub alone
        results = tmp_path / "results.jsonl"
        measure = ["--model", MODEL, "--tasks", "found", "--protocols", "frozen", "--probes", "knn", "linear"]
        measure += ["--teachers", *sorted(Path(data["teachers"]).iterdir()), "--corpus", data["corpus"]]
        measure += ["--data-root", data["synthetic"], "--image-size", "64", "--output", results]
        call("evaluation.benchmark", *measure, server=server, home=tmp_path / "stranger")

    said_of = claims(repository.files()["README.md"])
    found = {
        (record.task, record.probe): record
        for record in read_records(results)
        if record.model_role == "student" and record.primary
    }
    assert set(found) == set(said_of) != set()
    assert {task for task, _ in found} == {"presence_synthetic", "segmentation_synthetic", "teacher_agreement"}
    for key, record in found.items():
        claim = said_of[key]
        low, high = claim["args"]["interval_95"]
        assert low <= record.value <= high, key
        assert record.value == pytest.approx(claim["value"], abs=1e-6), key
        assert record.backbone.id == MODEL
        assert record.backbone.revision == repository.branches["main"]
