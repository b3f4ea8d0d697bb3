"""Special tokens that calls are spelled with are shown in the text."""

from __future__ import annotations

from pathlib import Path

from calling_models import CALLING

from spiritsafe.models.chat.calls.marks import MarkedText
from spiritsafe.models.chat.format import ChatFormat


class Plain:
    """Gives everything at the end."""

    def __init__(self, chat: ChatFormat) -> None:
        self.chat = chat
        self.ids: list[int] = []

    def take(self, token_id: int) -> str:
        self.ids.append(token_id)
        return ""

    def finish(self) -> str:
        ids, self.ids = self.ids, []
        return self.chat.decode(ids)


def test_a_mark_is_shown_where_it_stands(tmp_path: Path) -> None:
    chat = ChatFormat(CALLING["mistral"](tmp_path))
    mark = chat.special_tokens["[TOOL_CALLS]"]
    text = "é [TOOL_CALLS] [x"
    ids = chat.text_ids(text)
    assert mark in ids
    assert chat.decode(ids) == "é  [x"
    marked = MarkedText(Plain(chat), {mark: "[TOOL_CALLS]"})
    assert "".join([marked.take(token) for token in ids]) + marked.finish() == text
