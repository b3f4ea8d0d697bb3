"""What a router sees of a conversation: hashed n-grams of the last question, and a few plain markers.

In: messages. Out: a vector of :data:`NUM_FEATURES` numbers, the same on every machine and in every process. Version 1:

* the question is the last user message (the last message where there is none), its first and last 8,000 characters;
  it is lowered and every digit becomes ``0``, so that numbers count by their shape;
* words and pairs of words fall into 512 places, characters three and four in a row into 512 others; a gram's place and
  sign come from its CRC-32, its weight is ``log(1 + count)``, and each block has length 1 (or 0);
* the markers of :data:`MARKERS` stand in front.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from spiritsafe.core.records import Message
from spiritsafe.stats import Floats

FEATURES = 1
"""Version of what follows; a router says with which it was made."""

MARKERS = (
    "log characters", "log lines", "log words", "log characters of the conversation", "turns", "system", "tools",
    "digits", "capitals", "symbols", "spaces", "numbers", "longest number", "signs of code", "question marks",
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Han", "kana", "Hangul", "other letters",
)  # fmt: skip
"""Shares of characters, or logarithms of counts."""

NUM_HASHED = 512
NUM_FEATURES = len(MARKERS) + 2 * NUM_HASHED

_SCRIPTS = (
    ((0x41, 0x24F), (0x1E00, 0x1EFF)),
    ((0x400, 0x52F),),
    ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    ((0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    ((0x590, 0x5FF),),
    ((0x900, 0x97F),),
    ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x3134F)),
    ((0x3040, 0x30FF), (0x31F0, 0x31FF)),
    ((0x1100, 0x11FF), (0xAC00, 0xD7AF)),
)
"""In the order of the markers from Latin on."""
_HALF = 8_000
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+")
_CODE = re.compile(
    r"[{};]|==|!=|->|=>|::|//|/\*|\bdef\b|\breturn\b|\bimport\b|\bclass\b|\bvoid\b|\bfunction\b|\bsubroutine\b"
    r"|\bprogram\b|\bperform\b|\bprocedure\b|\bdivision\b|\bselect\b|\bbegin\b|#include",
    re.IGNORECASE,
)


def question_of(messages: Sequence[Message]) -> str:
    """The text that is looked at: of the last user message, cut in the middle."""
    users = [message.content for message in messages if message.role == "user"]
    text = users[-1] if users else messages[-1].content if messages else ""
    return text if len(text) <= 2 * _HALF else text[:_HALF] + text[-_HALF:]


def features_of(messages: Sequence[Message]) -> Floats:
    """The vector of a conversation."""
    question = question_of(messages)
    shaped = re.sub(r"\d", "0", question.lower())
    words = _WORD.findall(shaped)
    pairs = (f"{one}\0{other}" for one, other in itertools.pairwise(words))
    characters = (shaped[at : at + size] for size in (3, 4) for at in range(len(shaped) - size + 1))
    return np.concatenate([_markers(messages, question), _hashed([*words, *pairs], 1), _hashed(characters, 2)])


def _hashed(grams: Iterable[str], block: int) -> Floats:
    vector = np.zeros(NUM_HASHED)
    for gram, count in Counter(grams).items():
        # CRC-32 alone is linear in the bits of its input; the product spreads them (Knuth 1973, §6.4)
        mixed = (zlib.crc32(gram.encode("utf-8", "surrogatepass"), block) * 0x9E3779B1) & 0xFFFFFFFF
        vector[(mixed >> 8) % NUM_HASHED] += math.log1p(count) if mixed >> 31 else -math.log1p(count)
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _markers(messages: Sequence[Message], question: str) -> Floats:
    size = max(1, len(question))
    numbers = _NUMBER.findall(question)
    scripts = _scripts(question)
    return np.array(
        [
            math.log1p(len(question)),
            math.log1p(question.count("\n")),
            math.log1p(len(question.split())),
            math.log1p(sum(len(message.content) for message in messages)),
            math.log1p(sum(message.role == "user" for message in messages)),
            float(any(message.role == "system" for message in messages)),
            float(any(message.tools or message.tool_calls or message.role == "tool" for message in messages)),
            sum(map(str.isdigit, question)) / size,
            sum(map(str.isupper, question)) / size,
            sum(not (one.isalnum() or one.isspace()) for one in question) / size,
            sum(map(str.isspace, question)) / size,
            math.log1p(len(numbers)),
            math.log1p(max(map(len, numbers), default=0)),
            math.log1p(len(_CODE.findall(question))),
            math.log1p(question.count("?") + question.count("\uff1f")),
            *scripts,
        ]
    )


def _scripts(text: str) -> list[float]:
    letters = Counter(one for one in text if one.isalpha())
    total = max(1, letters.total())
    shares = [
        sum(count for one, count in letters.items() if any(low <= ord(one) <= high for low, high in ranges)) / total
        for ranges in _SCRIPTS
    ]
    return [*shares, max(0.0, 1.0 - sum(shares)) if letters else 0.0]
