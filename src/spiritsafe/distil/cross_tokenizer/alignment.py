"""Chunks: where two token sequences of the same text both have a boundary.

In: the tokens of one text in two vocabularies. Out: for each token of each side its chunk. Chunks are as small as can
be: every byte boundary that both sides share ends one. A special token is a chunk of its own and must meet one of the
same role on the other side, whatever the two are called. Shapes: A and B tokens of the two sides, K chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes

_FIRST_ROLE = 256
_SHOWN_BYTES = 24


@final
@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Two token sequences of one text, cut at their common boundaries.

    Attributes:
        chunk_A: For each token of the first side its chunk, ascending from 0 without gaps.
        chunk_B: The same for the second side.
        bytes_K: Bytes of text in each chunk; 0 for a chunk of special tokens.
    """

    chunk_A: NDArray[np.int32]
    chunk_B: NDArray[np.int32]
    bytes_K: NDArray[np.int32]

    @property
    def num_chunks(self) -> int:
        """K."""
        return int(self.bytes_K.size)


def align(ids_A: Sequence[int], bytes_a: TokenBytes, ids_B: Sequence[int], bytes_b: TokenBytes) -> Alignment:
    """Cut two token sequences of the same text into minimal common chunks.

    Args:
        ids_A: Tokens of the first side.
        ids_B: Tokens of the second side.

    Raises:
        CompatibilityError: The two do not spell the same bytes, or have different special tokens at some place.
    """
    roles: dict[str, int] = {}
    symbols_a, ends_A = _symbols(ids_A, bytes_a, roles)
    symbols_b, ends_B = _symbols(ids_B, bytes_b, roles)
    if not np.array_equal(symbols_a, symbols_b):
        raise _difference(symbols_a, symbols_b, roles)
    # Every common end closes a chunk; a token belongs to the first that does not lie before its own end.
    ends_K = np.intersect1d(ends_A, ends_B, assume_unique=True)
    is_text = np.concatenate(([0], np.cumsum(symbols_a < _FIRST_ROLE)))
    return Alignment(
        chunk_A=np.searchsorted(ends_K, ends_A).astype(np.int32),
        chunk_B=np.searchsorted(ends_K, ends_B).astype(np.int32),
        bytes_K=np.diff(is_text[np.concatenate(([0], ends_K))]).astype(np.int32),
    )


def _symbols(
    token_ids: Sequence[int], vocabulary: TokenBytes, roles: dict[str, int]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """A text as numbers, a byte or a role each, and where each token ends in it."""
    vocabulary.check(token_ids)
    parts: list[NDArray[np.int32]] = []
    for token in token_ids:
        role = vocabulary.roles.get(token)
        if role is None:
            parts.append(np.frombuffer(vocabulary.spellings[token], dtype=np.uint8).astype(np.int32))
        else:
            parts.append(np.array([roles.setdefault(role, _FIRST_ROLE + len(roles))], dtype=np.int32))
    symbols = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
    return symbols, np.cumsum([part.size for part in parts], dtype=np.int64)


def _difference(a: NDArray[np.int32], b: NDArray[np.int32], roles: dict[str, int]) -> CompatibilityError:
    common = min(a.size, b.size)
    unequal = np.flatnonzero(a[:common] != b[:common])
    place = int(unequal[0]) if unequal.size else common
    names = {number: role for role, number in roles.items()}

    def show(symbols: NDArray[np.int32]) -> str:
        rest = symbols[place : place + _SHOWN_BYTES]
        if not rest.size:
            return "the end"
        if (role := names.get(int(rest[0]))) is not None:
            return f"a token of role {role!r}"
        return repr(bytes(rest[np.cumprod(rest < _FIRST_ROLE, dtype=bool)].astype(np.uint8)))

    return CompatibilityError(
        f"The two token sequences part at symbol {place}: {show(a)} against {show(b)}.",
        hint="Both sides must encode the same text: leave this document out, or map the special tokens' roles.",
    )
