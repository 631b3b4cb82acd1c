from pathlib import Path

import pytest

from training.config import load_config
from training.settings import PretrainConfig

RECIPES = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_settings(recipe: Path) -> None:
    teachers = ("efficientnet_lite0", "efficientnet_lite2", "dinov2", "siglip2")
    needed = [f"teachers.{name}.repo=folder" for name in teachers if name in recipe.read_text()]
    config = load_config(PretrainConfig, recipe, ["data.corpus=corpus", "output_dir=run", *needed])
    assert set(config.teachers) == {word.split(".")[1] for word in needed}
    assert recipe.read_text().startswith("# ")
