from __future__ import annotations

import pytest

from spiritsafe.core.text.safe_text import hidden_in, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("right\u202egnorw", "right⟨U+202E⟩gnorw"),
        ("nul\x00 esc\x1b[31m", "nul⟨U+0000⟩ esc⟨U+001B⟩[31m"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("half\ud800", "half⟨U+D800⟩"),
        ("a\r\nb\tc\rd", "a\nb\tc⟨U+000D⟩d"),
        ("one\ufe0ftwo\u034fthree", "one⟨U+FE0F⟩two⟨U+034F⟩three"),
        ("fill\u3164er\u2800\u115f", "fill⟨U+3164⟩er⟨U+2800⟩⟨U+115F⟩"),
        ("selector\U000e0100", "selector⟨U+E0100⟩"),
        ("नमस्ते é", "नमस्ते é"),
        ("نمی\u200cدانم 👩\u200d🔬 ü 1\u202f000", "نمی\u200cدانم 👩\u200d🔬 ü 1\u202f000"),
    ],
)
def test_characters_that_hide_or_reorder_text_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_one_line_is_one_line() -> None:
    assert one_line("a\nb\tc\r\nd") == "a⟨U+000A⟩b⟨U+0009⟩c⟨U+000A⟩d"
    assert one_line("one\u2028two\x85three") == "one⟨U+2028⟩two⟨U+0085⟩three"
    assert one_line("as it is") == "as it is"


def test_the_first_hidden_character_of_a_program_is_found() -> None:
    assert hidden_in("a\r\n\tb שלום 鐵 é 😀") is None
    for char in "\u202e\u2067\u200b\u200d\ufe0f\ufeff\x00\x1b\r\x0c\u2028\u3164":
        assert hidden_in(f"a{char}b\u061c") == char
