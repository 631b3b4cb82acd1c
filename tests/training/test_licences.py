"""The licence of weights follows the most restrictive input, and says so when it cannot."""

import pytest

from training.licences import derive, identifier, meaning, restricts


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("Apache License 2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("apache_2.0", "apache-2.0"),
        ("The MIT License", "mit"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        ("CC BY 4.0 International", "cc-by-4.0"),
        ("GPL-3.0", "gpl-3.0"),
        ("GPL v3", "gpl-3.0"),
        ("CC0", "cc0-1.0"),
        ("BSD-3-Clause", "bsd-3-clause"),
        ("unknown", None),
        ("dinov3-license (https://example.org)", None),
        ("", None),
        (None, None),
    ],
)
def test_spellings(written, known):
    assert identifier(written) == known


def test_the_most_restrictive_wins():
    derived = derive([("teacher a", "MIT"), ("corpus b", "CC BY-NC-SA 4.0"), ("code", "Apache-2.0")])
    assert derived.identifier == "cc-by-nc-sa-4.0"
    assert derived.name is None
    assert derived.reason.endswith("among the inputs: corpus b")


def test_permissive_inputs_give_the_licence_of_the_code():
    assert derive([("teacher", "mit"), ("code", "apache-2.0")]).identifier == "apache-2.0"


@pytest.mark.parametrize("licence", ["unknown", None, "dinov3-license"])
def test_an_unclear_input_makes_it_other_and_is_named(licence):
    derived = derive([("teacher a", "MIT"), ("corpus b", licence)])
    assert (derived.identifier, derived.name) == ("other", "see-inputs")
    assert f"corpus b ({licence or 'not recorded'})" in derived.reason


@pytest.mark.parametrize("pair", [("GPL-3.0", "CC BY-NC-SA 4.0"), ("CC BY-SA 4.0", "CC BY-NC 4.0")])
def test_share_alike_licences_that_differ_do_not_mix(pair):
    derived = derive([("a", pair[0]), ("b", pair[1])])
    assert derived.identifier == "other"
    assert "share-alike" in derived.reason


def test_no_input_is_not_a_free_licence():
    assert derive([]).identifier == "other"


def test_meanings():
    assert "no commercial use" in meaning("CC BY-NC 4.0")
    assert "assume that nothing is permitted" in meaning("unknown")
    assert "assume that nothing is permitted" in meaning(None)
    assert "terms of its own" in meaning("dinov3-license")


@pytest.mark.parametrize(
    ("licence", "bound"),
    [
        ("Apache-2.0", False),
        ("CC BY 4.0", False),
        ("CC BY-NC 4.0", True),
        ("gpl-3.0", True),
        ("dinov3-license", True),
        (None, True),
    ],
)
def test_what_binds_a_student(licence: str | None, bound: bool) -> None:
    assert restricts(licence) is bound
