from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import SourceError
from spiritsafe.models.chat.options import CHAT_OPTIONS, ChatOptions


def test_the_defaults_leave_no_file(tmp_path: Path) -> None:
    ChatOptions().write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert ChatOptions.of_directory(tmp_path) == ChatOptions()


def test_others_are_read_back(tmp_path: Path) -> None:
    options = ChatOptions(date="2026-11-28", template_kwargs={"enable_thinking": False, "n": [1, {"a": None}]})
    options.write(tmp_path)
    assert ChatOptions.of_directory(tmp_path) == options
    assert options.day.year == 2026


@pytest.mark.parametrize("date", ["28 Nov 2026", "2026-02-30", "20261128", "2026-W48-6", ""])
def test_what_is_no_day_is_refused(date: str) -> None:
    with pytest.raises(ValidationError):
        ChatOptions(date=date)


@pytest.mark.parametrize("text", ['{"date": "never"}', '{"today": 1}', '{"template_kwargs": []}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / CHAT_OPTIONS).write_text(text)
    with pytest.raises(SourceError, match=CHAT_OPTIONS):
        ChatOptions.of_directory(tmp_path)
