"""Languages and sentences by the libraries."""

from __future__ import annotations

import pytest

pytest.importorskip("langdetect", reason="the extra ifeval is not installed")
pytest.importorskip("punkt", reason="the extra ifeval is not installed")

from spiritsafe.tasks.families.ifeval.compose import _SENTENCES
from spiritsafe.tasks.families.ifeval.instructions import LANGUAGES
from spiritsafe.tasks.families.ifeval.reading import Reader, _languages

READER = Reader()


@pytest.mark.parametrize("code", _SENTENCES)
def test_languages(code: str) -> None:
    assert READER.language(_SENTENCES[code][0]) == code


def test_the_same_text_has_the_same_language_each_time() -> None:
    """langdetect draws at random: of these few letters it would say one language now and another then."""
    assert len({READER.language("si no va la mia") for _ in range(20)}) == 1
    assert READER.language("123 !!") is None
    assert set(_languages().langlist) == LANGUAGES


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Dr. Smith went home. He was tired.", 2),
        ("It costs $3.50 at J. Doe's.", 1),
        ("We met on Jan. 5 in the U.S. with Mr. Day. It rained.", 2),
        ("Really?! Yes! No... Perhaps.", 3),
        ("One\nline\nafter another", 1),
        ("e.g. is no abbreviation to it.", 2),
        ("", 0),
    ],
)
def test_sentences(text: str, number: int) -> None:
    assert READER.num_sentences(text, 100) == number


def test_counting_ends_where_it_is_enough() -> None:
    assert READER.num_sentences("Yes! " * 15_000, 3) == 3
    assert READER.num_sentences(f"{'a ' * 6_000}. Yes. No.", 10) == 3
