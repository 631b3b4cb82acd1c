"""Rules are applied once each; an error of a family is found before a user meets it."""

import pytest
import torch

from modeling_zen.conversion.mapping import Rule, count_layers, map_weights, only_read, renamed, same


def test_own_memory_and_float32() -> None:
    weights = {"qkv": torch.arange(6, dtype=torch.float16)}
    rule = Rule((("qkv", (6,)),), ("q", "k"), lambda stacked: stacked.chunk(2))
    state, report = map_weights(weights, [rule], (), "test")
    assert torch.equal(state["k"], torch.tensor([3.0, 4.0, 5.0]))
    assert state["q"].untyped_storage().nbytes() == 12
    assert (report.mapped, report.filled) == (1, 2)


def test_rules_that_collide() -> None:
    weights = {"a": torch.ones(1), "b": torch.ones(1)}
    with pytest.raises(RuntimeError, match="two rules read the same source key"):
        map_weights(weights, [same("a", "x", (1,)), only_read("a", (1,))], (), "test")
    with pytest.raises(RuntimeError, match="two rules fill x"):
        map_weights(weights, [same("a", "x", (1,)), same("b", "x", (1,))], (), "test")


def test_names_that_become_one() -> None:
    weights = {"old.a": torch.ones(1), "new.a": torch.ones(1)}
    with pytest.raises(ValueError, match=r"holds new.a under two names, one of them"):
        renamed(weights, ((r"^old\.", "new."),))


def test_count_layers() -> None:
    assert count_layers(["blocks.0.a", "blocks.10.b", "other.30"], r"blocks\.(\d+)\.") == 11
    assert count_layers(["other"], r"blocks\.(\d+)\.") == 0
