"""Golds of texts agree with a second reading of their statements."""

from __future__ import annotations

import re
from collections.abc import Callable
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
from typing import Any

from code_templates import check_theme

from spiritsafe.tasks.code.templates.themes import texts

_KINDS = {
    "lower-case letters": ascii_lowercase,
    "upper-case letters": ascii_uppercase,
    "letters": ascii_letters,
    "vowels (a, e, i, o, u in lower or upper case)": "aeiouAEIOU",
    "decimal digits": digits,
    "spaces": " ",
    "characters other than letters": "".join(chr(c) for c in range(32, 127) if chr(c) not in ascii_letters),
    "characters other than decimal digits": "".join(chr(c) for c in range(32, 127) if chr(c) not in digits),
}


def _shifted_letters(s: Any, text: str) -> str:
    upper = s.k if not s.is_upper_back else -s.k % 26
    table = str.maketrans(
        ascii_letters + digits,
        ascii_lowercase[s.k :]
        + ascii_lowercase[: s.k]
        + ascii_uppercase[upper:]
        + ascii_uppercase[:upper]
        + digits[s.j :]
        + digits[: s.j],
    )
    encoded = text.translate(table)
    return "".join(reversed(encoded)) if s.is_reversed else encoded


def _cleaned_text(s: Any, text: str) -> str:
    cleaned = text.replace(s.old, s.new).replace(s.cut, "")
    cleaned = {"as it is": cleaned, "to upper case": cleaned.upper(), "to lower case": cleaned.lower()}[s.case]
    return "".join(reversed(cleaned)) if s.is_reversed else cleaned


def _packed_runs(s: Any, text: str) -> str:
    def packed(match: re.Match[str]) -> str:
        run = match[0]
        if len(run) < s.least:
            return run
        return s.mark + (f"{len(run)}{run[0]}" if s.is_count_first else f"{run[0]}{len(run)}")

    flags = re.ASCII if s.is_case_kept else re.ASCII | re.IGNORECASE
    return re.sub(rf"(.)\1{{0,{s.most - 1}}}", packed, text, flags=flags)


def _chosen_words(s: Any, text: str) -> int | str:
    words = [word for word in text.split(s.separator) if len(word) >= s.least]
    if s.first != "any":
        words = [word for word in words if word.startswith(tuple("aeiou")) == (s.first == "vowel")]
    return {"number": len(words), "longest": max(map(len, words), default=0), "joined": s.glue.join(words)}[s.asked]


def _checksum(s: Any, text: str) -> int:
    total = s.start
    for i, byte in enumerate(text.encode("ascii")):
        total = ((31 * total if s.is_chained else total) + byte * (s.a * i + s.b)) % s.m
    return total


def _label(s: Any, text: str) -> str:
    changed = {"": text, ".upper()": text.upper(), ".lower()": text.lower()}[s.case]
    return s.joint.join([s.word, changed] if s.is_before else [changed, s.word])


REFERENCES: dict[str, Callable[..., Any]] = {
    "character_points": lambda s, text: (
        s.b + sum(s.w if c in _KINDS[s.kind] else s.v if c in _KINDS[s.other] else 0 for c in text)
    ),
    "shifted_letters": _shifted_letters,
    "label": _label,
    "length_score": lambda s, text: (
        s.b
        + s.a
        * {"all": len(text), "first": text.encode()[0] if text else 0, "last": text.encode()[-1] if text else 0}[s.part]
    ),
    "cleaned_text": _cleaned_text,
    "packed_runs": _packed_runs,
    "chosen_words": _chosen_words,
    "checksum": _checksum,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(texts, REFERENCES)
