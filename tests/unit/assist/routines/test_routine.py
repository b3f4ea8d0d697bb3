from __future__ import annotations

from spiritsafe.assist.routines.routine import Routine, rebuilt_in, routines_of


def test_languages_are_told_apart_and_an_unknown_one_has_none() -> None:
    assert [one.name for one in routines_of("def f(): ...", "python")] == ["f"]
    assert [one.name for one in routines_of("subroutine f()\nend\n", "fortran")] == ["f"]
    assert routines_of("def f(): ...", "cobol") == routines_of("def f(): ...", "ada") == []
    assert rebuilt_in("", "def f(): ...", "python", "f") == "def f(): ..."


def test_a_routine_is_exchanged_in_its_place() -> None:
    routine = Routine(name="f", start=2, end=4, heading="", gone="")
    assert routine.exchanged("abcdef", "XYZ") == "abXYZef"
