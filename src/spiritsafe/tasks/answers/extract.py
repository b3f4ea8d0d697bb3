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
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Literal, final

AnswerKind = Literal["number", "expression", "letter", "text"]

_WINDOW = 20_000
"""Characters of a completion that are looked at, from its end: bounds the time of every rule below."""
_MAX_MARKS = 30
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
_BECAUSE = re.compile(r"\b(?:because|since|given that|for the reason)\b", re.IGNORECASE)
_TAKEN_BACK_BEFORE = re.compile(
    r"(?:\b(?:not|never|neither|nor|rather than|instead of|unlike|except|cannot be|excludes?|rules? out)|n't(?: be)?)\b"
    r"[\s(\[]*(?:the |option |choice |answer |letter )*[(\[\s]*$",
    re.IGNORECASE,
)
_TAKEN_BACK_AFTER = re.compile(
    r"[)\].:]*\s*(?:is|are|was|seems|looks|would be|must be|can be)?\s*(?:n't|n’t|not\b|wrong|false|incorrect|out\b"
    r"|excluded|impossible|too\b|cannot)",
    re.IGNORECASE,
)
_NAMES_CHOICE = re.compile(
    r"(?:\b(?:option|choice|answer|letter|is|be|it's|choose|chose|pick|select|with|say|means|therefore|thus|so|correct|but)|[:=])"
    r"[\s:(\[]*$",
    re.IGNORECASE,
)
_MAX_LINES = 200
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


def without_invisible(text: str) -> str:
    """The text without characters that nobody can see (byte-order marks, zero-width spaces, soft hyphens)."""
    return text.translate(_INVISIBLE)


def normalise(text: str) -> str:
    r"""One spelling for what looks the same: NFKC, ASCII minus and slash, ``\n``, no invisible characters.

    Superscripts become ``^2``. Only the last 20,000 characters are kept. Idempotent.
    """
    text = without_invisible(text[-_WINDOW:]).translate(_SUPERSCRIPTS).replace("\r\n", "\n")
    if text.isascii():
        return text.translate(_AFTER_NFKC)
    text = unicodedata.normalize("NFKC", _few_marks(text)).translate(_AFTER_NFKC)
    return _few_marks(text)[-_WINDOW:]


def _few_marks(text: str) -> str:
    """The text with at most 30 combining marks in a row, as in Unicode's stream-safe form: NFKC sorts them, slowly."""
    kept, run = [], 0
    for character in text:
        run = run + 1 if not character.isascii() and _is_mark(character) else 0
        if run <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)


@lru_cache(maxsize=1 << 16)
def _is_mark(character: str) -> bool:
    return all(unicodedata.combining(part) for part in unicodedata.normalize("NFKD", character))


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


def plain_number(value: Fraction) -> str:
    """A value as a whole number, a finite decimal or a fraction."""
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
    return Extracted(plain_number(chosen.value), rule, chosen.value, complete=complete, written=chosen.written)


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
    return Extracted(plain_number(last.value), "last", last.value, complete=alone, written=last.written)


def _boxed_at(text: str) -> Iterator[tuple[int, int]]:
    r"""Where the contents of ``\boxed{…}`` stand, last first, braces balanced."""
    end = len(text)
    for _ in range(_MAX_MARKERS):
        if (start := text.rfind("\\boxed{", 0, end)) < 0:
            return
        depth, position = 1, start + len("\\boxed{")
        while position < len(text) and depth and position - start < 2_000:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if not depth:
            yield start + len("\\boxed{"), position - 1
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
    for start, end in _boxed_at(text):
        yield "boxed", text[start:end]
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


def rival_mark(text: str, rule: str) -> bool:
    """Whether the last box or answer tag has another one before it on its line that marks something else."""
    if rule == "boxed":
        spans = list(_boxed_at(text))[:2][::-1]
    elif rule == "tag":
        spans = [(a.end(), b.start()) for a, b in pairwise(_TAG.finditer(text)) if not a[1] and b[1]][-2:]
    else:
        return False
    if len(spans) < 2:
        return False
    (first, first_end), (last, last_end) = spans
    same = text[first:first_end].strip() == text[last:last_end].strip()
    return not same and "\n" not in text[first_end:last]


