r"""Finds the one answer that a completion commits to.

In: a completion and the kind of answer wanted. Out: exactly one answer, or None ("unparsed"). The rule is made to be
fair to a model that was never taught our format, and useless to one that hedges: whatever the text says elsewhere,
one answer is judged. In order, and within each step the last occurrence first:

1. Everything up to the last ``</think>`` is put aside; an unclosed ``<think>`` has no answer.
2. A *marker* names the answer: ``#### 8`` at the start of a line, ``\boxed{8}``, ``<answer>8</answer>``, then
   "The answer is 8" / "Answer: 8".
3. Only for numbers, letters and expressions: a bold answer (``**8**``) in the last paragraph, then the last number
   (or expression, or a choice's letter or wording) of the text.

A number counts when it is a value, not when it is a piece of arithmetic left undone: ``12 + 5 - 9`` has no answer,
``12 + 5 - 9 = 8`` has 8, and a marked "8 or 9" commits to nothing. Thousands separators, units, currency signs, ``x
=``, Unicode minus signs and full-width digits are read as people read them; ``3/4`` and ``\frac{3}{4}`` are values.

Exercised by ``pytest tests/unit/tasks/test_extract.py tests/props/test_tasks_extract.py``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal, final

__all__ = [
    "AnswerKind",
    "Extracted",
    "extract_answer",
    "final_part",
    "marked_spans",
    "normalise",
    "parse_number",
    "visible",
]

AnswerKind = Literal["number", "expression", "letter", "text"]

_WINDOW = 20_000
"""Characters of a completion that are looked at, from its end: bounds the time of every rule below."""
_MAX_DIGITS = 100
_MAX_MARKERS = 8
"""Markers of one kind that are looked at, from the last: a text of markers only must not cost quadratic time."""
_MAX_CLAIM = 400
"""Characters behind a marker within which its number must stand."""
_SUPERSCRIPTS = str.maketrans({c: f"^{i}" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")})  # NFKC would turn 10² into 102
_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])
_AFTER_NFKC = str.maketrans({"−": "-", "‐": "-", "‒": "-", "–": "-", "⁄": "/", "∕": "/", "∗": "*", "\r": "\n"})

_UNSIGNED = re.compile(
    r"(?<![A-Za-z0-9_.,])(?:(?P<num>\d++)/(?P<den>\d++)|(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?+|\.\d++)"
    r"(?![ixyzn]\b)"  # 3x is no number; possessive quantifiers keep "15x" from being read as 1
)
_OPERAND_BEFORE = re.compile(r"[\d)]\s*(?:[-+*/^×÷·]|\b[xX])\s*$")
_OPERATOR_AFTER = re.compile(r"\s*(?:[-+*/^×÷·xX]\s*[-+]?[\d(]|\\(?!circ|degree)[A-Za-z]|[√π])")
_ANOTHER_AFTER = re.compile(
    r"\W{0,3}(?:,|;|\bor\b|\band\b|\bto\b)\s*[-+$(]*\s*(?:[A-Za-z]\s*=\s*)?[-+]?\d", re.IGNORECASE
)
_NOTHING = "nothing"
_DELIBERATE = ("hashes", "boxed", "tag")
_EQUALS_AFTER = re.compile(r"[^=\n]{0,3}=")
_LEAD = re.compile(
    r"""(?:[\s*_`$€£"'(\[{:~\\#]|\b(?:the|final|answer|result|is|total|equals?|to|so|therefore|thus|simply|exactly|about)\b
    |\b[A-Za-z]\s*=|=)*""",
    re.VERBOSE | re.IGNORECASE,
)
_HASHES = re.compile(r"^[ \t>*]*####(?!#)[ \t]*", re.MULTILINE)
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_ANSWER_IS = re.compile(r"\banswer\b[^\n.=:]{0,40}?(?:\bis\b|=|:)[ \t]*(?:[*_`]{0,3}[:=]?)\s*", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
_UNIT_TAIL = re.compile(r"(?:\s*[A-Za-z%°]+)?\s*")
_EXPRESSION = re.compile(r"[-+*/() \d]++")
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:left|right|quad|qquad)(?![A-Za-z])|\\[,;!: ]"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\([$%])"), r"\1"),
)


