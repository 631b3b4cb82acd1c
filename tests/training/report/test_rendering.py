"""Names are inert in HTML, a page stands alone, and what no record holds cannot be rendered."""

from types import SimpleNamespace

import pytest
from markupsafe import Markup

from training.errors import UserError
from training.report.rendering import breakable, html_environment, render

PAGE = """{% extends "page.html.jinja" %}
{% from "figures.html.jinja" import charts, legend, pictures %}
{% block title %}a test{% endblock %}
{% block style %}
{% include "own.css" %}
{% endblock %}
{% block lead %}What it shows.{% endblock %}
{% block sections %}
{{ legend({name: "#123456"}) }}
{{ charts([chart, none]) }}
{{ pictures([thumbnail]) }}
<p>{{ frames | count }} frames</p>
{% endblock %}
"""


@pytest.fixture
def folder(tmp_path):
    """A page of its own with the shared layout."""
    (tmp_path / "own.html.jinja").write_text(PAGE)
    (tmp_path / "own.css").write_text("td > i { color: red; }")
    return tmp_path


def facts(**changed):
    return {
        "made_by": "a.command",
        "name": "<b>",
        "facts": [("a<b", "c_d<i>")],
        "chart": SimpleNamespace(title="T&", svg=Markup("<svg></svg>")),
        "thumbnail": SimpleNamespace(address="data:x", caption="a/b"),
        "frames": 1234,
    } | changed


def test_a_page_is_the_layout_with_its_own_sections(folder):
    page = render(html_environment(folder), "own.html.jinja", facts())
    assert page.startswith("<!DOCTYPE html>\n<!-- made by a.command -->\n<html")
    for part in (
        "<title>&lt;b&gt;: a test</title>",
        "<h1>&lt;b&gt;</h1>",
        '<p class="soft">What it shows.</p>',
        "<div><dt>a&lt;b</dt><dd>c_<wbr>d&lt;i&gt;</dd></div>",
        '<li><i style="background:#123456"></i>&lt;b&gt;</li>',
        "<figure><figcaption>T&amp;</figcaption><svg></svg></figure>",
        '<figure><img alt="" src="data:x"><figcaption>a/<wbr>b</figcaption></figure>',
        "<p>1,234 frames</p>",
    ):
        assert part in page, part
    assert page.count("<figure>") == 2
    # The sheet of the page comes after the shared one, so that it wins.
    assert 0 < page.index("td.number") < page.index("td > i { color: red; }") < page.index("</style>")


def test_a_missing_figure_is_an_error(folder):
    known = facts()
    del known["thumbnail"]
    with pytest.raises(UserError, match=r"own.html.jinja: 'thumbnail' is undefined; every figure must come from a rec"):
        render(html_environment(folder), "own.html.jinja", known)
    with pytest.raises(UserError, match="has no attribute 'svg'"):
        render(html_environment(folder), "own.html.jinja", facts(chart=SimpleNamespace(title="T")))


def test_every_value_is_escaped(folder):
    (folder / "one.html.jinja").write_text('<i title="{{ a }}">{{ a }}</i>')
    page = render(html_environment(folder), "one.html.jinja", {"a": "\"><script>'\u202e"})
    assert page == '<i title="&#34;&gt;&lt;script&gt;&#39;">&#34;&gt;&lt;script&gt;&#39;</i>'


def test_names_break_where_words_end():
    assert breakable("a_b/c-d<i>") == "a_<wbr>b/<wbr>c-<wbr>d&lt;i&gt;"
    assert breakable("__init__.py") == "__<wbr>init__<wbr>.py"
