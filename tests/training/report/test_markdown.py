"""Names are inert in Markdown, and what no record holds cannot be rendered."""

from pathlib import Path

import pytest
from jinja2 import DictLoader
from markdown_it import MarkdownIt

from training.errors import UserError
from training.report.markdown import Verbatim, code_span, link, markdown_environment, markdown_text
from training.report.rendering import render

GITHUB = MarkdownIt("gfm-like", {"html": True, "linkify": False})
HOSTILE = (
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://example.org/p.png)",
    "a | b | c",
    "`code` and ``more``",
    "**bold** _em_ ~~gone~~ __init__",
    "# heading",
    "- item",
    "1. item",
    "line\nbreak\r\n\n<b>",
    "&lt;b&gt; &copy; &#60;",
    "$$x^2$$",
    "back\\slash \\| pipe",
    "---",
    "<https://example.org>",
    "right\u202eleft",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_a_name_and_nothing_of_it_acts(text):
    cells = f"| {markdown_text(text)} | {code_span(text)} |"
    page = GITHUB.render(f"| head | next |\n|---|---|\n{cells}\n\n{markdown_text(text)}\n")
    assert page.count("<td>") == 2
    assert page.count("<tr>") == 2
    for element in ("<script", "<img", "<a ", "<strong", "<em", "<s>", "<h1", "<h2", "<ul", "<ol", "<hr", "<b>"):
        assert element not in page
    assert page.count("<p>") == 1


@pytest.mark.parametrize("text", ["efficientnet_lite0", "CC BY-NC-SA 4.0", "0.375", "-0.1", "a/b/c.mp4", "1.5 s"])
def test_ordinary_names_stay_readable_in_the_source(text):
    assert markdown_text(text) == text


def test_only_addresses_of_known_sites_become_links():
    assert link("https://huggingface.co/facebook/dinov2-small") == "<https://huggingface.co/facebook/dinov2-small>"
    assert not link("https://example.org/x").startswith("<")
    assert not link("https://huggingface.co/x><script>").startswith("<https")
    assert not link("javascript:alert(1)").startswith("<")


def test_verbatim_text_is_not_escaped_twice():
    assert markdown_text(markdown_text("a|b")) == "a\\|b"
    assert markdown_text(Verbatim("**b**")) == "**b**"


def test_a_missing_figure_is_an_error():
    environment = markdown_environment(Path())
    environment.loader = DictLoader({"card": "value {{ accuracy }}"})
    with pytest.raises(UserError, match=r"card: 'accuracy' is undefined; every figure must come from a record"):
        render(environment, "card", {})
