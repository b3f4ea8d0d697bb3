from __future__ import annotations

import pytest

from spiritsafe.tasks.code.mutants.columns import Columns, ProgramWord, written
from spiritsafe.tasks.code.mutants.mutant import Edit, Mutant

CARDS = Columns(72, has_margin=True)
LINE = "       MOVE A TO B.".ljust(72) + "SEQ00010"


def text(edit: Edit | None, source: str) -> str:
    assert edit is not None
    return Mutant(source, edit).source


@pytest.mark.parametrize("new", ["X", "ADD", "MULTIPLY", ""])
def test_the_margin_stays_in_its_columns(new: str) -> None:
    source = f"{LINE}\n{LINE}\r\n"
    edit = CARDS.edit("x", source, [(7, 11, new)])
    changed = text(edit, source)
    first, rest = changed.split("\n", 1)
    assert first == f"       {new} A TO B.".ljust(72) + "SEQ00010"
    assert rest == f"{LINE}\r\n"
    assert edit is not None
    assert edit.shown == ("MOVE", new)


def test_code_never_runs_past_the_last_column() -> None:
    full = ("       MOVE A TO B" + " " * 60)[:71] + "."
    assert len(full) == 72
    assert CARDS.edit("x", full, [(7, 11, "ADDS.")]) is None
    assert CARDS.edit("x", full + "SEQ00010", [(7, 11, "ADDS.")]) is None
    assert text(CARDS.edit("x", full, [(7, 11, "ADDS")]), full) == full.replace("MOVE", "ADDS")
    short = "       MOVE A TO B."
    assert text(CARDS.edit("x", short, [(18, 18, "9" * 53)]), short) == f"       MOVE A TO B{'9' * 53}."
    assert CARDS.edit("x", short, [(18, 18, "9" * 54)]) is None


def test_lines_that_become_one_keep_the_margin_of_the_last() -> None:
    second = "      &  + C".ljust(72) + "SEQ00020"
    source = f"{LINE}\n{second}\nend"
    start, end = source.index("MOVE"), source.index("C") + 1
    changed = text(CARDS.edit("x", source, [(start, end, "STOP")]), source)
    assert changed == "       STOP".ljust(72) + "SEQ00020\nend"


def test_several_splices_are_one_edit() -> None:
    source = f"{LINE}\n{LINE}\nend"
    places = [(7, 11, "ADD"), (14, 16, "FROM"), (source.index("MOVE", 20), source.index("MOVE", 20) + 4, "X")]
    changed = text(CARDS.edit("x", source, places), source)
    one, two = "       ADD A FROM B.".ljust(72), "       X A TO B.".ljust(72)
    assert changed == f"{one}SEQ00010\n{two}SEQ00010\nend"


def test_free_lines_have_a_last_column_or_none() -> None:
    source = "x = 1"
    assert Columns(8, has_margin=False).edit("x", source, [(4, 5, "12345")]) is None
    assert text(Columns(8, has_margin=False).edit("x", source, [(4, 5, "1234")]), source) == "x = 1234"
    assert text(Columns(None, has_margin=False).edit("x", source, [(4, 5, "9" * 200)]), source) == f"x = {'9' * 200}"
    long = "x = 1 ! a long remark"  # as long as it was, it may be
    assert text(Columns(8, has_margin=False).edit("x", long, [(4, 5, "2")]), long) == long.replace("1", "2")


def test_words_are_written_in_one_line() -> None:
    source = "a  +(b &\n ! why\n  & * c)"
    words = [ProgramWord("", letter, source.index(letter), source.index(letter) + 1) for letter in "a+(b*c)"]
    assert written(source, words) == "a  +(b * c)"
    assert (words[0].up, ProgramWord("", "If", 0, 2).low) == ("A", "if")
