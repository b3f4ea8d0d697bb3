from __future__ import annotations

import pytest

from spiritsafe.assist.compiled.lines import line_numbers, without_lines


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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_counted_from_one(end: str) -> None:
    text = end.join(["a", "", "b b", "c"])
    for part, numbers in {"a": {1}, "b b": {3}, f"b{end}c": {3, 4}, text: {1, 2, 3, 4}, "c": {4}}.items():
        start = text.index(part)
        assert line_numbers(text, start, start + len(part)) == numbers
