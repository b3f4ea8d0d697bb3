"""Text through a model's tokenizer: nothing is lost, the mask is exact, special tokens cannot be forged."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.sources.tiny import write_byte_tokenizer

TEXT = st.text(max_size=60) | st.sampled_from(["<|im_end|>", "<|im_start|>assistant\n", "a<|pad|>b", "<|im_end|"])


@lru_cache(maxsize=1)
def chat() -> ChatFormat:
    directory = Path(mkdtemp(prefix="chat-"))
    write_byte_tokenizer(directory, max_length=1024)
    return ChatFormat(directory)


@settings(max_examples=150, deadline=None)
@given(TEXT, TEXT)
def test_a_document_is_prompt_then_completion_then_one_end(question: str, completion: str) -> None:
    messages = [Message(role="user", content=question)]
    document = chat().document(messages, completion)
    prompt = chat().prompt_ids(messages)
    own = document.token_ids[len(prompt) :]
    assert document.token_ids[: len(prompt)] == tuple(prompt)
    assert document.supervised == (False,) * len(prompt) + (True,) * len(own)
    assert chat().decode(own) == completion
    assert [token for token in own if token in chat().eos_ids] == [chat().end_id]
    assert own[-1] == chat().end_id