@final
class _Letters:
    """The letters that a line names: all of them, and those that it does not take back."""

    def __init__(self, choices: Sequence[str]) -> None:
        self.letters = letters = "".join(chr(ord("A") + i) for i in range(len(choices)))
        worded = [normalise(choice).strip().strip(".").casefold() for choice in choices]
        # two choices of one wording: the wording names neither
        self.worded = {words: letters[i] for i, words in enumerate(worded) if worded.count(words) == 1}
        self.wordings = dict(zip(letters, worded, strict=True))
        self.alone = re.compile(rf"[\s*_`$(\[\"']*([{letters}{letters.lower()}])[\s*_`$)\].:,\"'}}]*")
        # "A dog" has an article, "A is right" and "(A)" have a choice
        self.mention = re.compile(
            rf"(?<![A-Za-z0-9'\\])(?:[(\[]([{letters.lower()}])[)\]]|([{letters}])(?![A-Za-z0-9'])"
            r"(?!(?<=A) (?!(?:is|or|and|because|but|since|as|seems|must|was|nor|not)\b)[a-z]))"
        )

    def named(self, line: str, *, bare: bool = True) -> str | None:
        """The one letter that a line names; "" when it names several or takes the only one back; None without any."""
        line = line.strip().replace("\\text{", " ").replace("\\mathrm{", " ")[:_MAX_CLAIM]
        if match := self.alone.fullmatch(line):
            return match[1].upper()
        if letter := self.worded.get(line.strip(" *_`\"'").strip(".").casefold()):
            return letter
        line = _BECAUSE.split(line, maxsplit=1)[0].replace("*", "")
        found, denied = [], False
        for match in self.mention.finditer(line):
            letter = (match[1] or match[2]).upper()
            before = line[: match.start()]
            if _TAKEN_BACK_BEFORE.search(before) or _TAKEN_BACK_AFTER.match(line[match.end() :]):
                denied = True
            elif (
                bare
                or match[1]
                or _NAMES_CHOICE.search(line[: match.start()])
                or not line[: match.start()].strip("([ ")
            ):
                found.append(letter)
            else:
                return ""
            rest = line[match.end() :].lstrip(" ).]:-").casefold()
            if len(found) == 1 and self.wordings[letter] and rest.startswith(self.wordings[letter]):
                tail = rest[len(self.wordings[letter]) :]  # "B) vitamin C": the C is the wording's
                return "" if any(other != letter for other in self._letters_in(tail.upper())) else letter
        if not found:
            return "" if denied else None
        return found[0] if len(set(found)) == 1 else ""

    def _letters_in(self, text: str) -> list[str]:
        return re.findall(rf"(?<![A-Z0-9'])([{self.letters}])(?![A-Z0-9'])", text)


def _extract_letter(text: str, choices: Sequence[str]) -> Extracted | None:
    letters = _Letters(choices)

    def found(letter: str, rule: str) -> Extracted | None:
        return Extracted(letter, rule) if letter else None

    for rule, span in marked_spans(text):
        line, _, rest = span.strip().partition("\n")
        letter = letters.named(line)
        if letter is not None:
            rival = rival_mark(text, rule) or re.match(r"\s*(?:or\b|[/|,])", rest, re.IGNORECASE)
            return None if rival else found(letter, rule)
    paragraph = text.rstrip().rpartition("\n\n")[2]
    for line in reversed(paragraph.splitlines()):
        bold = {letter for inner in _BOLD.findall(line)[-_MAX_MARKERS:] if (letter := letters.named(inner)) is not None}
        if bold:
            around = letters.named(line)
            return found(bold.pop(), "bold") if len(bold) == 1 and around != "" else None
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        # a letter that opens a sentence is an article ("A dog"), so here it needs a bracket, a dot or a word before it
        letter = letters.named(line, bare=False)
        if letter is not None:
            return found(letter, "last")
        if line is not lines[-1] and len(lines) > _MAX_LINES:
            break
    return None


def extract_answer(text: str, kind: AnswerKind, *, choices: Sequence[str] = ()) -> Extracted | None:
    """The one answer that a completion commits to, by the rules in this module's docstring.

    Args:
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
