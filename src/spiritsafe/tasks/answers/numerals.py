r"""Reads numbers as people write them: digits in five groupings, fractions, powers of ten, magnitudes, words.

In: text that went through :func:`tidy`, and which mark is the decimal one. Out: every :class:`Quantity` in it, with
its exact value; or with none, where what stands there fits no convention or has more glued to it than a number has.
``docs/grading.md`` says what is read as what, and its tables are tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal, final

from spiritsafe.tasks.answers.extract import normalise

Decimal = Literal["point", "comma"]

_MAX_DIGITS = 100
_MAX_EXPONENT = 1_000
_BEFORE_VULGAR = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")
_QUOTES = str.maketrans({"’": "'", "≃": "≈", "≅": "≈", "⩽": "≤", "⩾": "≥", "≦": "≤", "≧": "≥", "﹤": "<", "﹥": ">"})

_LATEX = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:displaystyle|left|right|quad|qquad|limits)(?![A-Za-z])", " "),
        (r"\\([$%&#_])", r"\1"),
        (r"\{,\}", ","),
        (r"\\!", ""),
        (r"\\[,;: ]", " "),
        (r"(?<=\d)\s*(?=\\[dtc]?frac)", " "),
        (r"\\[dtc]?frac\s*\{\s*(-?)\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", r"\1\2/\3"),
        (r"\\[dtc]?frac\s*(\d)\s*(\d)(?!\d)", r"\1/\2"),
        (r"\\[dtc]?frac\s*\{\s*(\d+)\s*\}\s*(\d)(?!\d)", r"\1/\2"),
        (r"\\(?:text|mathrm|mathbf|textbf|textit|mathit|operatorname)\s*\{([^{}]*)\}", r" \1 "),
        (r"\\(?:times|cdot|ast)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\(?:pm|mp)(?![A-Za-z])", "±"),
        (r"\\(?:leqslant|leq|le)(?![A-Za-z])", "≤"),
        (r"\\(?:geqslant|geq|ge)(?![A-Za-z])", "≥"),
        (r"\\(?:neq|ne)(?![A-Za-z])", "≠"),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\(?:approx|simeq|sim)(?![A-Za-z])", "≈"),
        (r"\\(?:mid|lor|vee)(?![A-Za-z])", "|"),
        (r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])", "°"),
        (r"\\(?:euro|pounds|rupee)(?![A-Za-z])", " "),
        (r"\\[()\[\]]|\$\$?(?!\s*\d)", " "),
    )
)

_MAGNITUDES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "crore": 10**7, "billion": 10**9,
    "trillion": 10**12,
}  # fmt: skip
_MAGNITUDE = re.compile(rf"[\s-]{{0,3}}({'|'.join(_MAGNITUDES)})s?\b(?:\s+of\b)?|([kK])\b", re.IGNORECASE)
_SCIENTIFIC = re.compile(
    r"[eE]([-+]?\d{1,9})(?![\w.])|\s{0,3}[*×x·]\s{0,3}10\s{0,2}(?:\^|\*\*)\s{0,2}(?:\{\s*([-+]?\d{1,9})\s*\}|([-+]?\d{1,9}))(?![\w.])"
)
_PERCENT = re.compile(r"\s{0,3}(?:%|percent\b|per cent\b)", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\w^\\])(?<!\d[.,'/])(?:"
    r"(?P<whole>\d+) {1,3}(?:and )?(?P<num>\d+)/(?P<den>\d+)(?![/\d])"
    r"|(?P<blob>[1-9]\d{0,2}(?: \d{3})++(?!\d)(?:[.,]\d++)?+|[.,]?\d++(?:[.,']\d++)*+)(?:\s?/\s?(?P<over>\d++)(?!/))?+"
    r")"
)
_GLUED = re.compile(
    r"(?:(?:[kcm]?m|[km]?g|m?[lL]|[kM]?W|[kK]?[JV]|km/h|mph|kph|lbs?|oz|ft|in|yd|mi|hrs?|mins?|secs?|ms|am|pm|st|nd|rd|th"
    r"|cents?|USD|EUR|GBP|INR|Rs|kWh|GB|MB|KB|TB|cc|deg)(?![A-Za-z\d])(?:\^\{?[23]\}?)?)"
)
_MORE = re.compile(r"[\w^!_]|[.,':]\d|\s{0,2}(?:\*\*|\^)\s{0,2}[\d{(]|\{?\s{0,2}\\(?!\$|boxed)[A-Za-z]|/\d|√|π|:")

_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_JOINS = ("and", "hundred", "thousand", "million", "billion", "trillion", "lakh", "crore")
_HAN = {**{c: n for n, c in enumerate("零一二三四五六七八九")}, "〇": 0, "两": 2, "兩": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000}
_HAN_LARGE = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}


@final
@dataclass(frozen=True, slots=True)
class Quantity:
    """One number in a text.

    Attributes:
        start: Where its digits begin.
        end: Where it ends, with its power of ten, magnitude and percent sign.
        value: Its value, unsigned; None when it cannot be read as one number.
        percent: A percent sign or word follows.
    """

    start: int
    end: int
    value: Fraction | None
    percent: bool = False


def tidy(text: str) -> str:
    """The text normalised, with ``2½`` as ``2 1/2``: NFKC alone would make it 21/2."""
    return normalise(_BEFORE_VULGAR.sub(" ", text)).translate(_QUOTES)


def unlatex(text: str) -> str:
    """Simple LaTeX as plain text; what cannot be put plainly keeps its backslash."""
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text


@cache
def _conventions(decimal: Decimal) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Whole pattern of numbers with a decimal mark, and of those where that very mark groups."""
    mark, other = (r"\.", ",") if decimal == "point" else (",", r"\.")
    tail = rf"(?:{mark}(?P<rest>\d+))?"
    groups = "|".join(
        [r"\d+", rf"[1-9]\d{{0,2}}(?:{other}\d{{3}})+", r"[1-9]\d{0,2}(?: \d{3})+", r"[1-9]\d{0,2}(?:'\d{3})+"]
    )
    lakh = r"[1-9]\d?(?:{0}\d{{2}})+{0}\d{{3}}"
    marked = re.compile(rf"(?P<int>{groups}|{lakh.format(other)}){tail}|{mark}(?P<only>\d+)")
    repeated = re.compile(rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}}){{2,}}|{lakh.format(mark)}")
    return marked, repeated


