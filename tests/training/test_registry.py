import pytest

from training.errors import UserError
from training.registry import Registry


def test_unknown_name_lists_the_right_ones() -> None:
    registry: Registry[int] = Registry("teacher")
    registry.register("dino_small")(1)
    registry.register("dino_base")(2)
    assert registry.get("dino_base") == 2
    assert registry.names() == ["dino_base", "dino_small"]
    with pytest.raises(
        UserError, match=r"unknown teacher 'dino_smal'\. Did you mean 'dino_small'\? Known: dino_base, "
    ):
        registry.get("dino_smal")


def test_second_registration_names_both_files() -> None:
    registry: Registry[int] = Registry("loss")
    registry.register("mse")(1)
    with pytest.raises(
        ValueError, match=r"loss 'mse' is registered twice: in .*test_registry\.py and in .*test_registry"
    ):
        registry.register("mse")(2)
