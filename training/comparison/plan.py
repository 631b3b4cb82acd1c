"""Which runs a comparison consists of, and that they may be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import load_config, merge_config, to_plain
from training.errors import UserError
from training.objectives import STRATEGIES
from training.settings import PretrainConfig

ASPECTS = ("student", "data", "frames")  # what must not differ unless asked


@dataclass(frozen=True)
class Run:
    """One training of one recipe."""

    recipe: str  # name of its file, without the ending
    file: Path
    words: tuple[str, ...]  # settings that win over the recipe
    config: PretrainConfig

    @property
    def name(self) -> str:
        """Recipe and seed."""
        return f"{self.recipe}-seed{self.config.seed}"

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.config.output_dir)

    @property
    def frames(self) -> int:
        """Frames that it sees."""
        return self.config.max_steps * self.config.frames_per_step


def plan_runs(
    recipes: Sequence[Path],
    overrides: Sequence[str],
    corpus: str,
    output: Path,
    seeds: Sequence[int],
    allowed: Sequence[str] = (),
) -> list[Run]:
    """Every recipe with every seed, recipe by recipe.

    Args:
        recipes: YAML files.
        overrides: `key=value` for all of them; those of `teachers` only for strategies that have teachers.
        corpus: to train on.
        output: folder of the comparison.
        seeds: of the trainings.
        allowed: of `ASPECTS`, in which the recipes may differ.

    Raises:
        UserError: a wrong recipe or word, two recipes of one name, or recipes that differ in what they must not.
    """
    names = [file.stem for file in recipes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two recipes are called {name!r}: rename one, their runs would share a folder")
    runs = []
    for file in recipes:
        shared = tuple(word for word in overrides if not word.startswith("teachers.") or _has_teachers(file, overrides))
        for seed in seeds:
            folder = output / "runs" / f"{file.stem}-seed{seed}"
            words = (*shared, f"data.corpus={corpus}", f"seed={seed}", f"output_dir={folder}")
            runs.append(Run(file.stem, file, words, load_config(PretrainConfig, file, list(words))))
    for run in runs:
        if run.config.num_processes != 1:
            raise UserError(f"recipe {run.recipe!r} has num_processes={run.config.num_processes}: compare starts one")
    for aspect in ASPECTS:
        if aspect not in allowed:
            refuse_difference(aspect, {run.recipe: _facts(run, aspect) for run in runs})
    return runs


def refuse_difference(aspect: str, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """`UserError` that names the first setting in which recipes differ.

    Args:
        aspect: of `ASPECTS`.
        facts: settings by recipe.
    """
    first = next(iter(facts.values()))
    for key in first:
        values: dict[str, list[str]] = {}
        for recipe, own in facts.items():
            values.setdefault(repr(own[key]), []).append(recipe)
        if len(values) > 1:
            shown = "; ".join(f"{value} in {', '.join(recipes)}" for value, recipes in values.items())
            raise UserError(
                f"the recipes differ in {key}: {shown}. Make them equal, or pass --allow-different {aspect}"
            )


def _facts(run: Run, aspect: str) -> dict[str, Any]:
    """Settings that belong to an aspect."""
    config = to_plain(run.config)
    if aspect == "frames":
        return {"frames seen": run.frames}
    if aspect == "data":
        return {f"data.{key}": value for key, value in config["data"].items() if key != "workers"}
    student = {f"student.{key}": value for key, value in config["student"].items()}
    return student | {key: config[key] for key in ("stages", "ema_decay", "mixed_precision")}


def _has_teachers(file: Path, overrides: Sequence[str]) -> bool:
    """Whether the strategy of a recipe has teachers."""
    return STRATEGIES.get(merge_config(PretrainConfig, file, list(overrides)).strategy).needs_teachers
