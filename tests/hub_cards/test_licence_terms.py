"""What licences imply for the weights."""

import pytest

from hub_cards.licence_terms import implications

CODE = ("the code of this project", "apache-2.0")


def test_where_nothing_restricts_that_is_said():
    assert implications([CODE, ("corpus source a", "CC BY 4.0")]) == [
        "No input forbids commercial use, derivation or sharing; notices and credit are kept."
    ]


@pytest.mark.parametrize(
    ("licence", "begin"),
    [
        ("cc-by-nc-4.0", ["No commercial use of these weights: teacher t (cc-by-nc-4.0) permits none."]),
        (
            "CC BY-NC-SA 4.0",
            ["No commercial use", "Share alike: what is adapted from teacher t (CC BY-NC-SA 4.0) keeps"],
        ),
        ("CC BY-NC-ND 4.0", ["No derivatives: teacher t (CC BY-NC-ND 4.0) forbids sharing", "No commercial use"]),
        ("gpl-3.0", ["Share alike"]),
        (None, ["Not recorded is the licence of teacher t: assume that nothing is permitted."]),
        ("unknown", ["Not recorded is the licence of teacher t (unknown)"]),
        ("dinov3-license", ["Terms of its own has teacher t (dinov3-license): read them"]),
        ("for non-commercial research only", ["No commercial use"]),
    ],
)
def test_a_restriction_names_its_owner(licence, begin):
    found = implications([("teacher t", licence), CODE])
    assert len(found) == len(begin)
    for sentence, start in zip(found, begin, strict=True):
        assert sentence.startswith(start)
