"""What follows an instruction: a table for each of the 25 kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from spiritsafe.tasks.families.ifeval.instructions import INSTRUCTIONS, fault_of, followed


class PlainReader:
    """Knows two languages and sees the end of a sentence in every full stop."""

    def language(self, text: str) -> str | None:
        letters = [letter for letter in text if letter.isalpha()]
        return None if not letters else "en" if all(letter.isascii() for letter in letters) else "ru"

    def num_sentences(self, text: str, most: int) -> int:
        return min(most, len(re.findall(r"\.", text)))


AT_LEAST, LESS = {"relation": "at least"}, {"relation": "less than"}
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("keywords:existence", {"keywords": ["red", "blue"]}, ["Red, blueish"], ["red", "re d blue"]),
    ("keywords:existence", {"keywords": ["c++"]}, ["I like C++."], ["I like ccc."]),
    ("keywords:frequency", {"keyword": " war ", "frequency": 2, **AT_LEAST}, ["War in a warm war", "warwar"], ["war"]),
    ("keywords:frequency", {"keyword": "war", "frequency": 1, **LESS}, ["peace"], ["reward"]),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, ["rocket"], ["a Rock!", "ROCK"]),
    ("keywords:letter_frequency", {"letter": "Q", "let_frequency": 2, "let_relation": "at least"}, ["qQ"], ["q"]),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "less than"}, ["#a"], ["##"]),
    ("language:response_language", {"language": "ru"}, ["Привет", "123 !!"], ["Hello"]),
    ("length_constraints:number_sentences", {"num_sentences": 2, **AT_LEAST}, ["A. B. C."], ["A."]),
    ("length_constraints:number_sentences", {"num_sentences": 2, **LESS}, ["A."], ["A. B."]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a\n***\nb", "***a***b***"], ["a", "a***\n***b"]),
    ("length_constraints:number_words", {"num_words": 3, **LESS}, ["a b"], ["it's b"]),
    ("length_constraints:number_words", {"num_words": 3, **AT_LEAST}, ["it's b"], ["a b"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Elm"},
        ["a\n\nelm. b", "a\n\n'ELM', b", "a\n\nelm's"],
        ["elm\n\na", "a\nelm", "a\n\nelms", "a\n\nelm\n\nb", "a\n\n\n\nelm", "a\n\n\n\n"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a] [b]", "[][]"], ["[a\n] [b]", "[[a]"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["a\np.s. b", "P. S."], ["PS", "P.S"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["p.p.s", "P. P. S."], ["P.S."]),
    ("detectable_content:postscript", {"postscript_marker": "NB:"}, ["x nb: y"], ["NB"]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "- a\n  * b", "\n\n * a\n-b", "---\n* a"],
        ["* a", "** a\n** b", "a * b\nc - d", "* a\n* b\n- c", "*\n* a"],
    ),
    ("detectable_format:constrained_response", {}, ["Well. My answer is no. Yes."], ["My answer is no", "no"]),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* *b*", "**a** **b**", "*a*, **b**"],
        ["*a*", "**a**", "* * **", "*a\n* *b\n*", "****"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Day", "num_sections": 2},
        ["Day 1 x Day 2 y", "Day1Day\n2"],
        ["day 1 day 2", "Day one Day two", "Day 1"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": 1}', '```json\n{"a": [1]}\n```', "```\n7\n```"],
        ["{a: 1}", "Sure: {}", "", "```"],
    ),
    (
        "detectable_format:title",
        {},
        ["<<a>> b", "x <<y\n<<z>>", "<<a> >>"],
        ["<<>>", "<< >>", "<<a\n>>", ">>a<<", "<a>"],
    ),
    ("combination:two_responses", {}, ["a ****** b", "******a******b******"], ["a", "a******a", "a******b******c"]),
    ("combination:two_responses", {}, ["a\n******\nb"], ["a ***** b", "a************b"]),
    ("combination:repeat_prompt", {"prompt_to_repeat": " Say hi. "}, ["say HI. Hi!"], ["Hi! Say hi.", "Say hi"]),
    ("startend:end_checker", {"end_phrase": "The end."}, ['"x the END."', "The end. \n"], ["The end. x", "the end"]),
    ("startend:quotation", {}, [' "a" ', '""'], ['"', '"a', "“a”", 'a "b"']),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, ["A B"], ["Ab C"]),
    ("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": "less than"}, ["ab"], ["A"]),
    ("change_case:english_capital", {}, ["HELLO 1!"], ["Hello", "ПРИВЕТ", "1!"]),
    ("change_case:english_lowercase", {}, ["hello 1!"], ["hellO", "привет", "1!"]),
    ("punctuation:no_comma", {}, ["a; b، c"], ["a, b"]),
]


def follows(name: str, given: Mapping[str, Any], text: str, *, loose: bool = False) -> bool:
    (found,) = followed([{"id": name, "arguments": given}], text, PlainReader(), loose=loose)
    return found


@pytest.mark.parametrize(("name", "given", "good", "bad"), CASES)
def test_what_follows(name: str, given: dict[str, Any], good: list[str], bad: list[str]) -> None:
    assert fault_of(name, given) == ""
    assert [text for text in good if not follows(name, given, text)] == []
    assert [text for text in bad if follows(name, given, text)] == []


def test_each_kind_is_in_the_table() -> None:
    assert {name for name, *_ in CASES} == set(INSTRUCTIONS)
    assert len(INSTRUCTIONS) == 25


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_nothing_follows_nothing(name: str) -> None:
    given = next(given for known, given, *_ in CASES if known == name)
    assert not any(follows(name, given, text, loose=loose) for text in ("", " \n\t") for loose in (False, True))


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_time_grows_with_the_length_alone(name: str) -> None:
    """Texts on which patterns that try every beginning take minutes; a hang is a failure."""
    for known, given, *_ in CASES:
        if known == name:
            for text in ("[", "<<", "*", "**a", "\n", " \n*", "-", "p.", "Day ", "'", '"', "{", "a\n\n", "***", "A'"):
                follows(name, given, text * (100_000 // len(text)))


def test_loosely_a_frame_and_stars_do_not_count() -> None:
    json_only, ending = "detectable_format:json_format", ("startend:end_checker", {"end_phrase": "Bye"})
    for text in ("Sure!\n{}", "{}\nBye.", "Sure!\n{}\nBye.", "*{}*"):
        assert follows(json_only, {}, text, loose=True)
        assert not follows(json_only, {}, text)
    assert not follows(json_only, {}, "a\nb\n{}", loose=True)
    assert follows(*ending, "**Bye**", loose=True)
    assert not follows("startend:quotation", {}, "a", loose=True)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("keywords:exists", {}, 'no instruction "keywords:exists"'),
        ("punctuation:no_comma", {"num_words": 3}, 'no argument "num_words"'),
        ("length_constraints:number_words", {"num_words": 3}, "needs relation"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "at most"}, "needs relation"),
        ("length_constraints:number_words", {"num_words": "3", "relation": "at least"}, "needs num_words"),
        ("length_constraints:number_words", {"num_words": True, "relation": "at least"}, "needs num_words"),
        ("keywords:existence", {"keywords": []}, "needs keywords"),
        ("keywords:existence", {"keywords": ["a", 1]}, "needs keywords"),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "one letter"),
        ("language:response_language", {"language": "klingon"}, "langdetect knows"),
    ],
)
def test_what_no_text_could_follow_is_told(name: str, given: dict[str, Any], said: str) -> None:
    assert said in fault_of(name, given)
