"""The exact bytes that each token of a vocabulary stands for.

In: a fast tokenizer. Out: for each id its bytes, or its role when it is a special token, which stands for none. The
bytes are read from the vocabulary's own spelling (GPT-2's byte alphabet, or SentencePiece's ``▁`` and ``<0xAB>``) and
never from character offsets: a character whose bytes lie in several tokens has no offset that is right for each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, final

from tokenizers import Tokenizer

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import BYTE_OF_CHARACTER, ChatFormat

END_ROLE = "end"
"""Role of every token that ends a turn, whatever a model calls it."""

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_METASPACE = "\u2581"


def token_bytes(tokenizer: Tokenizer, *, roles: Mapping[int, str] | None = None) -> TokenBytes:
    """Read what each id stands for.

    Args:
        tokenizer: Byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM2), or SentencePiece's way of spelling with byte fallback
            (Llama 2, Mistral, Gemma).
        roles: Ids whose role is known; other special tokens are called ``special:<name>``.

    Raises:
        CompatibilityError: The tokens do not spell bytes exactly (WordPiece, suffixes at the ends of words).
    """
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    model = content["model"]
    spell = _speller(content)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    size = max(vocabulary.values(), default=-1) + 1
    spellings, found = [b""] * size, {index: f"unused:{index}" for index in range(size)}
    added = {token["id"]: token for token in content["added_tokens"]}
    for text, index in vocabulary.items():
        if index in added:
            spelled = None if added[index]["special"] else added[index]["content"].encode("utf-8")
        elif text == model.get("unk_token"):
            spelled = None
        else:
            spelled = spell(text)
        if spelled:
            spellings[index] = spelled
            del found[index]
        elif index in added or text == model.get("unk_token"):
            found[index] = f"special:{text}"
    for index, role in (roles or {}).items():
        spellings[index], found[index] = b"", role
    adds_space = not _is_byte_level(content) and _starts_with_space(tokenizer)
    return TokenBytes(spellings=tuple(spellings), roles=found, adds_space=adds_space)


@final
@dataclass(frozen=True, kw_only=True)
class TokenBytes:
    """A vocabulary seen as bytes.

    Attributes:
        spellings: For each id its bytes; empty for an id with a role.
        roles: For each id that stands for no text: :data:`END_ROLE`, ``special:<name>`` or ``unused:<id>``.
        adds_space: Whether the tokenizer puts a space before a text that it encodes on its own.
        end_id: Of several ids with the role :data:`END_ROLE` the one that ends a turn in the chat; None if unknown.
    """

    spellings: tuple[bytes, ...]
    roles: Mapping[int, str]
    adds_space: bool = False
    end_id: int | None = None

    @classmethod
    def of_chat(cls, chat: ChatFormat) -> TokenBytes:
        """The vocabulary of a model directory; each of the chat's end tokens has the role :data:`END_ROLE`.

        Raises:
            CompatibilityError: As :func:`token_bytes`.
        """
        tokenizer = Tokenizer.from_file(str(chat.directory / "tokenizer.json"))
        tokenizer.no_padding()
        return replace(token_bytes(tokenizer, roles=dict.fromkeys(chat.eos_ids, END_ROLE)), end_id=chat.end_id)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of spellings and roles: two vocabularies with the same one mean the same by each id."""
        hasher = sha256()
        for index, spelling in enumerate(self.spellings):
            role = self.roles.get(index, "").encode()
            hasher.update(len(spelling).to_bytes(4, "little") + spelling + len(role).to_bytes(4, "little") + role)
        return f"sha256:{hasher.hexdigest()}"

    def spell(self, token_ids: Sequence[int], *, at_start: bool = False) -> bytes:
        """The bytes of a sequence; ids with a role add none.

        Args:
            at_start: They are a text encoded on its own, so that a space which the tokenizer put before it is dropped.

        Raises:
            CompatibilityError: An id is not in the vocabulary.
        """
        self.check(token_ids)
        text = b"".join(self.spellings[token] for token in token_ids)
        return text[1:] if at_start and self.adds_space and text.startswith(b" ") else text

    def check(self, token_ids: Sequence[int]) -> None:
        """Refuse ids that the vocabulary does not have.

        Raises:
            CompatibilityError: There is one.
        """
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < len(self.spellings):
            raise CompatibilityError(
                f"A token id between {min(token_ids)} and {max(token_ids)} is not in the vocabulary of "
                f"{len(self.spellings)}.",
                hint="Tokenize each side with its own model's tokenizer.",
            )


def _parts(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A pre-tokenizer or decoder as the flat list of what it does."""
    part = content.get(name)
    if part is None:
        return []
    inner = part.get("pretokenizers") or part.get("decoders") or part.get("normalizers")
    return list(inner) if part["type"] == "Sequence" and inner is not None else [part]


def _is_byte_level(content: dict[str, Any]) -> bool:
    return any(part["type"] == "ByteLevel" for name in ("decoder", "pre_tokenizer") for part in _parts(content, name))


def _speller(content: dict[str, Any]) -> Any:
    """The function from a token as the vocabulary writes it to its bytes; None for what it cannot spell."""
    model = content["model"]
    if model["type"] in ("BPE", "Unigram") and not (
        model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    ):
        if _is_byte_level(content):
            return _spell_byte_level
        kinds = {part["type"] for name in ("decoder", "pre_tokenizer", "normalizer") for part in _parts(content, name)}
        replaces = _METASPACE in json.dumps(_parts(content, "decoder"), ensure_ascii=False)
        if "Metaspace" in kinds or replaces:
            return _spell_metaspace if _falls_back(content) else _spell_metaspace_only
    raise CompatibilityError(
        f"A {model['type']} tokenizer of this kind does not spell the exact bytes of a text.",
        hint="Use a byte-level BPE or a SentencePiece tokenizer, or train on the teacher's traces instead.",
    )


def _falls_back(content: dict[str, Any]) -> bool:
    decodes = any(part["type"] == "ByteFallback" for part in _parts(content, "decoder"))
    return decodes or bool(content["model"].get("byte_fallback"))


def _spell_byte_level(token: str) -> bytes | None:
    values = [BYTE_OF_CHARACTER.get(character) for character in token]
    return None if None in values else bytes(value for value in values if value is not None)


def _spell_metaspace_only(token: str) -> bytes | None:
    return token.replace(_METASPACE, " ").encode("utf-8")


def _spell_metaspace(token: str) -> bytes | None:
    if match := _BYTE_FALLBACK.fullmatch(token):
        return bytes([int(match[1], 16)])
    return _spell_metaspace_only(token)


def _starts_with_space(tokenizer: Tokenizer) -> bool:
    tokens: list[str] = tokenizer.encode("a", add_special_tokens=False).tokens
    return bool(tokens) and tokens[0].startswith(_METASPACE)
