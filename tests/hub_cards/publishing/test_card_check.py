"""Cards that the Hub cannot read, and licences that their inputs do not permit."""

import pytest

from hub_cards.publishing.card_check import check_card, check_licence, read_front_matter
from hub_cards.publishing.kinds import KINDS
from training.errors import UserError

GOOD = {"license": "mit", "library_name": "transformers", "pipeline_tag": "image-feature-extraction"}


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("", "has no metadata: it must begin with YAML between two lines '---'"),
        ("# Card", "has no metadata"),
        ("---\nlicense: mit\n", "has no metadata"),
        ("---\nlicense: mit\na: [1\n---\ntext", "is not valid YAML near line 3"),
        ("---\n- mit\n---\ntext", "is not a list of keys and values"),
        ("---\nlicense: mit\n---\n\n", "has metadata but no text"),
    ],
)
def test_broken_cards(card, message):
    with pytest.raises(UserError, match=rf"README.md {message}"):
        read_front_matter(card)


def test_a_whole_card():
    assert read_front_matter("---\nlicense: mit\n---\n# ZEN\n") == {"license": "mit"}


@pytest.mark.parametrize("key", GOOD)
def test_missing_keys(key):
    check_card(GOOD, KINDS["model"])
    for value in (None, "", 3):
        with pytest.raises(UserError, match=f"has no '{key}', which a model must state"):
            check_card({**GOOD, key: value}, KINDS["model"])
    with pytest.raises(UserError, match="license 'other' without a license_name"):
        check_card({**GOOD, "license": "other"}, KINDS["model"])


@pytest.mark.parametrize("stated", ["apache-2.0", "mit", "cc-by-4.0"])
def test_a_teacher_without_commercial_use_binds_the_model(stated):
    inputs = [("teacher a", "Apache-2.0"), ("teacher b", "CC BY-NC 4.0")]
    with pytest.raises(UserError, match=r"teacher b \(CC BY-NC 4.0\) permits no commercial use, but README.md states"):
        check_licence(stated, inputs, "whatever is said")
    check_licence("cc-by-nc-4.0", inputs, None)
    check_licence("cc-by-nc-sa-4.0", inputs, None)


@pytest.mark.parametrize("licence", [None, "unknown", "my own terms", "dinov3-license"])
def test_unclear_terms_need_a_word(licence):
    with pytest.raises(UserError, match=r"of teacher a \(.*\) is not known or has terms of its own: read it"):
        check_licence("mit", [("teacher a", licence)], None)
    check_licence("mit", [("teacher a", licence)], "asked its maker")


def test_no_derivatives_need_a_word():
    with pytest.raises(UserError, match=r"of teacher a \(cc-by-nd-4.0\) forbids derivatives"):
        check_licence("mit", [("teacher a", "cc-by-nd-4.0")], None)


def test_other_needs_a_word():
    with pytest.raises(UserError, match="states license 'other', as the terms of an input are unclear"):
        check_licence("other", [("teacher a", "mit")], None)
    check_licence("other", [("teacher a", "mit")], "asked")
