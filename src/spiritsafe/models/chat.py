"""Chats as tokens: the one place where messages are rendered, completions encoded and end tokens known.

In: a model directory's tokenizer and chat template. Out: prompt tokens, training documents whose loss mask covers
exactly completion and end token, text from tokens, and a fingerprint of the vocabulary.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import jinja2
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from spiritsafe.core.canonical import digest, digest_bytes
from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files import read_json, storage_errors
from spiritsafe.core.records import Message
from spiritsafe.models.batch import Document

__all__ = ["TOKENIZER_FILES", "ChatFormat", "require_same_vocabulary"]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
"""Files of a model directory that say how text becomes tokens and where generation ends."""

_PROBE = "spiritsafe probe"


@final
class ChatFormat:
    """How one model's chats become tokens.

    Args:
        directory: A Hugging Face directory with ``tokenizer.json`` and a chat template.

    Attributes:
        directory: Where the tokenizer's files are.
        end_id: The token that the template puts behind an assistant's turn.
        eos_ids: Every token that ends a completion, ``end_id`` first.
        pad_id: A token for positions that nothing looks at.
        bos_id: The token that begins a text, where the tokenizer has one.
        vocab_size: Ids that the tokenizer knows, added tokens included.
        vocab_fingerprint: Digest of token ids, merges and added tokens.
        template_fingerprint: Digest of the chat template.

    Raises:
        SourceError: The tokenizer's files are missing or damaged.
        CompatibilityError: There is no chat template, or it gives no end token.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._tokenizer = _load_tokenizer(directory)
        self._fast: Tokenizer = self._tokenizer.backend_tokenizer
        # Completions are text: a special token's name inside them is spelled out, not obeyed.
        self._plain: Tokenizer = Tokenizer.from_str(self._fast.to_str())
        self._plain.encode_special_tokens = True
        if not self._tokenizer.chat_template:
            raise CompatibilityError(
                f"{directory} has no chat template.",
                hint="Use an instruction-tuned model, or add chat_template.jinja to the directory.",
            )
        self._adds_prefix = self._encode_plain("\na") != self._encode_plain("\n") + self._encode_plain("a")
        self.end_id = self._find_end()
        self.eos_ids = self._find_eos()
        pad = self._tokenizer.pad_token_id
        self.pad_id: int = self.end_id if pad is None else int(pad)
        bos = self._tokenizer.bos_token_id
        self.bos_id: int | None = None if bos is None else int(bos)
        self.vocab_size: int = self._fast.get_vocab_size(with_added_tokens=True)
        self.vocab_fingerprint = _fingerprint(self._fast)
        self.template_fingerprint = digest(self._tokenizer.chat_template)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return ids

    def _encode_plain(self, text: str) -> list[int]:
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def render(self, messages: Sequence[Message], *, generation: bool = True) -> str:
        """The text that the model reads.

        Args:
            messages: The conversation. Without a system message, the template's own default stands.
            generation: End with the header of the assistant's turn.

        Raises:
            CompatibilityError: The template refuses these messages.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise CompatibilityError(
                f"The chat template of {self.directory} refuses this conversation: {error}.",
                hint="Check which roles and orders of turns the model supports.",
            ) from error
        return str(text)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the conversation with the header of the assistant's turn.

        Raises:
            CompatibilityError: The template refuses the conversation, or shows an earlier assistant's turn otherwise
                than it was written, so that what was sampled is not what would be read.
        """
        text = self.render(messages)
        for index, message in enumerate(messages):
            if message.role == "assistant" and not text.startswith(self.render(messages[:index]) + message.content):
                raise CompatibilityError(
                    f"The chat template of {self.directory} rewrites earlier turns of the assistant.",
                    hint="Use single-turn conversations with this model, or a template that leaves turns as they are.",
                )
        return self._encode(text)

    def completion_ids(self, completion: str) -> list[int]:
        """Tokens of a completion, without an end token; names of special tokens in it are spelled out as text."""
        if not self._adds_prefix:
            return self._encode_plain(completion)
        return self._encode_plain("\n" + completion)[len(self._encode_plain("\n")) :]

    def document(self, messages: Sequence[Message], completion: str, *, weight: float = 1.0) -> Document:
        """A training document: prompt unsupervised; completion and one end token supervised.

        Raises:
            CompatibilityError: As :meth:`prompt_ids`.
        """
        return self.document_from_tokens(messages, [*self.completion_ids(completion), self.end_id], weight=weight)

    def document_from_tokens(
        self, messages: Sequence[Message], token_ids: Sequence[int], *, weight: float = 1.0
    ) -> Document:
        """A training document from tokens that a model drew, all supervised; no end token is added.

        Raises:
            CompatibilityError: As :meth:`prompt_ids`.
        """
        prompt = self.prompt_ids(messages)
        return Document(
            token_ids=(*prompt, *token_ids),
            supervised=(*[False] * len(prompt), *[True] * len(token_ids)),
            weight=weight,
        )

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of tokens; special tokens leave no trace."""
        text: str = self._fast.decode(list(token_ids), skip_special_tokens=True)
        return text

    def spell(self, token_ids: Sequence[int]) -> str:
        """Text of tokens with the names of special tokens in it."""
        text: str = self._fast.decode(list(token_ids), skip_special_tokens=False)
        return text

    def text_ids(self, text: str) -> list[int]:
        """Tokens of a rendered text; names of special tokens in it are obeyed, none is added."""
        return self._encode(text)

    def save(self, directory: Path) -> None:
        """Copy the tokenizer's files into an existing directory.

        Raises:
            StorageError: The directory cannot be written.
        """
        for name in TOKENIZER_FILES:
            if (self.directory / name).is_file():
                with storage_errors(directory / name):
                    shutil.copyfile(self.directory / name, directory / name)

    def _find_end(self) -> int:
        """The first special token after an assistant's turn, as the template renders it."""
        user = Message(role="user", content="?")
        text = self.render([user, Message(role="assistant", content=_PROBE)], generation=False)
        if _PROBE not in text:
            raise CompatibilityError(
                f"The chat template of {self.directory} does not show the assistant's turn.",
                hint="Use another chat template.",
            )
        special = {index for index, token in self._fast.get_added_tokens_decoder().items() if token.special}
        tail = [token for token in self._encode(text[text.rindex(_PROBE) + len(_PROBE) :]) if token in special]
        eos = self._tokenizer.eos_token_id
        end = tail[0] if tail else eos
        if end is None:
            raise CompatibilityError(
                f"Neither the chat template nor the tokenizer of {self.directory} has an end token.",
                hint='Set "eos_token" in tokenizer_config.json.',
            )
        return int(end)

    def _find_eos(self) -> tuple[int, ...]:
        found = [self.end_id]
        if self._tokenizer.eos_token_id is not None:
            found.append(int(self._tokenizer.eos_token_id))
        path = self.directory / "generation_config.json"
        given = read_json(path).get("eos_token_id") if path.is_file() else None
        found.extend(given if isinstance(given, list) else [] if given is None else [given])
        return tuple(dict.fromkeys(found))


