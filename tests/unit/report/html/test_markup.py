from __future__ import annotations

import pytest

from spiritsafe.report.html.markup import Html, escape, join, paragraph, section, shorten, tag


def test_children_and_attributes_are_escaped_unless_they_are_markup() -> None:
    made = tag("p", "<script>", Html("<b>ok</b>"), None, title='"><img src=x onerror="alert(1)">')
    assert made == ('<p title="&quot;&gt;&lt;img src=x onerror=&quot;alert(1)&quot;&gt;">&lt;script&gt;<b>ok</b></p>')


def test_markup_is_not_escaped_twice() -> None:
    assert escape(escape("a & b")) == "a &amp; b"
    assert paragraph(join(["<", tag("b", "&")], ", ")) == "<p>&lt;, <b>&amp;</b></p>"


def test_attribute_names_and_numbers() -> None:
    assert tag("line", x1=1.50, x2=2.0, stroke_width="3", class_="a", id=None) == (
        '<line x1="1.5" x2="2" stroke-width="3" class="a"/>'
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("right\u202egnorw", "right⟨U+202E⟩gnorw"),
        ("nul\x00 esc\x1b[31m", "nul⟨U+0000⟩ esc⟨U+001B⟩[31m"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("half\ud800", "half⟨U+D800⟩"),
        ("a\r\nb\tc\rd", "a\nb\tc⟨U+000D⟩d"),
        ("نمی\u200cدانم 👩\u200d🔬 ü 1\u202f000", "نمی\u200cدانم 👩\u200d🔬 ü 1\u202f000"),
    ],
)
def test_characters_that_hide_or_reorder_text_are_shown(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_section_is_reachable_and_named() -> None:
    made = section("ladder", "The ladder", "text")
    assert made.startswith('<section id="ladder" aria-labelledby="ladder-title"><h2 id="ladder-title">')


def test_shorten() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abc efgh", 5) == "abc…"
