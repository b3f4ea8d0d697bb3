"""A model's vocabulary as llguidance takes it: what each token spells, and which tokens are no text.

In: a chat format and the size of the logits. Out: llguidance's tokenizer. Why not its own reading of
``tokenizer.json``: that takes every added token called ``<…>`` for a special one, while ``<think>`` or ``<tool_call>``
are text in many models; and an end token must be no text whatever the file says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from llguidance import LLTokenizer, TokenizerWrapper

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.chat.format import ChatFormat


def grammar_tokenizer(chat: ChatFormat, vocab_size: int) -> LLTokenizer:
    """The vocabulary; ids beyond the tokenizer's spell nothing.

    Raises:
        CompatibilityError: The tokenizer is of a kind that llguidance does not know.
    """
    try:
        plain = LLTokenizer(chat.fast.to_str(), n_vocab=vocab_size, eos_token=list(chat.eos_ids))
    except ValueError as error:
        raise CompatibilityError(
            f"Answers of {chat.directory} cannot be held to a form: {str(error)[:200]}.",
            hint="Ask without a form and without tools, or use another model.",
        ) from error
    wrapper = TokenizerWrapper(_Vocabulary(chat, plain, vocab_size))
    return LLTokenizer(wrapper, n_vocab=vocab_size, eos_token=list(chat.eos_ids))


@final
class _Vocabulary:
    """What :class:`llguidance.TokenizerWrapper` asks for."""

    def __init__(self, chat: ChatFormat, plain: LLTokenizer, vocab_size: int) -> None:
        self._chat = chat
        self._plain = plain
        self._no_text = {*chat.special_tokens.values(), *chat.eos_ids}
        self.eos_token_id = chat.end_id
        self.bos_token_id = chat.bos_id
        known = min(vocab_size, chat.vocab_size)
        self.tokens: Sequence[bytes] = [plain.decode_bytes([token]) for token in range(known)]
        self.tokens = [*self.tokens, *[b""] * (vocab_size - known)]
        self.special_token_ids = sorted(self._no_text)

    def __call__(self, text: str) -> list[int]:
        """Tokens of a text that must come, as the model itself would write it."""
        if not isinstance(text, str):
            raise TypeError("only texts are taken")  # this is how the wrapper finds out
        ids = self._chat.text_ids(text)
        if not self._no_text.isdisjoint(ids) or b"".join(self.tokens[token] for token in ids) != text.encode():
            # The name of a special token in a text is a text; and some tokenizers put a space in front.
            ids = list(self._plain.greedy_tokenize(text))
        return ids
