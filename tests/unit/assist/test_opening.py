from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.assist.opening import Opening
from spiritsafe.core.errors import SourceError, TaskError


def half(number: int) -> int:
    if number == 3:
        raise TaskError("It is odd.", hint="Add one.")
    if number == 5:
        raise SourceError("It is gone.", hint="Look for it.")
    return number // 2


def test_in_a_folder_the_others_go_on_and_what_failed_is_told(tmp_path: Path) -> None:
    opening = Opening(tmp_path, "numbers")
    assert opening.each([2, 3, 4, 5, 6], lambda number: Path(str(number)), half) == [1, 2, 3]
    told = [(str(one.path), one.language, one.trouble.reason, one.trouble.hint) for one in opening.unusable]
    assert told == [("3", "numbers", "It is odd.", "Add one."), ("5", "numbers", "It is gone.", "Look for it.")]


def test_of_one_file_it_is_an_error(tmp_path: Path) -> None:
    opening = Opening(tmp_path / "one", "numbers")
    assert opening.each([2], lambda number: Path(str(number)), half) == [1]
    for number, kind in ((3, TaskError), (5, SourceError)):
        with pytest.raises(kind):
            opening.each([number], lambda number: Path(str(number)), half)


def test_a_defect_of_ours_is_none_of_the_files(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        Opening(tmp_path, "numbers").each([0], lambda number: Path(str(number)), lambda number: 1 // number)