def _plain_value(blob: str, decimal: Decimal) -> Fraction | None:
    """The value of digits with their separators; None when they fit no convention."""
    if len(blob) > _MAX_DIGITS:
        return None
    marked, repeated = _conventions(decimal)
    if match := marked.fullmatch(blob):
        digits = re.sub(r"\D", "", match["int"] or "0")
        return Fraction(f"{digits}.{match['rest'] or match['only'] or 0}")
    return Fraction(re.sub(r"\D", "", blob)) if repeated.fullmatch(blob) else None


def _core_value(match: re.Match[str], decimal: Decimal) -> Fraction | None:
    if len(match[0]) > _MAX_DIGITS:
        return None
    if match["whole"]:
        over, under = int(match["num"]), int(match["den"])
        return int(match["whole"]) + Fraction(over, under) if 0 < over < under else None
    value = _plain_value(match["blob"], decimal)
    if value is None or match["over"] is None:
        return value
    return value / int(match["over"]) if int(match["over"]) else None


def quantities(text: str, decimal: Decimal) -> Iterator[Quantity]:
    """Every number of a tidied text without LaTeX, in order."""
    position = 0
    while match := _NUMBER.search(text, position):
        value, end = _core_value(match, decimal), match.end()
        if power := _SCIENTIFIC.match(text, end):
            exponent = int(power[1] or power[2] or power[3])
            value = None if value is None or abs(exponent) > _MAX_EXPONENT else value * Fraction(10) ** exponent
            end = power.end()
        while magnitude := _MAGNITUDE.match(text, end):
            factor = 1000 if magnitude[2] else _MAGNITUDES[magnitude[1].lower()]
            value = None if value is None or value > 10**_MAX_DIGITS else value * factor
            end = magnitude.end()
        percent = _PERCENT.match(text, end)
        end = percent.end() if percent else end
        if not _GLUED.match(text, end) and _MORE.match(text, end):
            value = None
        yield Quantity(match.start(), end, value, bool(percent))
        position = max(end, match.end())


def words_value(text: str) -> Fraction | None:
    """The value of a number in English words ("twenty-five", "a dozen") or Han numerals; None when it is neither."""
    text = text.strip().casefold()
    if not text or len(text) > _MAX_DIGITS:
        return None
    if all(character in _HAN or character in _HAN_UNITS or character in _HAN_LARGE for character in text):
        return _han_value(text)
    total = current = 0
    before = ""
    for position, word in enumerate(re.split(r"[\s-]+", text)):
        if word in ("a", "and"):
            if (word == "a") != (position == 0):
                return None
            current += word == "a"
        elif word in _ONES and (position == 0 or (before in _TENS and 0 < _ONES[word] < 10) or before in _JOINS):
            current += _ONES[word]
        elif word in _TENS and (position == 0 or before in _JOINS):
            current += _TENS[word]
        elif word in _MAGNITUDES and current:
            current *= _MAGNITUDES[word]
            if _MAGNITUDES[word] >= 1000:
                total, current = total + current, 0
        else:
            return None
        before = word
    return None if before in ("a", "and") else Fraction(total + current)


def _han_value(text: str) -> Fraction | None:
    total = section = 0
    digit: int | None = None
    for character in text:
        if character in _HAN:
            if digit:  # "三五" is two digits, and whether they make 35 is the reader's guess
                return None
            digit = _HAN[character]
        elif character in _HAN_UNITS:
            section += (1 if digit is None else digit) * _HAN_UNITS[character]
            digit = None
        else:
            total = (total + section + (digit or 0)) * _HAN_LARGE[character]
            section, digit = 0, None
    return Fraction(total + section + (digit or 0))
