from __future__ import annotations

import pytest

from spiritsafe.assist.compiled.lines import without_lines


@pytest.mark.parametrize(
    ("text", "part", "left"),
    [
        ("a\n  b\n\n\nc\n", "b", "a\nc\n"),
        ("a\n  b\n  c\nd", "b\n  c", "a\nd"),
        ("a\nb", "b", "a\n"),
        ("a\nb\n\n", "b", "a\n"),
        ("a\n\nb\n", "a", "b\n"),
        ("a\r\nb\r\n\r\nc\r\n", "b", "a\r\nc\r\n"),
    ],
)
def test_whole_lines_go_with_the_blank_ones_behind_them(text: str, part: str, left: str) -> None:
    start = text.index(part)
    assert without_lines(text, start, start + len(part)) == left
