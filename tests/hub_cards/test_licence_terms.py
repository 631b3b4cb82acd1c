"""What licences imply for the weights."""

import pytest

from hub_cards.licence_terms import forbids_commerce, implications, licence_file, licence_keys
from training.licences import derive

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


def test_metadata_of_what_has_one_licence_and_of_what_has_none():
    one = [CODE, ("corpus source a", "CC BY 4.0")]
    assert licence_keys(derive(one), one) == {"license": "cc-by-4.0"}
    unclear = [CODE, ("teacher t", None)]
    named = {"license": "other", "license_name": "see-inputs", "license_link": "LICENSE.md"}
    assert licence_keys(derive(unclear), unclear) == named
    bound = [*unclear, ("teacher u", "cc-by-nc-4.0")]
    keys = licence_keys(derive(bound), bound)
    assert keys == {**named, "license_name": "see-inputs-non-commercial"}
    assert forbids_commerce(keys["license_name"])  # so that what is made from these weights is bound as well


def test_the_file_of_terms_lists_every_input():
    inputs = [CODE, ("teacher t|<b>", None), ("teacher u", "cc-by-nc-4.0")]
    text = licence_file(derive(inputs), inputs)
    assert "| the code of this project | apache-2.0 | permissive: keep the notices, state changes |" in text
    assert "| teacher t\\|&lt;b&gt; | not recorded | not recorded: assume that nothing is permitted" in text
    assert "- No commercial use of these weights: teacher u (cc-by-nc-4.0) permits none." in text
