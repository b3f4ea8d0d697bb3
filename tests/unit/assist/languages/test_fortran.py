from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from compiled_parts import CONSTS, OLD, OLD_OTHER, OLD_TESTS, SHAPES, SHAPES_TESTS, write_shapes
from compilers import FORTRAN, compiler

from spiritsafe.assist.languages.fortran import open_subjects
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import TaskError


def opened(path: Path, *, most: int = 100) -> Subject:
    (subject,) = open_subjects(path, most_mutants=most, seed=0)
    return subject


def survivors(subject: Subject, tests: str) -> list[str]:
    kills = subject.examine(tests)
    assert kills.broken == ""
    assert kills.not_run == frozenset()
    return [one.name for place, one in enumerate(subject.mutants) if place not in kills.killed_by]


def test_a_module_that_needs_another_and_has_a_program_behind_it(tmp_path: Path) -> None:
    compiler(FORTRAN)
    subject = opened(write_shapes(tmp_path))
    assert (subject.language, subject.test_name) == ("fortran", "test_shapes.f90")
    main = SHAPES[: SHAPES.index("program main")].count("\n")
    assert all(mutant.line <= main for mutant in subject.mutants)  # no test can call the program
    assert subject.num_same == 1  # a > b and a >= b are the same function, and here the same machine code
    kills = subject.examine(SHAPES_TESTS)
    assert kills.tests == ("test_larger", "test_wrong", "test_scale")
    assert kills.invalid == {"test_wrong": "ERROR STOP wrong"}
    assert survivors(subject, SHAPES_TESTS) == []
    assert "  use shapes\n" in subject.rules()


def test_only_what_is_tested_is_killed(tmp_path: Path) -> None:
    compiler(FORTRAN)
    subject = opened(write_shapes(tmp_path))
    left = survivors(subject, subject.only(SHAPES_TESTS, ["test_larger"]))
    scale = SHAPES[: SHAPES.index("subroutine scale")].count("\n")
    assert [int(name[1:].split()[0]) > scale for name in left] == [True] * len(left)
    assert len(left) == sum(mutant.line > scale for mutant in subject.mutants)


def test_the_file_of_joined_tests_can_be_compiled_and_run_as_it_is(tmp_path: Path) -> None:
    gfortran = compiler(FORTRAN)
    subject = opened(write_shapes(tmp_path))
    good = subject.only(SHAPES_TESTS, ["test_larger", "test_scale"])
    text = subject.joined([good, good])
    kills = subject.examine(text)
    assert (kills.tests, kills.invalid) == (("test_larger", "test_scale", "test_larger_2", "test_scale_2"), {})
    (tmp_path / "all.f90").write_text(text)
    module = SHAPES[: SHAPES.index("program main")]
    (tmp_path / "module.f90").write_text(module)
    built = ["consts.f90", "module.f90", "all.f90", "-o", "all"]
    subprocess.run([gfortran, "-w", *built], cwd=tmp_path, check=True)
    assert (
        subprocess.run(["./all"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "4 tests passed\n"
    )


def test_other_versions_are_judged_and_those_that_do_not_compile_are_killed(tmp_path: Path) -> None:
    compiler(FORTRAN)
    subject = opened(write_shapes(tmp_path), most=2)
    programs = [subject.source, "no Fortran", subject.source.replace("a > b", "a < b")]
    kills = subject.judge(SHAPES_TESTS, programs)
    assert kills.killed_by == {1: ("test_larger", "test_scale"), 2: ("test_larger",)}
    assert kills.not_run == frozenset()


def test_code_of_1975_in_fixed_form(tmp_path: Path) -> None:
    compiler(FORTRAN)
    (tmp_path / "old.f").write_text(OLD.replace("\n", "\r\n"), newline="")
    (tmp_path / "kept.for").write_text(OLD_OTHER)
    (tmp_path / "start.inc").write_text("      POSSUM = 0\n")
    subject = opened(tmp_path / "old.f")
    assert "declare them as external: possum" in subject.rules()
    left = survivors(subject, OLD_TESTS)
    assert len(left) < len(subject.mutants) / 2
    assert subject.examine(OLD_TESTS).invalid == {}


def test_a_folder_has_a_subject_for_each_file_with_procedures(tmp_path: Path) -> None:
    compiler(FORTRAN)
    write_shapes(tmp_path)
    (tmp_path / "test_shapes.f90").write_text(SHAPES_TESTS)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.f90").write_text(
        "module more\n use consts\ncontains\n real function m(x)\n real x\n m = x + two\n end function\nend module\n"
    )
    (tmp_path / "idle.f90").write_text("module idle\ncontains\n subroutine s()\n end subroutine\nend module\n")
    found = open_subjects(tmp_path, most_mutants=3, seed=0)
    assert [one.path.name for one in found] == ["shapes.f90", "more.f90"]


@pytest.mark.parametrize(
    ("tests", "broken"),
    [
        ("", "there are no tests"),
        ("program p\nend program\n", "there are no tests"),
        (SHAPES_TESTS.replace("use shapes", "use nothing"), "the tests do not compile"),
        ("".join(SHAPES_TESTS.replace("tests", f"tests{n}") for n in range(67)), "there are more than 200 tests"),
    ],
)
def test_what_is_no_test_is_said(tests: str, broken: str, tmp_path: Path) -> None:
    compiler(FORTRAN)
    subject = opened(write_shapes(tmp_path), most=1)
    assert subject.examine(tests).broken.startswith(broken)


def test_tests_that_end_or_hang_or_crash_hold_nobody_up(tmp_path: Path) -> None:
    compiler(FORTRAN)
    subject = opened(write_shapes(tmp_path), most=1)
    body = {
        "stops": "stop",
        "loops": "do\nend do",
        "crashes": "call abort()",
        "reads": "open(9, file='code.f90', status='old')",
    }
    tests = "".join(f"  subroutine test_{name}()\n{text}\n  end subroutine\n" for name, text in body.items())
    kills = subject.examine(SHAPES_TESTS.replace("contains\n", f"contains\n{tests}", 1))
    assert kills.valid == ["test_larger", "test_scale"]
    assert kills.invalid["test_loops"] == "it took too long"
    assert kills.invalid["test_stops"] == "it ended its process"
    assert "No such file" in kills.invalid["test_reads"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.f90", b"module m\ncontains\n subroutine s()\n x = = 1\n end subroutine\nend module\n", "does not compile"),
        ("a.f90", b"program p\nprint *, 1\nend program\n", "no Fortran procedure"),
        ("a.f90", b"! caf\xe9\nmodule m\nend module\n", "is not UTF-8: byte 5 is 0xe9"),
        ("a.f90", b"module m\ncontains\n subroutine s()\n end subroutine\nend module\n", "No fault can be put into"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_name(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    compiler(FORTRAN)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=words):
        opened(tmp_path / name)


def test_a_mark_of_utf8_in_front_is_no_code(tmp_path: Path) -> None:
    compiler(FORTRAN)
    path = write_shapes(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + SHAPES.encode())
    (tmp_path / "consts.f90").write_text(CONSTS)
    assert opened(path, most=2).source == SHAPES
