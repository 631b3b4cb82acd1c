"""The list of filters that a run uses."""

from dataclasses import fields, replace

from training.corpus.filters import FilterSettings, build_filters


def enabled(**switched: bool) -> list[str]:
    settings = FilterSettings()
    changed = {name: replace(getattr(settings, name), enabled=on) for name, on in switched.items()}
    return [judge.name for judge in build_filters(replace(settings, **changed))]


def test_the_order_of_the_settings_is_the_order_of_precedence():
    names = [field.name for field in fields(FilterSettings) if field.name != "cuts"]  # drops nothing
    assert enabled(**dict.fromkeys(names, True)) == names
    assert names == ["black", "white", "frozen", "out_of_body", "screen", "blur", "duplicate", "trim"]


def test_disabled_filters_are_left_out():
    assert enabled(black=True, frozen=False) == [name for name in enabled(black=True, frozen=True) if name != "frozen"]
    assert "black" not in enabled(black=False)
