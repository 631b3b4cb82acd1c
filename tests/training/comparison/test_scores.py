import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from training.comparison.cost import Cost
from training.comparison.plot import draw
from training.comparison.runs import Finished
from training.comparison.scores import Measure, read_scores
from training.comparison.table import to_json, to_markdown
from training.errors import UserError

PHASE = Measure("phase", "knn", "accuracy", "balanced")


def record(role: str, model: str, value: float, interval: tuple[float, float] | None, **changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 2,
        "task": "phase",
        "probe": "knn",
        "metric": "accuracy",
        "variant": "balanced",
        "model": model,
        "model_role": role,
        "value": value,
        "interval": interval,
        "backbone": {"weights_sha256": model},
        **changes,
    }


def finished(folder: Path, recipe: str, seed: int, records: list[dict[str, Any]], seconds: float = 10) -> Finished:
    path = folder / f"{recipe}-{seed}.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    config = SimpleNamespace(seed=seed, strategy=recipe)
    run = SimpleNamespace(recipe=recipe, config=config, frames=1000)
    cost = Cost(teachers_per_view=3e9, learning_per_frame=1e9, views_taught=500, frames=1000)
    return Finished(cast(Any, run), seconds, cost, path)


@pytest.fixture
def two_seeds(tmp_path: Path) -> list[Finished]:
    floors = [record("random_init", "random init", 0.2, (0.1, 0.3)), record("histogram", "color histogram", 0.25, None)]
    return [
        finished(tmp_path, "mae", 0, [record("student", "m0", 0.5, (0.4, 0.6)), *floors], 10),
        finished(tmp_path, "mae", 1, [record("student", "m1", 0.7, (0.5, 0.8)), *floors], 20),
        finished(tmp_path, "dino", 0, [record("student", "d0", 0.4, (0.3, 0.5)), *floors]),
        finished(tmp_path, "dino", 1, [record("student", "d1", 0.4, (0.3, 0.5)), *floors]),
    ]


def test_seeds_are_averaged_and_floors_stand_once(two_seeds: list[Finished]) -> None:
    scores = read_scores(two_seeds)
    assert list(scores) == [PHASE]
    assert list(scores[PHASE]) == ["mae", "dino", "random init", "color histogram"]
    mae = scores[PHASE]["mae"]
    assert (mae.value, mae.values) == (pytest.approx(0.6), (0.5, 0.7))
    assert (mae.low, mae.high) == (pytest.approx(0.45), pytest.approx(0.7))
    assert scores[PHASE]["color histogram"].low is None
    assert len(scores[PHASE]["random init"].values) == 1


def test_floors_of_two_students_are_told_apart(tmp_path: Path) -> None:
    def floor(weights: str) -> dict[str, Any]:
        return record("random_init", "random init", 0.2, None, backbone={"weights_sha256": weights})

    runs = [finished(tmp_path, recipe, 0, [floor(weights)]) for recipe, weights in (("mae", "a"), ("dino", "b"))]
    assert list(read_scores(runs)[PHASE]) == ["random init (mae)", "random init (dino)"]


def test_table_by_hand(two_seeds: list[Finished]) -> None:
    lines = to_markdown(two_seeds, read_scores(two_seeds)).splitlines()
    assert lines[0] == "|  | mae | dino | random init | color histogram |"
    assert "| seconds | 15 | 10 |  |  |" in lines
    # 1e9 a frame and 3e9 for every other frame: 2.5e9 a frame, 60 % of it for teachers, 2.5e12 in all
    assert "| GFLOP per frame | 2.50 | 2.50 |  |  |" in lines
    assert "| of it teachers | 60% | 60% |  |  |" in lines
    assert "| PFLOP in all | 0.0025 | 0.0025 |  |  |" in lines
    assert (
        "| phase, knn: accuracy (balanced) | **0.600** ±0.100 [0.450, 0.700] | 0.400 ±0.000 [0.300, 0.500] "
        "| 0.200 [0.100, 0.300] | 0.250 |" in lines
    )
    assert "averaged over 2 seeds" in lines[-3]
    assert lines[-1] == "- accuracy: balanced"


def test_json_holds_every_run_and_score(two_seeds: list[Finished]) -> None:
    content = json.loads(json.dumps(to_json(two_seeds, read_scores(two_seeds))))
    assert [(run["recipe"], run["seed"], run["seconds"]) for run in content["runs"]][:2] == [
        ("mae", 0, 10), ("mae", 1, 20)
    ]  # fmt: skip
    assert content["runs"][0]["flop"]["total"] == 2.5e12
    assert content["scores"][0] == {
        "task": "phase", "probe": "knn", "metric": "accuracy", "variant": "balanced", "model": "mae",
        "value": pytest.approx(0.6), "values": [0.5, 0.7], "interval": [pytest.approx(0.45), pytest.approx(0.7)],
    }  # fmt: skip


def test_plot_shows_every_model_and_measure(two_seeds: list[Finished], tmp_path: Path) -> None:
    draw(read_scores(two_seeds), ["mae", "dino"], tmp_path / "plot")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    first = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    shown = ("mae", "dino", "random init", "color histogram", "phase, knn probe")
    assert all(f"<!-- {name} -->" in first for name in shown)
    draw(read_scores(two_seeds), ["mae", "dino"], tmp_path / "plot")
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8") == first


def test_records_of_another_schema_are_refused(tmp_path: Path) -> None:
    run = finished(tmp_path, "mae", 0, [record("student", "m", 0.5, None, schema_version=3)])
    with pytest.raises(UserError, match=r"mae-0\.jsonl' are of schema 3, this program reads 2: remove that file"):
        read_scores([run])
