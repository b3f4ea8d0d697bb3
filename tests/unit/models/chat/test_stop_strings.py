from __future__ import annotations

from collections.abc import Sequence

import pytest

from spiritsafe.models.chat.stop_strings import StopFinder

PIECES = ["a", "b", "ab", "END", "E", "ND", " ", "x" * 9, "é"]


def decode(ids: Sequence[int]) -> str:
    return "".join(PIECES[i] for i in ids)


@pytest.mark.parametrize(
    ("ids", "new", "stop", "expected"),
    [
        ([0, 1, 3], 1, ("END",), (3, "ab")),
        ([0, 4, 5], 1, ("END",), (3, "a")),
        ([0, 4, 5, 0, 0], 4, ("END",), (3, "a")),
        ([0, 3, 3], 3, ("END",), (2, "a")),
        ([7, 2, 0], 2, ("xa", "b"), (2, "x" * 8)),
        ([0, 8], 1, ("é",), (2, "a")),
        ([0, 1, 0], 1, ("END",), None),
        ([3, 0], 1, (), None),
        ([3, 0], 1, ("",), None),
    ],
)
def test_stops(ids: list[int], new: int, stop: tuple[str, ...], expected: tuple[int, str] | None) -> None:
    assert StopFinder(decode, stop).find(ids, new) == expected


def test_looks_at_every_token_once_whatever_the_stride() -> None:
    ids = [7] * 40 + [4, 5] + [7] * 5
    for stride in (1, 2, 3, 8):
        finder = StopFinder(decode, ("END",))
        found = None
        for end in range(stride, len(ids) + stride, stride):
            found = finder.find(ids[:end], min(stride, len(ids) - (end - stride)))
            if found:
                break
        assert found == (42, "x" * 360)


def test_long_texts_are_not_decoded_again_and_again() -> None:
    seen = []

    def counting(ids: Sequence[int]) -> str:
        seen.append(len(ids))
        return decode(ids)

    StopFinder(counting, ("END",)).find([0] * 5000, 1)
    assert max(seen) < 20
