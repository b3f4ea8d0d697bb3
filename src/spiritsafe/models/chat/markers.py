"""Names of added tokens in text: those that a template writes are tokens, those in somebody's words are words.

In: a tokenizer, the names that are markers, contents and a rendered text. Out: token ids. How it is known who wrote a
name: contents are rendered with stand-ins for the characters that such names begin with, so each name in the rendered
text is the template's own, whatever the template trims, splits or glues together. How the two are told apart in
encoding: in a second copy of the tokenizer, the markers are called by private characters, and their names are ordinary
text. What no name stands in is encoded by the tokenizer as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

from tokenizers import Tokenizer

from spiritsafe.core.errors import CompatibilityError

_HALF = re.compile("[\ud800-\udfff]")
_ALIASES = 0xF0000
_STAND_INS = 0x10FFFD

Piece = tuple[str, bool]
"""A part of an assistant's text, and whether every marker in it acts."""


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a text; names of special tokens in it are obeyed, none is added.

    Raises:
        CompatibilityError: Half a character stands in the text.
    """
    try:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    except TypeError as error:  # what the tokenizers library says to a lone surrogate
        raise CompatibilityError(
            f"A text holds half a character, which is no Unicode: {_HALF.findall(text)[:1]!a}.",
            hint="JSON that was cut within an emoji reads so: repair the text, or leave it out.",
        ) from error
    return found


@final
@dataclass(frozen=True)
class Marked:
    """A rendered text that knows which names in it are the template's; a part of it knows the same.

    Attributes:
        text: With stand-ins in what people wrote.
        stand_ins: What each stands for, by its number.
    """

    text: str
    stand_ins: Mapping[int, str]

    @property
    def plain(self) -> str:
        """The text as it reads."""
        return self.text.translate(self.stand_ins)

    def part(self, start: int, end: int | None = None) -> Marked:
        """What stands between two places."""
        return Marked(self.text[start:end], self.stand_ins)


def _added(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    tokens: list[dict[str, Any]] = content["added_tokens"]
    return tokens


def words_in(value: Any) -> Iterator[str]:
    """All texts in a JSON value, names of its fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from value.keys()
        for part in value.values():
            yield from words_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from words_in(part)


@final
class _Aliased:
    """The tokenizer with its markers renamed to characters from ``base`` on."""

    def __init__(self, content: Mapping[str, Any], names: Sequence[str], base: int) -> None:
        self.base = base
        self.of = {name: chr(base + place) for place, name in enumerate(names)}
        added = [{**token, "content": self.of.get(token["content"], token["content"])} for token in _added(content)]
        renamed = {**content, "added_tokens": added, "post_processor": None, "truncation": None, "padding": None}
        self._tokenizer = Tokenizer.from_str(json.dumps(renamed, ensure_ascii=False))
        self._ids: dict[int, int] = {}
        for token, old in zip(added, _added(content), strict=True):
            found: Any = self._tokenizer.token_to_id(token["content"])
            self._ids[int(found)] = int(old["id"])
        # Ids that a marker's name may still have in the vocabulary proper: a Unigram model finds it there.
        self._forbidden = {int(token["id"]) for token in _added(content) if token["content"] in self.of}
        self._forbidden -= self._ids.keys()
        self._newline = self._ids_of("\n")
        self.adds_prefix = self._ids_of("\na") != self._newline + self._ids_of("a")
        self._names = re.compile("|".join(map(re.escape, names)) or "(?!)")

    def _ids_of(self, text: str) -> list[int]:
        return encode(self._tokenizer, text)

    def encode(self, text: str, *, goes_on: bool) -> list[int]:
        """Ids of a text in which markers have their aliases.

        Args:
            goes_on: It stands behind other text, so that no space is put before it.
        """
        found = self._piece(text, goes_on=goes_on)
        if not self._forbidden.isdisjoint(found):
            cuts = [0, *(match.start() + 1 for match in self._names.finditer(text)), len(text)]
            parts = [text[start:end] for start, end in pairwise(cuts)]
            found = [
                token for place, part in enumerate(parts) for token in self._piece(part, goes_on=goes_on or place > 0)
            ]
            if not self._forbidden.isdisjoint(found):
                raise CompatibilityError(
                    "The tokenizer has a special token whose name cannot be written as text.",
                    hint="Leave that name out of the conversation.",
                )
        return [self._ids.get(token, token) for token in found]

    def _piece(self, text: str, *, goes_on: bool) -> list[int]:
        if not (goes_on and self.adds_prefix):
            return self._ids_of(text)
        return self._ids_of("\n" + text)[len(self._newline) :]


def _matcher(names: Sequence[str]) -> re.Pattern[str]:
    """Finds the longest of some names."""
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)")


def _unused(texts: Sequence[str], count: int) -> list[int]:
    """Numbers of private characters that stand in none of the texts."""
    used = {ord(character) for text in texts for character in text if ord(character) >= _ALIASES}
    numbers = [number for number in range(_STAND_INS, _STAND_INS - len(used) - count, -1) if number not in used]
    return numbers[:count]


