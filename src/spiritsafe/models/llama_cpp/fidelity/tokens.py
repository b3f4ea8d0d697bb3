"""Whether texts are the same tokens by the parent's tokenizer, by the file's header and by llama.cpp.

In: the parent's directory, a directory rebuilt from the file's header, a process that runs the file, texts. Out: a
:class:`~spiritsafe.models.llama_cpp.fidelity.records.TokenFidelity`. Nothing is added to a text, such as a token that
begins it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.llama_cpp.fidelity.records import TokenDifference, TokenFidelity
from spiritsafe.models.llama_cpp.fidelity.texts import fuzz_texts, general_texts
from spiritsafe.models.llama_cpp.process import LlamaProcess

_MOST_SHOWN = 5
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def compare_tokens(
    directory: Path, header: Path, process: LlamaProcess, *, num_texts: int = 400, seed: int = 0
) -> TokenFidelity:
    """Tokenise a fuzz corpus and some conversations in all ways.

    Args:
        directory: The parent's.
        header: Holds the tokenizer that the file's header describes.
        num_texts: Random texts, beside those that are always there.
        seed: Of the random texts.

    Raises:
        SourceError: A tokenizer is missing or damaged.
        CompatibilityError: One has no chat template.
        EndpointError: llama.cpp's process broke down.
    """
    parent, rebuilt = ChatFormat(directory), ChatFormat(header)
    ours, theirs = _fast_tokenizer(directory), _fast_tokenizer(header)
    special = [token["content"] for token in json.loads(ours.to_str())["added_tokens"]]
    texts = fuzz_texts(special, count=num_texts, seed=seed)
    missing = _missing_characters(ours, texts)
    texts = [text.translate(dict.fromkeys(map(ord, missing))) for text in texts]
    differences: list[TokenDifference] = []
    for parses_special in (True, False):
        for tokenizer in (ours, theirs):
            tokenizer.encode_special_tokens = not parses_special
        for text in texts:
            found = (_ids(ours, text), _ids(theirs, text), tuple(process.tokenize(text, special=parses_special)))
            if len(set(found)) > 1:
                differences.append(_difference(text, parses_special, *found))
    conversations = list(_conversations())
    for messages in conversations:
        shown, *pair = (_prompt(parent, messages), *(_prompt(chat, messages)[1] for chat in (parent, rebuilt)))
        if pair[0] != pair[1]:
            differences.append(_difference(shown[0], True, pair[0], pair[1], None))
    return TokenFidelity(
        seed=seed,
        num_texts=len(texts),
        num_conversations=len(conversations),
        missing=missing,
        num_different=len(differences),
        first=tuple(sorted(differences, key=lambda one: len(one.text))[:_MOST_SHOWN]),
        parent_ends=parent.eos_ids,
        header_ends=rebuilt.eos_ids,
    )


def _fast_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer as transformers has it, which cuts no text and fills none up."""
    found: Tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True).backend_tokenizer
    found.no_truncation()
    found.no_padding()
    return found


def _ids(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


def _missing_characters(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
    """Characters that the vocabulary has no tokens for.

    The tokenizers library leaves them out without a word and merges what stood on both sides; llama.cpp leaves them out
    and merges nothing across. No model was ever taught what they are.
    """
    found = []
    for character in sorted(set("".join(texts))):
        spelled = tokenizer.decode(list(_ids(tokenizer, character)), skip_special_tokens=False)
        if not spelled or (_REPLACEMENT in spelled and character != _REPLACEMENT):
            found.append(character)
    return "".join(found)


def _conversations() -> Iterator[list[Message]]:
    texts = [one.text for one in general_texts()]
    for start in range(0, len(texts) - 2, 9):
        user, assistant, system = (
            Message(role=role, content=text)
            for role, text in zip(("user", "assistant", "system"), texts[start : start + 3], strict=True)
        )
        yield from ([user], [system, user], [user, assistant, user], [system, user, assistant, user])


def _prompt(chat: ChatFormat, messages: Sequence[Message]) -> tuple[str, tuple[int, ...]]:
    """A conversation as it is rendered, and its tokens; a template that refuses it says so in both places."""
    try:
        return chat.render(messages), tuple(chat.prompt_ids(messages))
    except CompatibilityError as error:
        return error.message, ()


def _difference(
    text: str, parses_special: bool, parent: Sequence[int], header: Sequence[int], llama_cpp: Sequence[int] | None
) -> TokenDifference:
    return TokenDifference(
        text=text,
        parses_special=parses_special,
        parent=tuple(parent),
        header=tuple(header),
        llama_cpp=None if llama_cpp is None else tuple(llama_cpp),
    )
