r"""The 25 kinds of instructions of IFEval (arXiv 2311.07911), and whether a text follows one.

In: an instruction's name and arguments, and a text. Out: yes or no. What counts is what the published evaluation
counts, so that figures can stand beside others': ``***`` separates paragraphs, a star or a hyphen begins a bullet (a
line ``---`` is one), and words are runs of ``\w``. Three things differ: a keyword is a word and not a pattern; a letter
may be any sign (in place of ``#`` or ``!`` the reference draws a random letter); and the time that a check takes is
bounded by the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, final

from spiritsafe.tasks.families.ifeval.words import num_capital_words, num_words

Argument = Literal["count", "relation", "text", "texts", "sign", "language"]
"""What an argument is: a number, "less than" or "at least", a text, texts, one sign, a language's code."""

RELATIONS = ("less than", "at least")
LANGUAGES = frozenset(
    [
        *("af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he"),
        *("hi", "hr", "hu", "id", "it", "ja", "kn", "ko", "lt", "lv", "mk", "ml", "mr", "ne", "nl", "no", "pa", "pl"),
        *("pt", "ro", "ru", "sk", "sl", "so", "sq", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi"),
        *("zh-cn", "zh-tw"),
    ]
)
"""Codes that langdetect can answer."""
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_Given = Mapping[str, Any]


class TextReading(Protocol):
    """What needs a library."""

    def language(self, text: str) -> str | None:
        """Code of the text's language; None where it has none."""

    def num_sentences(self, text: str, most: int) -> int:
        """Sentences, counted up to ``most``."""


@final
@dataclass(frozen=True, slots=True)
class Instruction:
    """A kind of instruction.

    Attributes:
        follows: Whether a text follows it.
        arguments: By name, what it is told.
    """

    follows: Callable[[_Given, str, TextReading], bool]
    arguments: Mapping[str, Argument] = field(default_factory=dict)


def _holds(number: int, given: _Given, relation: str, limit: str) -> bool:
    least: int = given[limit]
    return number < least if given[relation] == RELATIONS[0] else number >= least


def _num_found(words: str, text: str) -> int:
    return sum(1 for _ in re.finditer(re.escape(words.strip()), text, re.IGNORECASE))


def _has_keywords(given: _Given, text: str, _: TextReading) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in given["keywords"])


def _keyword_frequency(given: _Given, text: str, _: TextReading) -> bool:
    return _holds(_num_found(given["keyword"], text), given, "relation", "frequency")


def _no_forbidden_words(given: _Given, text: str, _: TextReading) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in given["forbidden_words"])


def _letter_frequency(given: _Given, text: str, _: TextReading) -> bool:
    return _holds(text.lower().count(given["letter"].lower()), given, "let_relation", "let_frequency")


def _in_language(given: _Given, text: str, reading: TextReading) -> bool:
    return reading.language(text) in (given["language"], None)


def _sentence_count(given: _Given, text: str, reading: TextReading) -> bool:
    return _holds(reading.num_sentences(text, given["num_sentences"] + 1), given, "relation", "num_sentences")


def _word_count(given: _Given, text: str, _: TextReading) -> bool:
    return _holds(num_words(text), given, "relation", "num_words")


def _paragraph_count(given: _Given, text: str, _: TextReading) -> bool:
    parts = [bool(part.strip()) for part in text.split("***")]
    return all(parts[1:-1]) and sum(parts) == int(given["num_paragraphs"])