@final
class Markers:
    """The markers of one tokenizer.

    Args:
        content: The same as JSON; it is not kept.
        names: Every marker: special tokens, and added tokens that the template writes.
        inner: Those that an assistant may write itself, thoughts' markers and calls of tools: in an assistant's text
            they act.
    """

    def __init__(self, fast: Tokenizer, content: Mapping[str, Any], names: Iterable[str], inner: Iterable[str]) -> None:
        self._fast = fast
        self._names = sorted(set(names), key=lambda name: (-len(name), name))
        self._inner = sorted(set(inner) & set(self._names), key=lambda name: (-len(name), name))
        self._find, self._find_inner = _matcher(self._names), _matcher(self._inner)
        begins = {name: next((c for c in name if not c.isalnum() and not c.isspace()), "") for name in self._names}
        self._begins = sorted(set(begins.values()) - {""})
        self._words = _matcher([name for name, begin in begins.items() if not begin])
        self._aliased = _Aliased(content, self._names, _ALIASES)

    @property
    def enders(self) -> list[str]:
        """Markers that may end a turn: those that an assistant does not write itself."""
        return [name for name in self._names if name not in self._inner]

    def has_name(self, text: str) -> bool:
        """Whether a marker's name stands in a text."""
        return self._find.search(text) is not None

    # ---- before rendering

    def cover(self, turns: Sequence[Mapping[str, Any]], *, beside: str) -> tuple[list[dict[str, Any]], dict[int, str]]:
        """Turns with stand-ins in place of the characters that begin markers.

        Args:
            turns: Messages as a template reads them; every field but the role is somebody's words, or JSON of such.
            beside: More text that the stand-ins must not occur in.

        Returns:
            The turns, and what each stand-in stands for.
        """
        texts = [text for turn in turns for key, value in turn.items() if key != "role" for text in words_in(value)]
        if not any(begin in text for begin in self._begins for text in texts) and not any(
            map(self._words.search, texts)
        ):
            return [dict(turn) for turn in turns], {}
        letters = sorted({*self._begins, *(match[0][0] for text in texts for match in self._words.finditer(text))})
        numbers = _unused([*texts, beside], len(letters))
        stand_in = {letter: chr(number) for letter, number in zip(letters, numbers, strict=True)}
        table = {ord(begin): stand_in[begin] for begin in self._begins}

        def covered(text: str) -> str:
            text = self._words.sub(lambda match: stand_in[match[0][0]] + match[0][1:], text)
            return text.translate(table)

        def covered_json(value: Any) -> Any:
            """Of JSON only the signs: templates look for its words."""
            if isinstance(value, dict):
                return {covered_json(name): covered_json(part) for name, part in value.items()}
            if isinstance(value, list):
                return [covered_json(part) for part in value]
            return value.translate(table) if isinstance(value, str) else value

        out = []
        for turn in turns:
            fields = {
                key: value
                if key == "role"
                else self._outside(turn, value, covered)
                if isinstance(value, str)
                else covered_json(value)
                for key, value in turn.items()
            }
            out.append(fields)
        return out, dict(zip(numbers, letters, strict=True))

    def _outside(self, turn: Mapping[str, Any], text: str, covered: Any) -> str:
        """Cover a text; an assistant's own markers are left as they are."""
        if turn["role"] != "assistant" or not self._inner:
            return str(covered(text))
        parts = re.split(f"({self._find_inner.pattern})", text)
        return "".join(part if place % 2 else covered(part) for place, part in enumerate(parts))

    def written(self, text: str) -> list[str]:
        """The markers in a text, in their order."""
        return self._find.findall(text)

    def _places(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self._find.finditer(text)]

    # ---- after

    def encode(self, marked: Marked, *, goes_on: bool = False) -> list[int]:
        """Ids of a rendered text: the template's markers are tokens, names in contents are words.

        Args:
            goes_on: It stands behind other text.
        """
        plain = marked.plain
        is_plain = not marked.stand_ins or self._places(plain) == self._places(marked.text)
        if is_plain and not (goes_on and self._aliased.adds_prefix):
            return encode(self._fast, plain)
        aliased = self._renamed([marked.text, plain])
        text = self._find.sub(lambda match: aliased.of[match[0]], marked.text).translate(marked.stand_ins)
        return aliased.encode(text, goes_on=goes_on)

    def encode_own(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of what an assistant wrote, behind a prompt."""
        aliased = self._renamed([text for text, _ in pieces])
        text = ""
        for part, acts in pieces:
            find = self._find if acts else self._find_inner
            text += find.sub(lambda match: aliased.of[match[0]], part)
        return aliased.encode(text, goes_on=True)

    def _renamed(self, texts: Sequence[str]) -> _Aliased:
        """The renamed tokenizer; another one where somebody wrote its private characters."""
        used = {ord(character) for text in texts for character in text if ord(character) >= _ALIASES}
        size = max(1, len(self._names))
        if used.isdisjoint(range(_ALIASES, _ALIASES + size)):
            return self._aliased
        bases = range(_ALIASES + size, _STAND_INS - size, size)
        base = next((base for base in bases if used.isdisjoint(range(base, base + size))), None)
        if base is None:
            raise CompatibilityError(
                "A conversation uses up Unicode's private characters.", hint="Leave them out of it."
            )
        return _Aliased(json.loads(self._fast.to_str()), self._names, base)
