"""What single tokens spell: their bytes, and the text that they add to the tokens before them.

In: a tokenizer. Out: for each id its bytes; text token by token, with a bounded look back. The text of many tokens is
not that of each: characters lie across tokens, a text's first space is no space, and a run of byte tokens is text only
where all of it is.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Container, Sequence
from typing import Any, final

from tokenizers import Tokenizer

from spiritsafe.models.chat.thoughts import GrowingText
from spiritsafe.models.interface.byte_alphabet import BYTE_OF_CHARACTER

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_LOCAL = {"ByteFallback", "Fuse", "Metaspace", "Replace", "Strip", "WordPiece", "BPEDecoder"}
"""Steps of decoders that look at one token and at whether it is the first or the last; with runs of byte tokens."""


def _steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A decoder as the flat list of what it does."""
    part = content.get("decoder")
    if part is None:
        return []
    return [step for inner in part["decoders"] for step in _steps({"decoder": inner})] if "decoders" in part else [part]


def _is_local(steps: Sequence[dict[str, Any]]) -> bool:
    """Whether what a token adds depends on the token before it only."""
    kinds = [step["type"] for step in steps]
    behind_fuse = kinds[kinds.index("Fuse") + 1 :] if "Fuse" in kinds else []
    return (
        set(kinds) <= _LOCAL
        and set(behind_fuse) <= {"Fuse", "Strip"}
        and not any(step["type"] == "Strip" and step["stop"] for step in steps)
    )


@final
class TokenText:
    """What the tokens of one vocabulary spell.

    Args:
        tokenizer: A fast tokenizer.
        special: Tokens that leave no trace in text.

    Attributes:
        is_exact: Every text is spelled, byte by byte; else a token may stand for any number of unknown characters.
    """

    def __init__(self, tokenizer: Tokenizer, special: Container[int]) -> None:
        self._tokenizer = tokenizer
        self._special = special
        content: dict[str, Any] = json.loads(tokenizer.to_str())
        steps = _steps(content)
        kinds = [step["type"] for step in steps]
        self._is_byte_level = [kind for kind in kinds if kind != "Fuse"] == ["ByteLevel"]
        self._has_byte_tokens = "ByteFallback" in kinds
        self._is_local = _is_local(steps)
        self.is_exact = self._is_byte_level or self._has_byte_tokens
        self._bytes: dict[int, bytes] = {}
        self._shown: dict[int, bytes] = {}
        self._size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self._anchor = next((i for i in range(self._size) if self._is_plain(i)), None)

    def _is_plain(self, token_id: int) -> bool:
        if token_id in self._special or self.byte_of(token_id) is not None:
            return False
        text = self._decode([token_id])
        return bool(text) and text.isalnum() and text.isascii()

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def is_silent(self, token_id: int) -> bool:
        """It leaves no trace in text: a special token, or an id without a token."""
        return token_id in self._special or self._tokenizer.id_to_token(token_id) is None

    def byte_of(self, token_id: int) -> int | None:
        """The byte that a byte token stands for; None for other tokens."""
        found = _BYTE_TOKEN.fullmatch(self._tokenizer.id_to_token(token_id) or "") if self._has_byte_tokens else None
        return None if found is None else int(found[1], 16)

    def bytes_of(self, token_id: int) -> bytes:
        """What a token spells within a text; a special one its name, an id without a token nothing."""
        known = self._bytes.get(token_id)
        if known is None:
            known = self._bytes[token_id] = self._find_bytes(token_id)
        return known

    def shown_bytes_of(self, token_id: int) -> bytes:
        """The same, and nothing for a token that leaves no trace in text."""
        known = self._shown.get(token_id)
        if known is None:
            known = self._shown[token_id] = b"" if self.is_silent(token_id) else self.bytes_of(token_id)
        return known

    def _find_bytes(self, token_id: int) -> bytes:
        name: str | None = self._tokenizer.id_to_token(token_id)
        if name is None:
            return b""
        if token_id in self._special:
            return name.encode("utf-8", "replace")
        if self._is_byte_level:
            spelled = [BYTE_OF_CHARACTER.get(character) for character in name]
            known = [byte for byte in spelled if byte is not None]
            return bytes(known) if len(known) == len(spelled) else name.encode("utf-8", "replace")
        byte = self.byte_of(token_id)
        if byte is not None:
            return bytes([byte])
        if self._anchor is None:
            return self._decode([token_id]).encode("utf-8", "replace")
        before = self._decode([self._anchor])
        return self._decode([self._anchor, token_id])[len(before) :].encode("utf-8", "replace")

    def longest(self) -> int:
        """Most bytes that one token spells."""
        return max((len(self.bytes_of(token)) for token in range(self._size)), default=0)

    def growing(self) -> GrowingText:
        """Text of tokens that come one by one, without special ones."""
        if self._is_byte_level:
            return _GrowingBytes(self)
        return _GrowingWindow(self, self._decode) if self._is_local else _Withheld(self._decode)


@final
class _GrowingBytes:
    """Tokens that spell bytes: a character is there when its last byte is."""

    def __init__(self, tokens: TokenText) -> None:
        self._tokens = tokens
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def take(self, token_id: int) -> str:
        return self._decoder.decode(self._tokens.shown_bytes_of(token_id))

    def finish(self) -> str:
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


@final
class _GrowingWindow:
    """Tokens that spell pieces of text, with byte tokens for what has no piece.

    A run of byte tokens is held back to its end: where it is no text, each of its bytes becomes a �.
    """

    def __init__(self, tokens: TokenText, decode: Any) -> None:
        self._tokens = tokens
        self._decode = decode
        self._window: list[int] = []
        self._shown = ""

    def take(self, token_id: int) -> str:
        if self._tokens.is_silent(token_id):
            return ""
        self._window.append(token_id)
        if self._tokens.byte_of(token_id) is not None:
            return ""
        more = self._more()
        self._window = [token_id]  # what the next one adds depends on this one only
        self._shown = self._decode(self._window)
        return more

    def _more(self) -> str:
        text: str = self._decode(self._window)
        return text[len(self._shown) :]

    def finish(self) -> str:
        more = self._more()
        self._window, self._shown = [], ""
        return more


@final
class _Withheld:
    """Tokens of a decoder that nobody knows: any of them may change all before it."""

    def __init__(self, decode: Any) -> None:
        self._decode = decode
        self._all: list[int] = []

    def take(self, token_id: int) -> str:
        self._all.append(token_id)
        return ""

    def finish(self) -> str:
        taken, self._all = self._all, []
        text: str = self._decode(taken)
        return text
