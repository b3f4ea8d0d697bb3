from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from compiled_parts import SHAPES, SHAPES_TESTS, write_shapes
from compilers import FORTRAN, compiler

from spiritsafe.assist.compiled.subject import CompiledSubject
from spiritsafe.assist.languages.fortran import open_subjects
from spiritsafe.core.errors import TaskError


def opened(folder: Path, *, most: int = 1000, seed: int = 0) -> CompiledSubject:
    compiler(FORTRAN)
    (subject,) = open_subjects(write_shapes(folder), most_mutants=most, seed=seed)
    assert isinstance(subject, CompiledSubject)
    return subject


def test_each_mutant_is_compiled_and_differs_from_the_original(tmp_path: Path) -> None:
    subject = opened(tmp_path)
    objects = [subject.objects[mutant.source] for mutant in subject.mutants]
    assert None not in objects
    assert subject.objects[subject.source] not in objects
    assert [mutant.edit.start for mutant in subject.mutants] == sorted(mutant.edit.start for mutant in subject.mutants)


def test_what_was_compiled_once_is_not_compiled_again(tmp_path: Path) -> None:
    subject = opened(tmp_path, most=3)

    class Counting:
        def __init__(self) -> None:
            self.layer, self.num_runs = subject.sandbox.layer, 0

        def run(self, run):  # type: ignore[no-untyped-def]
            self.num_runs += 1
            return subject.sandbox.run(run)

    counting = Counting()
    other = dataclasses.replace(subject, sandbox=counting)  # type: ignore[arg-type]
    first = other.examine(SHAPES_TESTS)
    few = counting.num_runs
    assert other.examine(SHAPES_TESTS).killed_by == first.killed_by
    assert counting.num_runs == 2 * few - 1  # the file that counts its lines is kept too
    other.judge(SHAPES_TESTS, [SHAPES.replace("two", "2 * two", 2).replace("2 * two", "two", 1)])
    # one turn for each program, and a compiler; nothing is compiled that counts, run for it or read
    assert counting.num_runs == 3 * few - 4 - len(subject.mutants) + 1 + 1


def test_so_many_mutants_and_no_more_chosen_by_the_seed(tmp_path: Path) -> None:
    some = opened(tmp_path, most=5)
    assert len(some.mutants) + some.num_same <= 5
    assert [one.name for one in some.mutants] == [one.name for one in opened(tmp_path, most=5).mutants]
    assert len({tuple(one.name for one in opened(tmp_path, most=5, seed=seed).mutants) for seed in range(4)}) > 1


def test_more_mutants_than_one_run_compiles(tmp_path: Path) -> None:
    body = "".join(f"    x = x * {number} + 1\n" for number in range(2, 22))
    head = "module many\ncontains\n  subroutine s(x)\n    integer, intent(inout) :: x\n"
    compiler(FORTRAN)
    (tmp_path / "many.f90").write_text(f"{head}{body}  end subroutine\nend module\n")
    (subject,) = open_subjects(tmp_path / "many.f90", most_mutants=130, seed=0)
    assert 61 < len(subject.mutants) <= 130
    test = "subroutine test_s()\ninteger :: x\nx = 3\ncall s(x)\nerror stop\nend subroutine\n"
    tests = f"module t\nuse many\ncontains\n{test}end module\n"
    kills = subject.examine(tests)
    assert kills.valid == []
    assert kills.killed_by == {}


def test_a_compiler_that_fails_says_what_it_said(tmp_path: Path) -> None:
    compiler(FORTRAN)
    (tmp_path / "a.f90").write_text(SHAPES)
    with pytest.raises(TaskError, match=r"does not compile as Fortran: .*consts") as raised:
        open_subjects(tmp_path / "a.f90", most_mutants=1, seed=0)
    assert "beside the file" in raised.value.hint
