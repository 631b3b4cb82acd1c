"""Facts of the model card that the whole command does not show."""

from hub_cards.model_card import flatten


def test_flatten():
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == [("a", 1), ("b.c", 2), ("b.d.e", 3)]
