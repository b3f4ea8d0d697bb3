from __future__ import annotations

import pytest

from spiritsafe.models.chat.thoughts import is_open, split_thought


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("5", None, "5"),
        ("<think>a</think>5", "a", "5"),
        ("<think>\na\n</think>\n\n5", "\na\n", "\n\n5"),
        ("a</think>5", "a", "5"),
        ("<think>a", "a", ""),
        ("<think>a</think>b</think>5", "a</think>b", "5"),
        ("say <think>", None, "say <think>"),
    ],
)
def test_what_is_put_aside(text: str, thought: str | None, answer: str) -> None:
    assert split_thought(text) == (thought, answer)


def test_a_thought_without_its_end_is_open() -> None:
    assert is_open("<think>a")
    assert is_open("<think>a</think>b<think>")
    assert not is_open("<think>a</think>5")
    assert not is_open("")