def _nth_paragraph(given: _Given, text: str, _: TextReading) -> bool:
    paragraphs = text.split("\n\n")
    found = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    nth = given["nth_paragraph"]
    if not 1 <= nth <= found or not paragraphs[nth - 1].strip():
        return False
    word = paragraphs[nth - 1].split(maxsplit=1)[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower()
    return found == int(given["num_paragraphs"]) and first == str(given["first_word"]).lower()


def _placeholders(given: _Given, text: str, _: TextReading) -> bool:
    return sum(map(_num_bracketed, text.split("\n"))) >= int(given["num_placeholders"])


def _num_bracketed(line: str) -> int:
    found, place = 0, 0
    while (start := line.find("[", place)) >= 0 and (end := line.find("]", start)) >= 0:
        found, place = found + 1, end + 1
    return found


def _postscript(given: _Given, text: str, _: TextReading) -> bool:
    marker = given["postscript_marker"].strip()
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(patterns.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _bullets(given: _Given, text: str, _: TextReading) -> bool:
    stars = re.finditer(r"^[^\S\n]*\*[^*].*$", text, re.MULTILINE)
    dashes = re.finditer(r"^[^\S\n]*-", text, re.MULTILINE)
    return sum(1 for _ in stars) + sum(1 for _ in dashes) == int(given["num_bullets"])


def _one_option(_given: _Given, text: str, _: TextReading) -> bool:
    return any(option in text for option in OPTIONS)


def _highlights(given: _Given, text: str, _: TextReading) -> bool:
    single = re.findall(r"\*[^\n*]*\*", text)
    double = re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(part.strip("*").strip()) for part in single + double) >= int(given["num_highlights"])


def _sections(given: _Given, text: str, _: TextReading) -> bool:
    marks = re.finditer(re.escape(given["section_spliter"].strip()) + r"\s?\d+", text)
    return sum(1 for _ in marks) >= int(given["num_sections"])


def _is_json(_given: _Given, text: str, _: TextReading) -> bool:
    inner = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        inner = inner.removeprefix(fence)
    try:
        json.loads(inner.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _has_title(_given: _Given, text: str, _: TextReading) -> bool:
    return any(_titled(line) for line in text.split("\n"))


def _titled(line: str) -> bool:
    start, end = line.find("<<"), line.rfind(">>")
    return start >= 0 and end >= start + 3 and bool(line[start : end + 2].lstrip("<").rstrip(">").strip())


def _two_responses(_given: _Given, text: str, _: TextReading) -> bool:
    parts = [part.strip() for part in text.split("******")]
    responses = [part for part in parts if part]
    return all(parts[1:-1]) and len(responses) == 2 and responses[0] != responses[1]


def _repeats_prompt(given: _Given, text: str, _: TextReading) -> bool:
    return text.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ends_with(given: _Given, text: str, _: TextReading) -> bool:
    return text.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _quoted(_given: _Given, text: str, _: TextReading) -> bool:
    inner = text.strip()
    return len(inner) > 1 and inner[0] == inner[-1] == '"'


def _capital_words(given: _Given, text: str, _: TextReading) -> bool:
    return _holds(num_capital_words(text), given, "capital_relation", "capital_frequency")


def _english_capitals(_given: _Given, text: str, reading: TextReading) -> bool:
    return text.isupper() and reading.language(text) in ("en", None)


def _english_lowercase(_given: _Given, text: str, reading: TextReading) -> bool:
    return text.islower() and reading.language(text) in ("en", None)


def _no_commas(_given: _Given, text: str, _: TextReading) -> bool:
    return "," not in text


INSTRUCTIONS: Mapping[str, Instruction] = {
    "keywords:existence": Instruction(_has_keywords, {"keywords": "texts"}),
    "keywords:frequency": Instruction(
        _keyword_frequency, {"keyword": "text", "frequency": "count", "relation": "relation"}
    ),
    "keywords:forbidden_words": Instruction(_no_forbidden_words, {"forbidden_words": "texts"}),
    "keywords:letter_frequency": Instruction(
        _letter_frequency, {"letter": "sign", "let_frequency": "count", "let_relation": "relation"}
    ),
    "language:response_language": Instruction(_in_language, {"language": "language"}),
    "length_constraints:number_sentences": Instruction(
        _sentence_count, {"num_sentences": "count", "relation": "relation"}
    ),
    "length_constraints:number_paragraphs": Instruction(_paragraph_count, {"num_paragraphs": "count"}),
    "length_constraints:number_words": Instruction(_word_count, {"num_words": "count", "relation": "relation"}),
    "length_constraints:nth_paragraph_first_word": Instruction(
        _nth_paragraph, {"num_paragraphs": "count", "nth_paragraph": "count", "first_word": "text"}
    ),
    "detectable_content:number_placeholders": Instruction(_placeholders, {"num_placeholders": "count"}),
    "detectable_content:postscript": Instruction(_postscript, {"postscript_marker": "text"}),
    "detectable_format:number_bullet_lists": Instruction(_bullets, {"num_bullets": "count"}),
    "detectable_format:constrained_response": Instruction(_one_option),
    "detectable_format:number_highlighted_sections": Instruction(_highlights, {"num_highlights": "count"}),
    "detectable_format:multiple_sections": Instruction(_sections, {"section_spliter": "text", "num_sections": "count"}),
    "detectable_format:json_format": Instruction(_is_json),
    "detectable_format:title": Instruction(_has_title),
    "combination:two_responses": Instruction(_two_responses),
    "combination:repeat_prompt": Instruction(_repeats_prompt, {"prompt_to_repeat": "text"}),
    "startend:end_checker": Instruction(_ends_with, {"end_phrase": "text"}),
    "startend:quotation": Instruction(_quoted),
    "change_case:capital_word_frequency": Instruction(
        _capital_words, {"capital_frequency": "count", "capital_relation": "relation"}
    ),
    "change_case:english_capital": Instruction(_english_capitals),
    "change_case:english_lowercase": Instruction(_english_lowercase),
    "punctuation:no_comma": Instruction(_no_commas),
}
"""By their published names."""


def fault_of(name: str, given: _Given) -> str:
    """What is wrong with an instruction as a row has it; "" where nothing is."""
    kind = INSTRUCTIONS.get(name)
    if kind is None:
        return f'there is no instruction "{name}"'
    if unknown := sorted(set(given) - set(kind.arguments)):
        return f'{name} has no argument "{unknown[0]}"'
    for argument, what in kind.arguments.items():
        if not _fits(given.get(argument), what):
            return f"{name} needs {argument}, {_MEANT[what]}, and has {given.get(argument)!r}"
    return ""


_MEANT: Mapping[Argument, str] = {
    "count": "a whole number from 0",
    "relation": '"less than" or "at least"',
    "text": "a text",
    "texts": "a list of texts",
    "sign": "one letter or sign",
    "language": "a language's code that langdetect knows",
}


def _fits(value: Any, what: Argument) -> bool:
    if what == "count":
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
    if what == "texts":
        return isinstance(value, list) and bool(value) and all(_fits(one, "text") for one in value)
    if not isinstance(value, str) or not value.strip():
        return False
    kinds = {"relation": value in RELATIONS, "sign": len(value) == 1, "language": value in LANGUAGES}
    return kinds.get(what, True)


def followed(instructions: list[Any], text: str, reading: TextReading, *, loose: bool) -> list[bool]:
    """Which instructions a text follows; loosely, if some part of it that people would mean does.

    Args:
        instructions: Each ``{"id": …, "arguments": {…}}``.
        text: What was answered.
        reading: The libraries.
        loose: Without the first line, the last, or both, and without stars, a text may follow, too: the paper's loose
            accuracy.
    """
    texts = [one for one in (_loosely(text) if loose else [text]) if one.strip()]
    return [
        any(INSTRUCTIONS[one["id"]].follows(one["arguments"], version, reading) for version in texts)
        for one in instructions
    ]


def _loosely(text: str) -> list[str]:
    lines = text.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return list(dict.fromkeys([text, *cut, *(version.replace("*", "") for version in (text, *cut))]))
