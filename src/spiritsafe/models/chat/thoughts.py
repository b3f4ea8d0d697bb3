"""How models mark their thoughts: what a format must say, whatever the model calls its markers.

Everywhere outside a model's own tokens a thought has one form: ``<think>thought</think>answer``; one that was cut off
is ``<think>thought``. Verifiers, traces and other families' students see that form. A format turns it into its model's
markers and back. Each is a file of this folder that is listed in :data:`spiritsafe.models.chat.format.FORMATS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, final

from spiritsafe.core.text.thoughts import CLOSE, OPEN
from spiritsafe.models.chat.markers import Piece

Use = Literal["learn", "align", "drawn"]
"""What a completion is placed for: "learn": with what the template puts before and behind an answer; "align": without,
so that it spells the same bytes in every family; "drawn": the model drew it behind the generation prompt."""


def split_thought(text: str) -> tuple[str | None, str]:
    """What is put aside, without its outermost marks, and what follows; None where nothing is."""
    before, close, after = text.rpartition(CLOSE)
    if close:
        return before.lstrip().removeprefix(OPEN), after
    if text.lstrip().startswith(OPEN):
        return text.lstrip().removeprefix(OPEN), ""
    return None, text


def num_begun(text: str, mark: str) -> int:
    """How many characters at a text's end begin a mark; 0 where none do."""
    place = text.find(mark[0], max(0, len(text) - len(mark) + 1))
    while place >= 0:
        if mark.startswith(text[place:]):
            return len(text) - place
        place = text.find(mark[0], place + 1)
    return 0


def is_open(text: str) -> bool:
    """Whether a text ends within a thought."""
    return OPEN in text.rpartition(CLOSE)[2]


@final
@dataclass(frozen=True, kw_only=True)
class TemplateProbe:
    """What a template does with one question and one answer, and what the tokenizer knows.

    Attributes:
        where: The model directory, for messages.
        prompt: The question with the generation prompt.
        before: Question and answer without the generation prompt, up to the answer.
        after: The same behind the answer, up to the end token.
        end: Name of the end token.
        ids: Ids of added tokens by their names.
        special: Names of those that are special.
        decode: Tokens to text; special ones leave no trace.
    """

    where: str
    template: str
    prompt: str
    before: str
    after: str
    end: str
    ids: Mapping[str, int]
    special: frozenset[str]
    decode: Callable[[Sequence[int]], str]


@final
@dataclass(frozen=True)
class Placed:
    """Where a completion stands.

    Attributes:
        pieces: The completion in the model's own markers.
        num_dropped: Characters of the generation prompt's end that do not stand before it.
        header: What stands there instead, not learnt.
    """

    pieces: tuple[Piece, ...]
    num_dropped: int = 0
    header: str = ""


class GrowingText(Protocol):
    """Text of tokens that come one by one."""

    def take(self, token_id: int) -> str:
        """What one more token adds; text that a later token may still change is held back."""
        ...

    def finish(self) -> str:
        """What was held back: no more tokens come, or none of the same text."""
        ...


class ThoughtFormat(Protocol):
    """One way to mark thoughts.

    Attributes:
        inner: Names of markers that an assistant writes.
        ends: Names of end tokens beside those that the model's files state.
        note: What the template does otherwise than this format can say; "" for nothing.
        thinks: An answer may have a thought in front, or the generation prompt opens one.
        tags: The model's two markers around a thought; None: it has channels.
    """

    inner: frozenset[str]
    ends: tuple[str, ...]
    note: str
    thinks: bool
    tags: tuple[str, str] | None

    @classmethod
    def detect(cls, probe: TemplateProbe) -> Self | None:
        """The format, if the model speaks it."""
        ...

    def fields(self, text: str) -> dict[str, str]:
        """An earlier turn of the assistant, as the template wants it."""
        ...

    def place(self, text: str, use: Use = "learn") -> Placed:
        """A completion behind a prompt.

        Args:
            text: In the one form.
            use: What for.

        Raises:
            CompatibilityError: The model is asked in a way that leaves no room for a thought.
        """
        ...

    def text(self, token_ids: Sequence[int], *, prefix: str | None) -> str:
        """Drawn tokens in the one form.

        Args:
            token_ids: Without an end token.
            prefix: What the turn already held; where it held nothing, a thought that the generation prompt opens is
                part of the text. None: the tokens are any part of a completion.
        """
        ...

    def growing(self, plain: GrowingText, *, prefix: str | None) -> GrowingText:
        """The same token by token: all that it gives, joined, is :meth:`text` of all tokens.

        Args:
            plain: Text of tokens between two markers; after its ``finish`` it begins anew.
            prefix: As in :meth:`text`.
        """
        ...

    def lead(self, spell: Callable[[str], str]) -> str:
        """What may stand between the generation prompt and an answer, as rules of a grammar in Lark's notation.

        Args:
            spell: A literal in that notation; special tokens in it are tokens.

        Returns:
            Rules, of which ``lead`` is the first; "" where nothing may.
        """
        ...


def text_up_to(mark: str, spell: Callable[[str], str], terminal: str) -> tuple[str, str]:
    """Free text and the mark that ends it: an expression in Lark's notation, and the terminal that it needs.

    Args:
        terminal: Its name.
    """
    if spell(mark).startswith("<["):  # free text holds no special token
        return f"{terminal} {spell(mark)}", f"{terminal}: /(?s:.*)/\n"
    regex = re.escape(mark).replace("/", r"\/")
    return terminal, f"{terminal}: /(?s:.*){regex}/ & ~/(?s:.*){regex}(?s:.+)/\n"
