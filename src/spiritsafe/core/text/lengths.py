"""How long a text can be that holds so many tokens: what a stranger sends is cut to it, what is too long is counted.

In: an attempt from beyond a border (an endpoint, a child process), with the limits it was asked under. Out: the attempt
as those limits leave it. Nobody outside can count an endpoint's tokens, but two bounds can be told from a text:

1. No token is longer than :data:`MOST_BYTES_A_TOKEN`. What is longer than ``max_tokens`` of these cannot be true and is
   cut there; so is what follows a stop string.
2. Written text has at most :data:`USUAL_CHARACTERS_A_TOKEN` on average, whatever its language. An answer of more is
   *overlong*: its tokens are estimated by its length, whatever is claimed, and then they are more than ``max_tokens``.
   That is how everybody counts such answers (:func:`is_overlong`).

A text is kept whole up to the length that rule 2 allows, or :data:`WINDOW`; of a longer one the end is kept, which is
all that verifiers look at, behind a note with length and digest of what came before; where a thought was open there,
``<think>`` stands in front.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from spiritsafe.core.records import Attempt, FinishReason, Sampling
from spiritsafe.core.text.thoughts import end_of

BYTES_A_TOKEN = 4
"""A customary average for English text; only used where nothing better is known."""

MOST_BYTES_A_TOKEN = 128
"""The longest tokens of the large vocabularies: runs of spaces or dashes."""

USUAL_CHARACTERS_A_TOKEN = 8
"""More than any language needs: the docs (exams.md) say what was measured."""

WINDOW = 20_000
"""Characters that verifiers look at, from the end."""

_NOTE = 200  # more than the note in front of a text whose end is kept
_ONE_TOKEN = MOST_BYTES_A_TOKEN  # an answer of few tokens may have one long one among them
_RUN = re.compile(r"(.)\1{3,}", re.DOTALL)  # rules and indentation are single tokens, however long


def estimate_tokens(num_bytes: int) -> int:
    """A rough token count of some UTF-8 text: a quarter of its bytes, rounded up."""
    return -(-num_bytes // BYTES_A_TOKEN)


def usual_characters(max_tokens: int) -> int:
    """The longest text, in characters, that so many tokens usually give."""
    return USUAL_CHARACTERS_A_TOKEN * max_tokens + _ONE_TOKEN


def is_too_long(text: str, max_tokens: int) -> bool:
    """Whether a text is longer than so many tokens usually give; of a run of one character four count."""
    most = usual_characters(max_tokens)
    return len(text) > most and len(_RUN.sub(lambda run: run[0][:4], text)) > most


def is_overlong(num_tokens: int, sampling: Sampling) -> bool:
    """Whether an answer with so many tokens on record had more than its limit."""
    return num_tokens > sampling.max_tokens


def kept_text(
    text: str, finish: FinishReason, *, max_tokens: int, stop: Sequence[str] = ()
) -> tuple[str, FinishReason]:
    """The part of a text that its limits allow and that is kept, and how it ended.

    Args:
        text: As it came.
        finish: Why it ended, as its source says; of a refused or failed one that stays.
        max_tokens: What was asked for.
        stop: Strings that end a text and are no part of it.
    """
    has_ended = finish in ("stop", "length")
    if cuts := [at for string in stop if string and (at := text.find(string)) >= 0]:
        text, finish = text[: min(cuts)], "stop" if has_ended else finish
    most_bytes = MOST_BYTES_A_TOKEN * max_tokens
    if len(text) > most_bytes // 4 and len(data := text.encode("utf-8", "surrogatepass")) > most_bytes:
        text, finish = data[:most_bytes].decode("utf-8", "ignore"), "length" if has_ended else finish
    return _windowed(text, max(WINDOW, usual_characters(max_tokens))), finish


def _windowed(text: str, most: int) -> str:
    if len(text) <= most + _NOTE:
        return text
    start, end = end_of(text, len(text) - WINDOW)
    seal = hashlib.sha256(text[:start].encode("utf-8", "surrogatepass")).hexdigest()
    return f"[{start} characters were left out, sha256:{seal}]\n{end}"


def within_limits(attempt: Attempt, max_tokens: int, stop: Sequence[str] = ()) -> Attempt:
    """An attempt of a source that may not keep to its limits, cut to them; what was cut once stays as it is.

    Where a source lists the tokens' ids, their number is known and nothing is estimated.
    """
    text, finish = kept_text(attempt.text, attempt.finish_reason, max_tokens=max_tokens, stop=stop)
    num_tokens = max(attempt.num_tokens, len(attempt.token_ids))
    if not attempt.token_ids and is_too_long(attempt.text, max_tokens):
        num_tokens = max(num_tokens, estimate_tokens(len(attempt.text.encode("utf-8", "surrogatepass"))))
    if (text, finish, num_tokens) == (attempt.text, attempt.finish_reason, attempt.num_tokens):
        return attempt
    return attempt.model_copy(update={"text": text, "finish_reason": finish, "num_tokens": num_tokens})