@final
@dataclass(frozen=True, slots=True)
class Extracted:
    """The answer a completion commits to.

    Attributes:
        text: The answer in plain form ("8", "(25 - 5) * 2", "B", any text).
        rule: Which rule found it ("hashes", "boxed", "tag", "sentence", "bold", "last", "whole").
        value: Its value, for numbers.
        complete: The answer was all that stood there: nothing but units and punctuation is left beside it.
        written: A number as the text spells it ("1,234.50", "16/2"), for graders that look at the form too.
    """

    text: str
    rule: str
    value: Fraction | None = None
    complete: bool = True
    written: str = ""


def visible(text: str) -> str:
    """The text without characters that nobody can see (byte-order marks, zero-width spaces, soft hyphens)."""
    return text.translate(_INVISIBLE)


def normalise(text: str) -> str:
    r"""One spelling for what looks the same: NFKC, ASCII minus and slash, ``\n``, no invisible characters.

    Superscripts become ``^2``. Only the last 20,000 characters are kept. Idempotent.
    """
    text = visible(text[-_WINDOW:]).translate(_SUPERSCRIPTS).replace("\r\n", "\n")
    return unicodedata.normalize("NFKC", text).translate(_AFTER_NFKC)[-_WINDOW:]


def parse_number(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else ("1,234.50", "-3/4"), else None."""
    text = normalise(text).strip()
    sign = -1 if text.startswith("-") else 1
    body = text.lstrip("+-").strip() if text[:1] in "+-" and text[1:2] not in "+-" else text
    match = _UNSIGNED.fullmatch(body)
    value = _value(match) if match else None
    return None if value is None else sign * value


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _MAX_DIGITS:
        return None
    if match["den"] is not None:
        return Fraction(int(match["num"]), int(match["den"])) if int(match["den"]) else None
    return Fraction(match[0].replace(",", ""))


@final
@dataclass(frozen=True, slots=True)
class _Number:
    start: int
    end: int
    value: Fraction
    written: str
    is_operand: bool  # the right side of an operator: "9" in "17 - 9"
    is_followed: bool  # by an operator and another operand: "17" in "17 - 9"


def _numbers(text: str) -> Iterator[_Number]:
    for match in _UNSIGNED.finditer(text):
        value = _value(match)
        if value is None:
            continue
        start = match.start()
        before = text[max(0, start - 24) : start]
        is_operand = bool(_OPERAND_BEFORE.search(before))
        sign = re.search(r"(-)( ?)$", before)
        if sign and not is_operand:
            lead = before[: sign.start()]
            # "- 9" at the start of a line is an item of a list; "= - 9" and "-9" are signs
            if not sign[2] or lead.rstrip(" ")[-1:] in tuple("=:("):
                value, start = -value, start - len(sign[0])
                is_operand = bool(_OPERAND_BEFORE.search(lead))
        written = ("-" if start < match.start() else "") + match[0]
        yield _Number(start, match.end(), value, written, is_operand, bool(_OPERATOR_AFTER.match(text, match.end())))


def _plain(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest == 1 and value.denominator < 10**12:  # a finite decimal is written as one
        places = next(n for n in range(1, 80) if (value * 10**n).denominator == 1)
        digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
        return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    return f"{value.numerator}/{value.denominator}"


def _unlatex(text: str) -> str:
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text


def _claimed_number(span: str, rule: str) -> Extracted | None:
    """The number that a span *is*: at its start, or after its last "="; None for undone arithmetic and for prose.

    A span that offers several ("8 or 9"), and a deliberate mark around undone arithmetic, come back under the rule
    "nothing": the text commits to nothing, and weaker rules must not look further.
    """
    span = _unlatex(span[:_MAX_CLAIM])
    numbers = list(_numbers(span))
    if not numbers:
        return None
    chosen = numbers[0]
    undone = rule in _DELIBERATE and _LEAD.fullmatch(span[: chosen.start])
    if chosen.is_followed or _EQUALS_AFTER.match(span, chosen.end):
        line_end = span.find("\n", chosen.end)
        line = span if line_end < 0 else span[:line_end]
        equals = line.rfind("=")
        later = [number for number in numbers if equals < number.start and number.end <= len(line)]
        if equals < 0 or not later or later[0].is_followed or later[0].is_operand:
            return Extracted("", _NOTHING) if undone else None
        chosen, lead = later[0], line[equals + 1 : later[0].start]
    else:
        lead = span[: chosen.start]
    if chosen.is_operand or not _LEAD.fullmatch(lead):
        return None
    if _ANOTHER_AFTER.match(span, chosen.end):
        return Extracted("", _NOTHING)
    tail = span[chosen.end :].partition("\n")[0].strip(" \t\n.*_`$)]}\\")
    complete = bool(_UNIT_TAIL.fullmatch(tail))
    return Extracted(_plain(chosen.value), rule, chosen.value, complete=complete, written=chosen.written)


def _extract_number(text: str) -> Extracted | None:
    for rule, span in marked_spans(text):
        if found := _claimed_number(span, rule):
            return found if found.rule != _NOTHING else None
    paragraph = text.rstrip().rpartition("\n\n")[2]
    for match in _last_matches(_BOLD, paragraph):
        found = _claimed_number(match[1], "bold")
        if (
            found and found.value is not None and found.complete and not match[1].rstrip().endswith(".")
        ):  # "**1.**" numbers a list
            return found
    numbers = list(_numbers(_unlatex(text)))
    if not numbers or numbers[-1].is_operand:
        return None
    last, alone = numbers[-1], len(numbers) == 1
    return Extracted(_plain(last.value), "last", last.value, complete=alone, written=last.written)


def _boxed(text: str) -> Iterator[str]:
    r"""Contents of ``\boxed{…}``, last first, braces balanced."""
    end = len(text)
    for _ in range(_MAX_MARKERS):
        if (start := text.rfind("\\boxed{", 0, end)) < 0:
            return
        depth, position = 1, start + len("\\boxed{")
        while position < len(text) and depth and position - start < 2_000:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if not depth:
            yield text[start + len("\\boxed{") : position - 1]
        end = start


def _last_matches(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[: -_MAX_MARKERS - 1 : -1]


def final_part(text: str) -> str:
    """The completion without its thinking: what follows the last ``</think>``; empty when thinking never ended."""
    _, closed, tail = text.rpartition("</think>")
    if closed:
        return tail
    return "" if "<think>" in tail else tail


def marked_spans(text: str) -> Iterator[tuple[str, str]]:
    """``(rule, text it marks)``, strongest rule first and the last occurrence first.

    The spans of ``####`` and of "the answer is" reach to the end of the text: an answer may have several lines.
    """
    for match in _last_matches(_HASHES, text):
        yield "hashes", text[match.end() :]
    for span in _boxed(text):
        yield "boxed", span
    tags = list(_TAG.finditer(text))
    pairs = [(a, b) for a, b in pairwise(tags) if not a[1] and b[1]]
    for opened, closed in pairs[: -_MAX_MARKERS - 1 : -1]:
        yield "tag", text[opened.end() : closed.start()].strip()
    for match in _last_matches(_ANSWER_IS, text):
        yield "sentence", text[match.end() :]


def _balanced(run: str) -> str:
    """A run of arithmetic without the operators and the brackets of the sentence around it."""
    run = run.strip(" +-*/").rstrip("(").lstrip(")").strip(" +-*/")
    while run.endswith(")") and run.count(")") > run.count("("):
        run = run[:-1].rstrip()
    while run.startswith("(") and run.count("(") > run.count(")"):
        run = run[1:].lstrip()
    return run if any(character.isdigit() for character in run) else ""


def _expression_in(span: str) -> str | None:
    """The last arithmetic expression of a line; of "40 = (25 - 5) * 2 = 40" the side that has an operator."""
    span = _unlatex(span[-_MAX_CLAIM:]).replace("×", "*").replace("·", "*").replace("÷", "/")
    span = re.sub(r"(?<=[\d)\s])[xX](?=[\s\d(])", "*", span)
    runs = [[_balanced(run) for run in _EXPRESSION.findall(side)] for side in span.split("=")]
    sides = [found[-1] for found in ([run for run in side if run] for side in runs) if found]
    with_operator = [side for side in sides if re.search(r"[\d)]\s*[-+*/]", side)]
    return with_operator[0] if with_operator else sides[0] if sides else None


def _extract_expression(text: str) -> Extracted | None:
    for rule, span in marked_spans(text):
        if found := _expression_in(span.strip().partition("\n")[0]):
            return Extracted(found, rule)
    for line in reversed(text.splitlines()):
        found = _expression_in(line)
        if found and re.search(r"[\d)]\s*[-+*/]", found):
            return Extracted(found, "last")
    return None


def _extract_letter(text: str, choices: Sequence[str]) -> Extracted | None:
    letters = "".join(chr(ord("A") + i) for i in range(len(choices)))
    head = re.compile(rf"[\s*_`$(\[\\\"']*(?:\\text\{{)?([{letters}])(?![A-Za-z0-9'])")
    alone = re.compile(rf"[\s*_`$(\[\"']*([{letters}{letters.lower()}])[\s*_`$)\].:,\"']*")
    worded = {
        normalise(choice).strip().strip(".").casefold(): letter for choice, letter in zip(choices, letters, strict=True)
    }

    def claimed(span: str, rule: str) -> Extracted | None:
        line = span.strip().partition("\n")[0]
        if match := alone.fullmatch(line) or head.match(line):
            return Extracted(match[1].upper(), rule)
        letter = worded.get(line.strip(" *_`\"'").strip(".").casefold())
        return Extracted(letter, rule) if letter else None

    for rule, span in marked_spans(text):
        if found := claimed(span, rule):
            return found
    paragraph = text.rstrip().rpartition("\n\n")[2]
    for match in _last_matches(_BOLD, paragraph):
        if found := claimed(match[1], "bold"):
            return found
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines[-1:]:
        # a letter that opens a sentence is an article ("A dog"), so here it needs its bracket, dot or solitude
        opened = re.match(rf"[\s*_`(\[]*([{letters}])[).:\]]", line)
        if own := alone.fullmatch(line) or opened:
            return Extracted(own[1].upper(), "last")
        if letter := worded.get(line.strip(" *_`\"'").strip(".").casefold()):
            return Extracted(letter, "last")
    named = re.findall(rf"\b(?:option|choice|answer)\s*\(?([{letters}])\b", text, re.IGNORECASE)
    return Extracted(named[-1].upper(), "last") if named else None


def extract_answer(text: str, kind: AnswerKind, *, choices: Sequence[str] = ()) -> Extracted | None:
    """The one answer that a completion commits to, by the rules in this module's docstring.

    Args:
        text: The completion.
        kind: "number" (a value), "expression" (arithmetic, not evaluated), "letter" (of ``choices``), or "text" (what
            a marker names; without a marker the whole text).
        choices: The wordings of the choices, for "letter": a wording counts as its letter.

    Returns:
        None when the text commits to nothing.
    """
    text = final_part(normalise(text))
    if not text.strip():
        return None
    if kind == "number":
        return _extract_number(text)
    if kind == "expression":
        return _extract_expression(text)
    if kind == "letter":
        return _extract_letter(text, choices)
    for rule, span in marked_spans(text):
        if span.strip():
            return Extracted(span.strip(), rule)
    return Extracted(text.strip(), "whole")
