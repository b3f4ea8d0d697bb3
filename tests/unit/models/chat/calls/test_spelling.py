"""How templates spell calls, found out by asking them; what cannot be read again is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from calling_models import CALLING
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.chat.calls.spelling import HERMES, CallSpelling, Loose
from spiritsafe.models.chat.format import ChatFormat

FOUND = {
    "hermes": HERMES,
    "thinking": HERMES,
    "llama3": CallSpelling(
        trigger='{"name": "', head='{"name": "', middle='", "parameters": ', gap=None, tail="}", behind_text=False
    ),
    "mistral": CallSpelling(
        trigger="[TOOL_CALLS]",
        head='[TOOL_CALLS] [{"name": "',
        middle='", "arguments": ',
        gap=', "id": "\0"}, {"name": "',
        tail=', "id": "\0"}]',
        behind_text=True,
    ),
    "deepseek": CallSpelling(
        trigger="<calls>",
        head="<calls><call>function<sep>",
        middle="\n```json\n",
        gap="\n```</call>\n<call>function<sep>",
        tail="\n```</call></calls>",
        behind_text=True,
    ),
}


@pytest.mark.parametrize("kind", sorted(FOUND))
def test_a_template_says_how_it_spells_calls(kind: str, tmp_path: Path) -> None:
    chat = ChatFormat(CALLING[kind](tmp_path))
    assert chat.call_spelling == FOUND[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("xml", "otherwise than as JSON"),
        ("calls_as_text", "cannot be told from text"),
        ("harmony", "on channels of their own"),
    ],
)
def test_calls_that_cannot_be_read_are_refused(kind: str, words: str, tmp_path: Path) -> None:
    chat = ChatFormat(CALLING[kind](tmp_path))
    with pytest.raises(CompatibilityError, match=words) as caught:
        _ = chat.call_spelling
    assert 'tool_choice "none"' in caught.value.hint


LITERALS = st.text(alphabet='{}[]:,"ab <>\n', min_size=1, max_size=12)


@given(LITERALS, st.text(alphabet=' \n{}[]:,"ab<>', max_size=16))
def test_a_loose_literal_is_its_expression(literal: str, text: str) -> None:
    loose = Loose(literal)
    end = loose.end(text, 0)
    found = re.match(loose.regex, text)
    assert (end is not None and end <= len(text)) == (found is not None)
    assert found is None or found.end() == end
    assert loose.end(literal.strip(), 0) == len(literal.strip())


def test_text_that_may_still_become_a_literal() -> None:
    loose = Loose('}, "id": "\0"}')
    assert loose.end('},"id" : "abc', 0) == 14
    assert loose.end('},"id":"abc"}x', 0) == 13
    assert loose.end('}, "ib', 0) is None
