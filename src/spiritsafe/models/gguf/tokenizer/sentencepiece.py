"""Vocabularies of SentencePiece's kind: from merges to scores, and back.

Hugging Face's files list which pairs merge, in order; GGUF gives each piece a score, and any two neighbours merge whose
sum is a piece, the highest score first. Both say the same where the list holds every such pair in the order of its sum:
:func:`merges_of` makes that list, so whoever writes scores can see whether they say what the list said.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Literal, final

UNUSED_NAME = "[PAD{}]"
"""What stands at an id that no token has: an embedding may have more rows than the tokenizer has tokens."""


@final
class TokenKind(IntEnum):
    """``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def is_filler(token: str, index: int, kind: int) -> bool:
    """Whether nothing but an unused row of the embedding stands there."""
    return kind == TokenKind.UNUSED and token == UNUSED_NAME.format(index)


def byte_token(byte: int) -> str:
    """The piece that stands for a byte that no other piece covers."""
    return f"<0x{byte:02X}>"


MergeOrder = Literal["ids", "lengths"]
"""Which of several pairs of equal score comes first: up to version 4 of transformers, which converted SentencePiece's
models, the one with the lower ids (of the sum first), since then the one with the longer left piece."""


def merges_of(
    tokens: Sequence[str], scores: Sequence[float], kinds: Sequence[int], order: MergeOrder = "ids"
) -> list[tuple[str, str]]:
    """Every pair of pieces whose sum is a piece, the highest score first."""
    ids = {token: index for index, token in enumerate(tokens) if kinds[index] == TokenKind.NORMAL}
    found: list[tuple[float, int, int, int, int, int]] = []
    for token, index in ids.items():
        for cut in range(1, len(token)):
            left, right = ids.get(token[:cut]), ids.get(token[cut:])
            if left is not None and right is not None:
                lengths = (0, 0) if order == "ids" else (-cut, cut - len(token))
                found.append((-scores[index], *lengths, index, left, right))
    return [(tokens[left], tokens[right]) for *_, left, right in sorted(found)]


def scores_of(tokens: Sequence[str], merges: Sequence[tuple[str, str]], kinds: Sequence[int]) -> list[float]:
    """A score for each token from the order in which its merges come; 0 for bytes and tokens with a name.

    Pieces whose merges are mixed with each other have one score.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for place, (left, right) in enumerate(merges):
        first.setdefault(left + right, place)
        last[left + right] = place
    ranks: dict[str, int] = {}
    rank, reach = -1, -1
    for piece, place in first.items():
        if place > reach:
            rank += 1
        ranks[piece], reach = rank, max(reach, last[piece])
    # Pieces that nothing merges to never compete; SentencePiece ranks them behind all others.
    return [
        -float(ranks.get(token, rank + 1)) if kind == TokenKind.NORMAL else 0.0
        for token, kind in zip(tokens, kinds, strict=True)
    ]
