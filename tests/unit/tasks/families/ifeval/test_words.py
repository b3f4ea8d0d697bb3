"""Words and capital words, as NLTK's tokens count."""

from __future__ import annotations

import pytest

from spiritsafe.tasks.families.ifeval.words import num_capital_words, num_words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 0),
        ("two words", 2),
        ("it's", 2),
        ("well-known", 2),
        ("a_b 3.5", 3),
        ("Straße, número", 2),
        ("日本語 です", 2),
    ],
)
def test_words_are_runs_of_letters(text: str, number: int) -> None:
    assert num_words(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("nothing here", 0),
        ("I'm, I'd, I'll", 3),
        ("IT'S", 2),
        ("DON'T", 2),
        ("DON’T", 2),
        ("CANNOT", 2),
        ("GONNA go", 2),
        ("WELL-KNOWN", 1),
        ("the U.S. and the UK.", 2),
        ('"HELLO," (he) said: *WORLD*', 2),
        ("A,B", 2),
        ("A1,2", 1),
        ("10:30 3,4", 0),
        ("ONE--TWO", 2),
        ("ONE...TWO", 2),
        ("NASA's", 1),
        ("#TAG @ME", 2),
        ("ΑΒΓ ß É", 2),
        ("HELLO world", 1),
        ("HELLO,world", 1),
    ],
)
def test_capital_words(text: str, number: int) -> None:
    assert num_capital_words(text) == number


def test_a_long_text_takes_no_longer_than_it_is_long() -> None:
    for text in ("A'" * 50_000, "CAN" * 30_000, "." * 100_000, "'" * 100_000):
        num_capital_words(text)