def _load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    if not (directory / "tokenizer.json").is_file():
        raise SourceError(
            f"{directory} has no tokenizer.json.", hint="Fetch the whole model directory, tokenizer included."
        )
    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for damaged files
        raise SourceError(
            f"The tokenizer in {directory} cannot be read: {error}.", hint="Fetch the model again."
        ) from error


def _fingerprint(tokenizer: Tokenizer) -> str:
    """Digest of what token ids mean: vocabulary, merges and added tokens (not of how text is split beforehand)."""
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    model = content["model"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or []]
    added = sorted((token["id"], token["content"]) for token in content["added_tokens"])
    what = {"vocabulary": model.get("vocab"), "merges": merges, "added": added}
    return digest_bytes(json.dumps(what, sort_keys=True, separators=(",", ":")).encode())


def require_same_vocabulary(teacher: ChatFormat, student: ChatFormat) -> None:
    """Refuse a pair whose token ids mean different things.

    Raises:
        CompatibilityError: The vocabularies differ.
    """
    if teacher.vocab_fingerprint == student.vocab_fingerprint:
        return
    raise CompatibilityError(
        f"Teacher {teacher.directory} ({teacher.vocab_size} tokens) and student {student.directory} "
        f"({student.vocab_size} tokens) have different vocabularies, so their probabilities cannot be compared.",
        hint="Cut the student from this teacher, choose a student of the same family, or distil from traces instead.",
    )
