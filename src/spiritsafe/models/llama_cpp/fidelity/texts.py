"""Texts that a file is tried on: short general ones in many languages, and a fuzz corpus for tokenizers.

In: a seed, and the names of a tokenizer's special tokens. Out: texts, always the same ones. What tokenizers of one
vocabulary differ in is how text is cut before it is looked up: spaces, digits, letters of other scripts, contractions,
marks and joiners, names of special tokens within words.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import final

from spiritsafe.core.records import Record

_GENERAL = Path(__file__).with_name("general_texts.json")


@final
class GeneralText(Record):
    """A short text of no task.

    Attributes:
        language: Its ISO 639-1 code, or the kind of code that it is.
    """

    language: str
    text: str


@cache
def general_texts() -> tuple[GeneralText, ...]:
    """Prose and dialogue in 27 languages, a dozen pieces of code and markup; all written for this package."""
    return tuple(GeneralText.from_json(value) for value in json.loads(_GENERAL.read_text("utf-8")))


_SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F),),
    "armenian and georgian": ((0x531, 0x587), (0x10A0, 0x10FF)),
    "hebrew": ((0x591, 0x5F4),),
    "arabic": ((0x600, 0x6FF), (0xFB50, 0xFDFB)),
    "indic": ((0x900, 0xDFF),),
    "thai to burmese": ((0xE01, 0x109F),),
    "ethiopic and cherokee": ((0x1200, 0x13F4),),
    "hangul": ((0x1100, 0x11FF), (0xAC00, 0xD7A3)),
    "kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)),
    "han": ((0x4E00, 0x9FA5), (0x3400, 0x4DB5), (0x20000, 0x20100)),
    "digits": ((0x30, 0x39), (0x660, 0x669), (0x966, 0x96F), (0xFF10, 0xFF19), (0xB2, 0xB3), (0x2150, 0x2188)),
    "marks": ((0x61, 0x7A), (0x300, 0x36F), (0x1AB0, 0x1ABD), (0x20D0, 0x20F0)),
    "punctuation": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x2010, 0x205E), (0x3001, 0x301F)),
    "symbols": ((0x20A0, 0x20BF), (0x2190, 0x23FF), (0x2500, 0x27BF), (0x1D400, 0x1D4FF)),
    "emoji": ((0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0x200D, 0x200D),
              (0xFE0F, 0xFE0F)),
    "spaces": ((0x20, 0x20), (0x9, 0xD), (0x85, 0x85), (0xA0, 0xA0), (0x2000, 0x200D), (0x2028, 0x202F),
               (0x3000, 0x3000)),
    "private and control": ((0x0, 0x1F), (0x7F, 0x9F), (0xE000, 0xE010), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFD)),
}  # fmt: skip

_EDGES = (
    "",
    " ",
    "\n",
    "\t",
    "\r\n",
    "  ",
    " \n",
    "\n \n\n  \n",
    "a  b   c    d",
    " leading",
    "trailing ",
    "tabs\tand\t\tspaces \t mixed",
    "I'm you're he's we'll they've I'd don't",
    "I'M YOU'RE HE'S WE'LL THEY'VE I'D DON'T",
    "it’s ‘quoted’ “twice”",
    "'s'S''t't 'll",
    "0 00 000 0000 1234567 3.14159 1,000,000 1e-9 0x1F",
    "2024-02-29T23:59:59Z",
    "½ ¼ Ⅷ ⑳ ² ₃ ٣٤ १२ 12",
    "café cafe\u0301 Å A\u030a",
    "ﬁ ﬂ ſ ß ẞ İ ı ǆ",
    "각 \u1100\u1161\u11a8",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 👍🏽 ☺️ ☺",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚",
    "\u202eright to left\u202c \u200f\u200e",
    "zero\u200bwidth\u200djoin\ufeffbom\u00adsoft",
    "nbsp\u00a0thin\u2009ideographic\u3000line\u2028paragraph\u2029end",
    "null\x00bell\x07escape\x1b[0m",
    "a" * 600,
    " " * 300,
    "\n" * 60,
    "=" * 200,
    "ab" * 200,
    "1" * 100,
    "é" * 100,
    "漢" * 100,
    "😀" * 60,
    "https://example.org/a/b?c=d&e=%20f#g user@example.org",
    "C:\\Users\\name\\file.txt ~/.config/app.toml",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case x1y2z3",
    "{[(<>)]} != == <= >= => -> :: ;; ... --- ___ *** /* */ // # $ % ^ & | ~ ` \\",
    "    four\n\teight\n  two\n\n\nend",
    "<s> </s> <unk> [INST] <0x0A> ▁under Ġbyte",
)


def fuzz_texts(special: Sequence[str], *, count: int = 400, seed: int = 0) -> list[str]:
    """A corpus that tokenizers of one vocabulary may disagree on.

    Args:
        special: Names of special tokens, which are put between and within words.
        count: Random texts, beside the edge cases and the general texts, which are always there.
        seed: Of the random ones.
    """
    draw = random.Random(seed)
    general = [one.text for one in general_texts()]
    makers: tuple[Callable[[], str], ...] = (
        lambda: _one_script(draw),
        lambda: _many_scripts(draw),
        lambda: _cut_and_glued(draw, general),
        lambda: _with_special(draw, general, special),
    )
    return [*_EDGES, *general, *special, *(makers[place % len(makers)]() for place in range(count))]


def _character(draw: random.Random, script: str) -> str:
    """One that stands in Unicode 3.2 already, which every tokenizer's tables know."""
    while True:
        first, last = draw.choice(_SCRIPTS[script])
        found = chr(draw.randint(first, last))
        if unicodedata.ucd_3_2_0.category(found) != "Cn" or script == "emoji":
            return found


def _word(draw: random.Random, script: str) -> str:
    return "".join(_character(draw, script) for _ in range(draw.randint(1, 9)))


def _space(draw: random.Random) -> str:
    return draw.choice((" ", " ", " ", "  ", "\n", " \n", "\t", "", ", ", ". ", "-", "'"))


def _one_script(draw: random.Random) -> str:
    script = draw.choice(list(_SCRIPTS))
    return "".join(_word(draw, script) + _space(draw) for _ in range(draw.randint(1, 12)))


def _many_scripts(draw: random.Random) -> str:
    scripts = list(_SCRIPTS)
    return "".join(_word(draw, draw.choice(scripts)) + _space(draw) for _ in range(draw.randint(2, 16)))


def _cut_and_glued(draw: random.Random, texts: Sequence[str]) -> str:
    """Pieces of real text where no writer would cut it."""
    pieces = []
    for _ in range(draw.randint(2, 5)):
        text = draw.choice(texts)
        start = draw.randrange(len(text))
        pieces.append(text[start : start + draw.randint(1, 40)])
    return draw.choice(("", " ", "\n")).join(pieces)


def _with_special(draw: random.Random, texts: Sequence[str], special: Sequence[str]) -> str:
    names = [*special, "<|nothing|>", "<b>"]
    return "".join(
        draw.choice(names) + draw.choice(("", " ", "\n", _cut_and_glued(draw, texts)[:20]))
        for _ in range(draw.randint(1, 5))
    )
