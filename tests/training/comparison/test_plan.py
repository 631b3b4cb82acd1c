from pathlib import Path

import pytest

from training.comparison.plan import plan_runs
from training.errors import UserError

RECIPES = sorted((Path(__file__).parents[3] / "training" / "recipes" / "compare").glob("*.yaml"))
TEACHERS = ["teachers.efficientnet_lite0.repo=a", "teachers.efficientnet_lite2.repo=b"]


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_shipped_recipes_are_comparable_and_teachers_go_to_those_that_have_them() -> None:
    runs = plan_runs(RECIPES, [*TEACHERS, "max_steps=7"], "corpus", Path("out"), [0, 1])
    assert {run.config.strategy for run in runs} == {"distillation", "dino", "ijepa", "mae", "moco", "supervised"}
    assert [run.name for run in runs[:3]] == ["dino-seed0", "dino-seed1", "distillation-seed0"]
    assert {run.recipe for run in runs if run.config.teachers} == {"distillation"}
    assert {run.frames for run in runs} == {7 * 16}
    assert runs[0].folder == Path("out/runs/dino-seed0")
    assert all(file.read_text().startswith("# ") for file in RECIPES)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            "student: {size: tiny}",
            r"differ in student\.size: 'nano' in a; 'tiny' in b\. Make them .* pass --allow-different student$",
        ),
        (
            "student: {size: nano}\nema_decay: 0.9",
            r"differ in ema_decay: 0\.0 in a; 0\.9 in b\. .* pass --allow-different student$",
        ),
        ("student: {size: nano}\ndata: {views_per_frame: 2}", r"differ in data\.views_per_frame: 0 in a; 2 in b"),
        ("student: {size: nano}\nmax_steps: 5", r"differ in frames seen: 640000 in a; 320 in b\. Make them equal"),
        ("student: {size: nano}\nnum_processes: 2", r"recipe 'b' has num_processes=2: compare starts one"),
        ("strategy: mea", r"unknown strategy 'mea'\. Did you mean 'mae'\? Known: dino, distillation"),
        ("studnt: {}", r"b\.yaml.*studnt"),
    ],
)
def test_what_must_not_differ(other: str, message: str, tmp_path: Path) -> None:
    first = write(tmp_path, "a", "strategy: mae\nstudent: {size: nano}")
    second = write(tmp_path, "b", other if "strategy" in other else f"strategy: moco\n{other}")
    with pytest.raises(UserError, match=message):
        plan_runs([first, second], ["max_steps=10"] if "max" not in other else ["log.every=1"], "c", tmp_path, [0])


def test_it_may_differ_when_that_is_asked(tmp_path: Path) -> None:
    first = write(tmp_path, "a", "strategy: mae\nmax_steps: 10\nstudent: {size: nano}")
    second = write(tmp_path, "b", "strategy: moco\nmax_steps: 5\nstudent: {size: tiny}")
    assert len(plan_runs([first, second], [], "c", tmp_path, [0], ["student", "frames"])) == 2


def test_names_and_files_are_checked(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    same = [write(tmp_path, "a", "strategy: mae"), write(tmp_path / "more", "a", "strategy: moco")]
    with pytest.raises(UserError, match=r"two recipes are called 'a': rename one, their runs would share a folder"):
        plan_runs(same, [], "c", tmp_path, [0])
    with pytest.raises(UserError, match=r"config file '.*nowhere\.yaml' does not exist"):
        plan_runs([tmp_path / "nowhere.yaml"], TEACHERS, "c", tmp_path, [0])
