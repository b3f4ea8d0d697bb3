"""Rows in the layout of google/IFEval: every kind of instruction, arguments with and without the nulls of Parquet."""

from __future__ import annotations

from typing import Any

_NAMES = (
    "num_highlights", "relation", "num_words", "num_placeholders", "prompt_to_repeat", "num_bullets", "section_spliter",
    "num_sections", "capital_relation", "capital_frequency", "keywords", "num_paragraphs", "language", "let_relation",
    "letter", "let_frequency", "end_phrase", "forbidden_words", "keyword", "frequency", "num_sentences",
    "postscript_marker", "first_word", "nth_paragraph",
)  # fmt: skip


def row(key: int, prompt: str, *asked: tuple[str, dict[str, Any]], nulls: bool = False) -> dict[str, Any]:
    """A row; with ``nulls``, each object of arguments has all names there are, as Parquet has them."""
    padding = dict.fromkeys(_NAMES) if nulls else {}
    return {
        "key": key,
        "prompt": prompt,
        "instruction_id_list": [name for name, _ in asked],
        "kwargs": [{**padding, **given} for _, given in asked],
    }


_LONG = {"relation": "at least", "num_words": 60}
ROWS = [
    row(
        1000,
        "Write 60 words or more on a count of old. Use no commas, and highlight three parts as *this*.",
        ("punctuation:no_comma", {}),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 3}),
        ("length_constraints:number_words", _LONG),
    ),
    row(1, "Name a river. Say river and lake.", ("keywords:existence", {"keywords": ["river", "lake"]}), nulls=True),
    row(
        2,
        "Tell of a war, with the word twice, in capitals.",
        ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}),
        ("change_case:english_capital", {}),
    ),
    row(3, "Sing of stone without rock.", ("keywords:forbidden_words", {"forbidden_words": ["rock"]}), nulls=True),
    row(
        4,
        "Quiz me with less than two letters t.",
        ("keywords:letter_frequency", {"letter": "t", "let_frequency": 2, "let_relation": "less than"}),
    ),
    row(5, "Grüße aus Köln? Answer in German.", ("language:response_language", {"language": "de"}), nulls=True),
    row(
        6,
        "Five sentences at least, fewer than seven, in small letters.",
        ("length_constraints:number_sentences", {"num_sentences": 5, "relation": "at least"}),
        ("length_constraints:number_sentences", {"num_sentences": 7, "relation": "less than"}),
        ("change_case:english_lowercase", {}),
    ),
    row(7, "Three paragraphs, *** between.", ("length_constraints:number_paragraphs", {"num_paragraphs": 3})),
    row(
        8,
        "Three paragraphs; the second starts with elm.",
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "elm"},
        ),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}),
        nulls=True,
    ),
    row(9, "A letter with a P.P.S.", ("detectable_content:postscript", {"postscript_marker": "P.P.S"})),
    row(10, "Four points.", ("detectable_format:number_bullet_lists", {"num_bullets": 4}), nulls=True),
    row(11, "Is it far? One of the options.", ("detectable_format:constrained_response", {})),
    row(
        12,
        "A plan of two days.",
        ("detectable_format:multiple_sections", {"section_spliter": "Day", "num_sections": 2}),
        nulls=True,
    ),
    row(13, "All in JSON.", ("detectable_format:json_format", {})),
    row(14, "Two poems with a title.", ("combination:two_responses", {}), ("detectable_format:title", {}), nulls=True),
    row(15, "Say hi! Repeat me.", ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi!"})),
    row(
        16,
        'Wrap it in quotes and end with "Peace!".',
        ("startend:quotation", {}),
        ("startend:end_checker", {"end_phrase": "Peace!"}),
        nulls=True,
    ),
    row(
        17,
        "At least three words in capitals, fewer than six.",
        ("change_case:capital_word_frequency", {"capital_frequency": 3, "capital_relation": "at least"}),
        ("change_case:capital_word_frequency", {"capital_frequency": 6, "capital_relation": "less than"}),
    ),
]
