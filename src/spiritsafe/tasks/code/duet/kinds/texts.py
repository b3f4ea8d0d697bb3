"""Kinds of texts: their characters, lengths and words, and what holds for each of them as a whole.

In: texts that were seen. Out: which others are alike. What held for every text is asked of others too, where enough
were seen for it not to be an accident.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import final

from spiritsafe.tasks.code.duet.kinds.numbers import FloatKind, IntKind

_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,15})(?:\.\d{1,6})?")
_DIGITS = re.compile(r"\d+")
_FEWEST = 3
"""Of texts whose form or length must be the same for it to be theirs."""
_FEWEST_WORDS = 8
_MOST_DEPTH = 5


def _is_balanced(text: str) -> bool:
    opened: list[str] = []
    for mark in text:
        if mark in _PAIRS.values():
            opened.append(mark)
        elif mark in _PAIRS and (not opened or opened.pop() != _PAIRS[mark]):
            return False
    return not opened


def _is_balanced_by_words(text: str) -> bool:
    return all(map(_is_balanced, text.split()))


def _is_neat(text: str) -> bool:
    return text == " ".join(text.split())


def _is_mirrored(text: str) -> bool:
    return text == text[::-1]


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


_RULES: dict[Callable[[str], bool], tuple[Callable[[str], bool], int]] = {
    _is_balanced: (lambda text: any(mark in text for mark in "()[]{}<>"), 2),
    _is_balanced_by_words: (lambda text: " " in text and any(mark in text for mark in "()[]{}<>"), 1),
    _is_neat: (lambda text: " " in text, 1),
    _is_mirrored: (lambda text: len(text) > 2, 3),
    _is_number: (bool, 3),
    str.istitle: (lambda text: len(text) > 1, 4),
}
"""What may hold for texts, which of them say anything about it, and how many of those there must be."""


@final
@dataclass(frozen=True, slots=True)
class Texts:
    """Texts.

    Attributes:
        seen: Those that were seen, each once.
        alphabet: Characters that are allowed.
        lengths: The least and the most that are allowed.
        words: The only words that are allowed, where it is always the same few.
        form: What all are once numbers are left out, where that is the same.
        numbers: The numbers that texts of one form hold.
        rules: What holds for each.
    """

    seen: tuple[str, ...]
    alphabet: frozenset[str]
    lengths: range
    words: tuple[str, ...]
    form: str | None
    numbers: IntKind | FloatKind
    rules: tuple[Callable[[str], bool], ...]

    @classmethod
    def of(cls, values: Sequence[str]) -> Texts:
        """The kind of such texts."""
        seen = tuple(dict.fromkeys(values))
        sizes = [len(text) for text in seen]
        least, most = min(sizes), max(sizes)
        lengths = range(least if least <= 2 else max(2, least // 3), most + max(2, most // 3) + 1)
        if least == most and len(seen) > _FEWEST and most > 1:
            lengths = range(least, most + 1)
        elif most == 1:
            lengths = range(least, 2)
        words = [word for text in seen for word in text.split()]
        is_few = len(words) >= _FEWEST_WORDS and 2 * len(words) >= 3 * len(set(words)) and any(" " in t for t in seen)
        forms = {_DIGITS.sub("#", text) for text in seen}
        is_form = len(forms) == 1 and len(seen) > _FEWEST and "#" in next(iter(forms))
        found = [int(number) for text in seen for number in _DIGITS.findall(text)]
        rules = []
        for rule, (says, fewest) in _RULES.items():
            telling = [text for text in seen if says(text)]
            if len(telling) >= min(fewest, len(seen)) and telling and all(map(rule, telling)):
                rules.append(rule)
        return cls(
            seen=seen,
            alphabet=_alphabet("".join(seen)),
            lengths=lengths,
            words=tuple(sorted(set(words))) if is_few and not is_form else (),
            form=forms.pop() if is_form else None,
            numbers=_numbers(seen) if _is_number in rules else IntKind.of(found or [0]),
            rules=tuple(rules),
        )

    def allows(self, value: str) -> bool:
        """Whether it is alike."""
        if len(value) not in self.lengths or not self.alphabet.issuperset(value):
            return False
        if self.words and not set(value.split()) <= set(self.words):
            return False
        if self.form is not None:
            if _DIGITS.sub("#", value) != self.form or any(n != str(int(n)) for n in _DIGITS.findall(value)):
                return value in self.seen
            if isinstance(self.numbers, IntKind) and not all(
                self.numbers.allows(int(n)) for n in _DIGITS.findall(value)
            ):
                return False
        if not all(rule(value) for rule in self.rules if _RULES[rule][0](value)):
            return False
        return _is_number not in self.rules or self._allows_number(value)

    def _allows_number(self, value: str) -> bool:
        if isinstance(self.numbers, FloatKind):
            return self.numbers.allows(float(value or "0"))
        return "." not in value and self.numbers.allows(int(value or "0"))

    def draw(self, rng: Random) -> str:
        """One that is likely alike."""
        if _is_number in self.rules:
            return f"{self.numbers.draw(rng):.{6}f}".rstrip("0").rstrip(".")
        if self.form is not None:
            return re.sub("#", lambda _: str(self.numbers.draw(rng)), self.form)
        if self.words:
            return " ".join(rng.choice(self.words) for _ in range(rng.randint(1, 8)))
        if _is_balanced in self.rules:
            return self._nested(rng)
        return rng.choice((self._of_few, self._mirrored, self._of_words, self._of_pieces, self._of_few))(rng)

    def _of_few(self, rng: Random) -> str:
        """Of a few letters, so that some stand twice."""
        letters = sorted(rng.choice((self.alphabet, frozenset(rng.choice(self.seen)))) or self.alphabet) or ["a"]
        some = [rng.choice(letters) for _ in range(rng.choice((1, 2, 3, 8)))]
        return "".join(rng.choice(some) for _ in range(self._length(rng)))

    def _length(self, rng: Random) -> int:
        return max(self.lengths[0], min(rng.choice(self.lengths), rng.choice((2, 3, 4, 6, 10, 20))))

    def _mirrored(self, rng: Random) -> str:
        half = self._of_few(rng)[: self.lengths[-1] // 2]
        return half + half[::-1][rng.randrange(2) :]

    def _of_words(self, rng: Random) -> str:
        """Words that were seen, in another order."""
        words = [word for text in self.seen for word in text.split(" ")]
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 5)))

    def _of_pieces(self, rng: Random) -> str:
        """The beginning of one and the end of another."""
        one, other = rng.choice(self.seen), rng.choice(self.seen)
        return one[: rng.randint(0, len(one))] + other[rng.randint(0, len(other)) :]

    def _nested(self, rng: Random) -> str:
        """Brackets that close what was opened, with what else stands between."""
        kinds = [(opening, closing) for closing, opening in _PAIRS.items() if closing in self.alphabet]
        others = sorted(self.alphabet - set("()[]{}<>"))
        depth_chance = rng.choice((0.3, 0.5, 0.7))

        def group(depth: int) -> str:
            opening, closing = rng.choice(kinds)
            is_deeper = depth < _MOST_DEPTH and rng.random() < depth_chance
            inner = "".join(group(depth + 1) for _ in range(rng.randint(1, 2))) if is_deeper else ""
            return f"{opening}{inner}{closing}"

        groups = [group(0) for _ in range(rng.randint(1, 4))]
        return (rng.choice(others) if others and rng.random() < 0.8 else "").join(groups)


def _alphabet(text: str) -> frozenset[str]:
    """Characters of the classes that were seen; where it is often the same few of a class, these."""
    counts = Counter(text)
    allowed = set(counts)
    for letters in _CLASSES:
        found = [letter for letter in letters if letter in counts]
        often = sum(counts[letter] for letter in found) >= 3 * len(found)
        if found and not (often and 3 * len(found) <= len(letters)):
            allowed.update(letters)
    return frozenset(allowed)


def _numbers(texts: Sequence[str]) -> IntKind | FloatKind:
    texts = [text for text in texts if text]
    if any("." in text for text in texts):
        return FloatKind.of([float(text) for text in texts])
    return IntKind.of([int(text) for text in texts])
