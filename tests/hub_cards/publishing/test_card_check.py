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
        ("---\nlicense: mit\nlicense: cc-by-nc-4.0\n---\ntext", "is not valid YAML near line 2"),
        ("---\nlicense: !!python/object/apply:os.getcwd []\n---\ntext", "is not valid YAML near line 2"),
    ],
)
def test_broken_cards(card, message):
    with pytest.raises(UserError, match=rf"README.md {message}"):
        read_front_matter(card)


def test_a_whole_card():
    assert read_front_matter("---\nlicense: mit\n---\n# ZEN\n") == {"license": "mit"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_block_ends_where_the_hub_ends_it(end):
    card = end.join(["---", "license: mit", "a: b", "---", "# ZEN"])
    assert read_front_matter(card)["license"] == "mit"


@pytest.mark.parametrize("key", GOOD)
def test_missing_keys(key):
    check_card(GOOD, KINDS["model"], ())
    for value in (None, "", 3, True, ["mit"]):
        with pytest.raises(UserError, match=f"has no '{key}', which a model must state"):
            check_card({**GOOD, key: value}, KINDS["model"], ())


def test_other_is_named_and_linked():
    other = {**GOOD, "license": "other"}
    with pytest.raises(UserError, match="has no 'license_name', which license 'other' must state"):
        check_card(other, KINDS["model"], ())
    other["license_name"] = "see-inputs"
    with pytest.raises(UserError, match="has no 'license_link', which license 'other' must state"):
        check_card(other, KINDS["model"], ())
    for link in ("LICENSE.md", "javascript:alert(1)", "http://host/x", "https://host/x y", "../LICENSE"):
        with pytest.raises(UserError, match=r"license_link '.*' of README.md is neither LICENSE.md beside it nor an"):
            check_card({**other, "license_link": link}, KINDS["model"], ())
    check_card({**other, "license_link": "LICENSE.md"}, KINDS["model"], {"LICENSE.md"})
    check_card({**other, "license_link": "https://host.example/a/b.md#c"}, KINDS["model"], ())


def check(stated, inputs, accepted, text="Of frames.", name="see-inputs"):
    metadata = {"license": stated} | ({"license_name": name} if stated == "other" else {})
    check_licence(metadata, f"---\nlicense: {stated}\nlicense_name: {name}\n---\n{text}", inputs, accepted)


@pytest.mark.parametrize("stated", ["apache-2.0", "mit", "cc-by-4.0"])
def test_a_teacher_without_commercial_use_binds_the_model(stated):
    inputs = [("teacher a", "Apache-2.0"), ("teacher b", "CC BY-NC 4.0")]
    with pytest.raises(UserError, match=r"teacher b \(CC BY-NC 4.0\) permits no commercial use, but README.md states"):
        check(stated, inputs, "whatever is said")
    with pytest.raises(UserError, match=r"permits no commercial use, but README.md states license '.*': state a non-c"):
        check("other", inputs, "whatever is said", "No commercial use.", name=stated)
    check("cc-by-nc-4.0", inputs, None)
    check("cc-by-nc-sa-4.0", inputs, None)


def test_other_does_not_pass_a_teacher_without_commercial_use():
    inputs = [("teacher b", "CC BY-NC 4.0")]
    for name in ("see-inputs", "see-inputs-non-commercial"):
        with pytest.raises(
            UserError, match=r"teacher b .* permits no commercial use, but the text of README.md does n"
        ):
            check("other", inputs, "whatever is said", name=name)
        for text in ("No commercial use of these weights", "It is non-commercial.", "Not for noncommercial doubts"):
            check("other", inputs, "asked", text, name=name)
    with pytest.raises(UserError, match="states license 'other', as the terms of an input are unclear"):
        check("other", inputs, None, "No commercial use of these weights")


def test_what_shares_alike_keeps_its_licence():
    for licence in ("CC BY-SA 4.0", "GPL-3.0", "cc-by-nc-sa-4.0"):
        with pytest.raises(UserError, match=r"what is made from teacher a \(.*\) keeps its licence, but README.md"):
            check("cc-by-nc-4.0", [("teacher a", licence)], "whatever is said")
    check("cc-by-sa-4.0", [("teacher a", "CC BY-SA 4.0")], None)
    check("other", [("teacher a", "CC BY-SA 4.0")], "two of them")


@pytest.mark.parametrize("licence", [None, "unknown", "my own terms", "dinov3-license"])
def test_unclear_terms_need_a_word(licence):
    with pytest.raises(UserError, match=r"of teacher a \(.*\) is not known or has terms of its own: read it"):
        check("mit", [("teacher a", licence)], None)
    check("mit", [("teacher a", licence)], "asked its maker")


def test_no_derivatives_need_a_word():
    with pytest.raises(UserError, match=r"of teacher a \(cc-by-nd-4.0\) forbids derivatives"):
        check("mit", [("teacher a", "cc-by-nd-4.0")], None)


def test_other_needs_a_word():
    with pytest.raises(UserError, match="states license 'other', as the terms of an input are unclear"):
        check("other", [("teacher a", "mit")], None)
    check("other", [("teacher a", "mit")], "asked")
