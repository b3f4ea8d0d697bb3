"""Markdown that nobody's name can break, against a renderer of CommonMark with GFM's tables; YAML against PyYAML."""

from __future__ import annotations

import html
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from spiritsafe.core.text.safe_text import one_line
from spiritsafe.release.texts.markdown import code_span, hides_text, plain_text, read_tables, table_lines, yaml_string

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = [
    "<script>alert(1)</script>",
    "](javascript:alert(1)) [x](http://evil)",
    "![x](http://evil/pixel)",
    "a | b | c\n| --- |\n| x |",
    "**bold** _it_ ~~gone~~ `code` $math$",
    "&lt;b&gt; &amp; &#60;",
    "# title",
    "- list",
    "1. list",
    "---",
    "===",
    "```\ncode\n```",
    "> quote",
    "\\",
    "trailing \\",
    "\u202eesrever\u200b",
    "www.evil.example http://evil.example ada@evil.example",
    "<!-- x -->",
    "::: note",
    "[^1]: x",
    "| ",
    "`|`",
]
TEXTS = st.text(alphabet="\\`*_{}[]()<>#+-.!|~&$:/@=^ \n\tab1é\u202e", max_size=40)


def shown(markdown: str) -> str:
    """The text of a rendered paragraph or cell, and nothing but text."""
    found = re.fullmatch(r"<p>(.*)</p>\n", RENDERER.render(markdown), re.DOTALL)
    assert found, RENDERER.render(markdown)
    assert "<" not in found[1], found[1]
    return html.unescape(found[1])


def wanted(text: str) -> str:
    return " ".join(one_line(text).split())


@given(text=TEXTS)
@pytest.mark.parametrize("before", ["", "Made from "])
def test_any_text_shows_as_it_is(before: str, text: str) -> None:
    if wanted(text):
        assert shown(before + plain_text(text)) == before + wanted(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_shows_as_it_is(text: str) -> None:
    assert shown(plain_text(text)) == wanted(text)


@given(text=TEXTS)
def test_a_cell_stays_a_cell(text: str) -> None:
    lines = table_lines(["File", "Note"], [[plain_text(text), code_span(text)], ["x", "y"]])
    rendered = RENDERER.render("\n".join(lines))
    assert rendered.count("<td>") == 4
    assert set(re.findall(r"</?(\w+)", rendered)) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    (table,) = read_tables("\n".join(["before", *lines, "", "after"]))
    assert table == [{"File": plain_text(text).strip(), "Note": code_span(text)}, {"File": "x", "Note": "y"}]


def test_links_of_github_are_none() -> None:
    linkify = pytest.importorskip("linkify_it", reason="linkify-it-py is not installed")
    assert linkify
    renderer = MarkdownIt("gfm-like")
    assert "<a " in renderer.render("www.evil.com")
    assert "<a " not in renderer.render(plain_text("www.evil.com http://evil.com https://x.y ada@evil.com"))


@given(text=st.text(max_size=60))
def test_yaml_says_the_same(text: str) -> None:
    assert yaml.safe_load(f"key: {yaml_string(text)}") == {"key": wanted(text)}


def test_long_text_is_cut() -> None:
    assert len(plain_text("x" * 10_000)) == 2_000
    assert len(code_span("x" * 10_000)) == 302


def test_html_is_seen_and_what_only_looks_so_is_not() -> None:
    """Held against the renderer: what it makes a tag of is seen, and nothing that our own texts hold."""
    for text in HOSTILE:
        assert not hides_text(plain_text(text)), text
    for text in ("<!-- x -->", "a <b>", "\\\\<!-- x -->", "x\n<details>\n"):
        assert "<b" in RENDERER.render(text) or "<!--" in RENDERER.render(text) or "<details" in RENDERER.render(text)
        assert hides_text(text), text
    assert "&lt;!--" in RENDERER.render("\\<!-- x -->")
    assert not hides_text("\\<!-- x -->")
