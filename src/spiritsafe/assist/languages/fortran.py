"""Fortran files: procedures in modules or by themselves, in free or fixed form.

In: a file, or a folder. Out: subjects. What a file uses of the files that lie beside it, or in the folder that was
named, is compiled before it; a main program in it is no hindrance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from spiritsafe.assist.compiled.code_file import code_files, code_text, included
from spiritsafe.assist.compiled.coverage import TRACE_OBJECT, TRACE_SOURCE, LineTracing, gcov_beside
from spiritsafe.assist.compiled.fortran_lines import counted_fortran_lines, counted_fortran_text
from spiritsafe.assist.compiled.fortran_text import (
    fortran_procedures,
    fortran_test_names,
    joined_fortran_tests,
    without_fortran_tests,
)
from spiritsafe.assist.compiled.needed import CodeFile, needed_files
from spiritsafe.assist.compiled.subject import CompiledSubject, Compiling, compiled_subject, with_faults
from spiritsafe.assist.opening import Opening, UnusableFile
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks import shared_sandbox
from spiritsafe.tasks.code import (
    FORTRAN_TESTS_MAIN,
    BuildPart,
    FortranUnit,
    TestsPart,
    c_file,
    fortran_compiler,
    fortran_statements,
    fortran_tests,
    fortran_units,
    language_named,
)

SUFFIXES = (".f90", ".F90", ".f95", ".f03", ".f08", ".f", ".F", ".for")
_FIXED = (".f", ".F", ".for")
_INCLUDE = re.compile(r"""^[ \t]*(?:\#[ \t]*)?include[ \t]*["']([^"'\n]+)["']""", re.IGNORECASE | re.MULTILINE)
_COMMON_FLAGS = ("-O1", "-w", "-fPIC", "-fno-backtrace", "-ffpe-summary=none")
_FREE_FLAGS = ("-ffree-line-length-none", "-fcheck=bounds")
_FIXED_FLAGS = ("-std=legacy",)
"""Old code has arrays that are declared with one element and used with more, so bounds are not looked at."""


def open_subjects(path: Path, *, most_mutants: int, seed: int) -> list[Subject | UnusableFile]:
    """The file's subject, or those of all files of a folder that have procedures.

    Raises:
        TaskError: There is no procedure, no compiler, or the one file does not compile.
        SandboxMissingError: There is none here.
    """
    language = language_named("fortran")
    if (reason := language.why_not()) is not None:
        raise TaskError(f"Fortran code cannot be tested here: {reason}.", hint="Install it, then run this again.")
    opening = Opening(path, "fortran")
    files = opening.each(code_files(path, SUFFIXES), Path, _read)
    beside = [] if path.is_dir() else [file for file in code_files(path.parent, SUFFIXES) if file.parent == path.parent]
    neighbours = Opening(path.parent, "fortran").each(beside, Path, _read)
    others = [*files, *(file for file in neighbours if file.path != path)]
    tested = [(file, unit) for file in files if fortran_procedures(unit := fortran_units(file.text))]
    if not tested and not opening.unusable:
        raise TaskError(
            f"{path} has no Fortran procedure that others can call.",
            hint="Put the code of the main program into a module, and test that.",
        )
    sandbox = shared_sandbox()

    def opened(pair: tuple[CodeFile, FortranUnit]) -> CompiledSubject:
        file, unit = pair
        return compiled_subject(
            file.path,
            "fortran",
            file.text,
            _compiling(file, unit, others),
            test_name=f"test_{file.path.stem}.f90",
            most_mutants=most_mutants,
            seed=seed,
            sandbox=sandbox,
            places=[(one.start, one.end) for one in fortran_procedures(unit)],
        )

    subjects = opening.each(tested, lambda pair: pair[0].path, opened)
    return with_faults(path, subjects, opening.unusable)


def _read(path: Path) -> CodeFile:
    text = code_text(path)
    kinds = ("function", "subroutine", "module")
    gives = frozenset(one.name for one in fortran_units(text).inside if one.kind in kinds)
    words = {word.low for statement in fortran_statements(text) for word in statement if word.kind == "name"}
    return CodeFile(path=path, text=text, gives=gives, takes=frozenset(words - gives))


def _compiling(file: CodeFile, unit: FortranUnit, others: Iterable[CodeFile]) -> Compiling:
    files: dict[str, str | bytes] = {**included(file.path, file.text, _INCLUDE)}
    before, objects = [], []
    for place, one in enumerate(needed_files(file, others)):
        name = f"needed{place}{one.path.suffix}"
        files |= {name: one.text.encode("utf-8"), **included(one.path, one.text, _INCLUDE)}
        objects.append(f"needed{place}.o")
        before.append((*_compiler(one.path), "-c", name, "-o", objects[-1]))
    name = f"code{file.path.suffix}"
    return Compiling(
        title="Fortran",
        name=name,
        files=files,
        before=tuple(before),
        command=(*_compiler(file.path), "-shared", "-s", "-o", "code.so", name, *objects),
        tracing=_tracing(file, unit, name, objects),
        tests=_tests,
        only=without_fortran_tests,
        joined=joined_fortran_tests,
        rules=_rules(unit),
    )


def _tracing(file: CodeFile, unit: FortranUnit, name: str, objects: Sequence[str]) -> LineTracing | None:
    """How it counts its lines."""
    compiler = Path(fortran_compiler() or "gfortran")
    gcov = gcov_beside(str(compiler), compiler.name.replace("gfortran", "gcov"))
    if gcov is None:
        return None
    lines = counted_fortran_lines(file.text, unit)
    return LineTracing(
        gcov=gcov,
        source=counted_fortran_text(file.text),
        commands=(
            (str(compiler), "-O1", "-fPIC", "-c", TRACE_SOURCE),
            (*_compiler(file.path), "-O0", "--coverage", "-c", name, "-o", "code.o"),
            (str(compiler), "-shared", "-s", "--coverage", "-o", "code.so", "code.o", TRACE_OBJECT, *objects),
        ),
        listing="",
        lines=lambda _: lines,
    )


def _compiler(path: Path) -> tuple[str, ...]:
    flags = _FIXED_FLAGS if path.suffix in _FIXED else _FREE_FLAGS
    return (fortran_compiler() or "gfortran", *_COMMON_FLAGS, *flags)


def _tests(text: str) -> TestsPart | None:
    found = fortran_tests(text)
    if not found.tests:
        return None
    symbols = [f"__{module}_MOD_{name}" for module, name in found.tests]
    main = FORTRAN_TESTS_MAIN.format(
        declared=", ".join(f"{symbol} __attribute__((weak))" for symbol in symbols), named=", ".join(symbols)
    )
    files: dict[str, str | bytes] = {
        "tests.f90": found.text.encode("utf-8", "replace"),
        "channel.c": c_file("channel.c"),
        "main.c": c_file("tests.c") + main,
    }
    compiler = (fortran_compiler() or "gfortran", *_COMMON_FLAGS, "-ffree-line-length-none", "-fcheck=all")
    command = (*compiler, "-o", "tests", "main.c", "tests.f90", "channel.c", "code.so", "-Wl,-rpath,.")
    return TestsPart(
        names=fortran_test_names(found.tests), part=BuildPart(files=files, commands=(command,), made="tests")
    )


def _rules(unit: FortranUnit) -> str:
    modules = [one.name for one in unit.inside if one.kind == "module" and fortran_procedures(one)]
    loose = [one.name for one in unit.inside if one.kind in ("function", "subroutine")]
    uses = "".join(f"  use {name}\n" for name in modules)
    told = _told(modules, loose)
    return f"""Write a Fortran module, in free form. {told}Its tests are subroutines without arguments whose names \
begin with `test`; a test fails by `error stop`, and passes by returning. Each runs in a process of its own. There are \
no files and no network; compare real numbers with a tolerance.

```fortran
module tests
{uses}  implicit none
contains
  subroutine test_first()
    if (1 + 1 /= 2) error stop "first"
  end subroutine
end module
```"""


def _told(modules: Sequence[str], loose: Sequence[str]) -> str:
    told = f"It uses the module{'s' if len(modules) > 1 else ''} {', '.join(modules)}. " if modules else ""
    if loose:
        told += f"These procedures are in no module, declare them as external: {', '.join(loose)}. "
    return told
