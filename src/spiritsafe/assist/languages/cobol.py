"""COBOL files: programs that others call with parameters, in free or fixed form, as GnuCOBOL compiles them.

In: a file, or a folder. Out: subjects. Copybooks lie beside the file; programs that it calls lie there too, or in the
folder that was named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from spiritsafe.assist.compiled.cobol_text import (
    cobol_programs,
    free_cobol,
    joined_cobol_tests,
    without_cobol_tests,
)
from spiritsafe.assist.compiled.code_file import code_files, code_text, included
from spiritsafe.assist.compiled.coverage import TRACE_OBJECT, TRACE_SOURCE, LineTracing, gcov_beside
from spiritsafe.assist.compiled.lines import line_numbers
from spiritsafe.assist.compiled.needed import CodeFile, needed_files
from spiritsafe.assist.compiled.subject import CompiledSubject, Compiling, compiled_subject, with_faults
from spiritsafe.assist.opening import Opening, UnusableFile
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks import shared_sandbox
from spiritsafe.tasks.code import (
    COBOL_TESTS_MAIN,
    BuildPart,
    TestsPart,
    c_file,
    cobol_columns,
    cobol_compiler,
    language_named,
)

SUFFIXES = (".cob", ".cbl", ".cobol", ".COB", ".CBL")
_COPY = re.compile(r"""(?<![\w-])copy\s+["']?([\w./-]*\w)""", re.IGNORECASE)
_BOOKS = ("", ".cpy", ".CPY", ".cbl", ".CBL", ".cob", ".COB")
_WORD = re.compile(r"[\w-]+")
_STATEMENT = re.compile(r"/\* Line: (\d+) *: [A-Z]+(?:[ -][A-Z]+)* *: code\.cob \*/")
"""In the C that GnuCOBOL makes; paragraphs and sections are told in other words."""
_FLAGS = ("-fec=bound", "-ffold-call=UPPER", "-Q", "-s")
_LOAD = '|| dlopen("./code.so", RTLD_NOW | RTLD_GLOBAL) == NULL'


def open_subjects(path: Path, *, most_mutants: int, seed: int) -> list[Subject | UnusableFile]:
    """The file's subject, or those of all files of a folder that have programs with parameters.

    Raises:
        TaskError: There is no such program, no compiler, or the one file does not compile.
        SandboxMissingError: There is none here.
    """
    if (reason := language_named("cobol").why_not()) is not None:
        raise TaskError(f"COBOL code cannot be tested here: {reason}.", hint="Install it, then run this again.")
    opening = Opening(path, "cobol")
    files = opening.each(code_files(path, SUFFIXES), Path, _read)
    beside = [] if path.is_dir() else [file for file in code_files(path.parent, SUFFIXES) if file.parent == path.parent]
    neighbours = Opening(path.parent, "cobol").each(beside, Path, _read)
    others = [*files, *(file for file in neighbours if file.path != path)]
    tested = [(file, called) for file in files if (called := _called(file.text))]
    if not tested and not opening.unusable:
        raise TaskError(
            f"{path} has no COBOL program that others call with parameters.",
            hint="Put what shall be tested into a program with a LINKAGE SECTION and PROCEDURE DIVISION USING.",
        )
    sandbox = shared_sandbox()

    def opened(pair: tuple[CodeFile, list[str]]) -> CompiledSubject:
        file, called = pair
        return compiled_subject(
            file.path,
            "cobol",
            file.text,
            _compiling(file, others),
            test_name=f"test_{file.path.stem}.cob",
            most_mutants=most_mutants,
            seed=seed,
            sandbox=sandbox,
            places=[(one.start, one.end) for one in cobol_programs(file.text) if one.name in called],
        )

    subjects = opening.each(tested, lambda pair: pair[0].path, opened)
    return with_faults(path, subjects, opening.unusable)


def _called(text: str) -> list[str]:
    """Names of its programs with parameters."""
    return [program.name for program in cobol_programs(text) if program.has_parameters]


def _read(path: Path) -> CodeFile:
    text = code_text(path)
    gives = frozenset(program.name for program in cobol_programs(text))
    return CodeFile(path=path, text=text, gives=gives, takes=frozenset(_WORD.findall(text.upper())) - gives)


def _compiling(file: CodeFile, others: Iterable[CodeFile]) -> Compiling:
    files: dict[str, str | bytes] = {**included(file.path, file.text, _COPY, _BOOKS)}
    before, objects = [], []
    for place, one in enumerate(needed_files(file, others)):
        files |= {f"needed{place}.cob": one.text.encode("utf-8"), **included(one.path, one.text, _COPY, _BOOKS)}
        objects.append(f"needed{place}.o")
        before.append((*_compiler(one.text), "-c", "-o", objects[-1], f"needed{place}.cob"))
    return Compiling(
        title="COBOL",
        name="code.cob",
        files=files,
        before=tuple(before),
        command=(*_compiler(file.text), "-b", "-o", "code.so", "code.cob", *objects),
        tracing=_tracing(file.text, objects),
        tests=_tests,
        only=without_cobol_tests,
        joined=joined_cobol_tests,
        rules=_rules(_called(file.text)),
    )


def _tracing(text: str, objects: Iterable[str]) -> LineTracing | None:
    """How it counts its lines, which cobc can do from 3.2 on; those with statements of programs that tests call do."""
    gcov = gcov_beside(cobol_compiler() or "cobc", "gcov")
    if gcov is None:
        return None
    called = [one for one in cobol_programs(text) if one.has_parameters]
    known = frozenset[int]().union(*(line_numbers(text, one.start, one.end) for one in called))
    counting = ("-b", "--coverage", "--save-temps", "-o", "code.so", "code.cob", TRACE_OBJECT, *objects)
    return LineTracing(
        gcov=gcov,
        source=text,
        commands=(("gcc", "-O1", "-fPIC", "-c", TRACE_SOURCE), (*_compiler(text), *counting)),
        listing="code.c",
        lines=lambda listing: known & {int(number) for number in _STATEMENT.findall(listing)},
    )


def _compiler(text: str) -> tuple[str, ...]:
    """With the time left out of what it makes, so that the same code becomes the same bytes."""
    form = "-free" if cobol_columns(text).last is None else "-fixed"
    return ("env", "SOURCE_DATE_EPOCH=1", cobol_compiler() or "cobc", form, *_FLAGS)


def _tests(text: str) -> TestsPart | None:
    free = free_cobol(text)
    names = tuple(dict.fromkeys(one.name for one in cobol_programs(free or "") if one.is_test))
    if free is None or not names:
        return None
    main = COBOL_TESTS_MAIN.format(names=", ".join(f'"{name}"' for name in names), load=_LOAD)
    files: dict[str, str | bytes] = {
        "tests.cob": f"{free}\n".encode("utf-8", "replace"),
        "channel.c": c_file("channel.c"),
        "main.c": c_file("tests.c") + main,
    }
    cobc = cobol_compiler() or "cobc"
    commands = (
        (cobc, "-c", "-free", "-debug", "-ffold-call=UPPER", "-o", "tests.o", "tests.cob"),
        (cobc, "-x", "-o", "tests", "main.c", "channel.c", "tests.o"),
    )
    return TestsPart(names=names, part=BuildPart(files=files, commands=commands, made="tests"))


def _rules(called: list[str]) -> str:
    named = f'the program "{called[0]}"' if len(called) == 1 else f"the programs {', '.join(called)}"
    return f"""Write COBOL programs in free format, one after the other in one text. Tests are programs without \
parameters whose PROGRAM-ID begins with TEST; a test calls {named}, with items of its own that are declared as the \
LINKAGE SECTION declares them, fails by setting RETURN-CODE to 1 (go back at once, as the next CALL sets it anew), and \
passes by going back with RETURN-CODE 0. Each runs in a process of its own. There are no files and no input.

```cobol
>>SOURCE FORMAT FREE
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-FIRST.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 WS-SUM PIC 9(4).
PROCEDURE DIVISION.
    COMPUTE WS-SUM = 1 + 1
    *> CALL "{called[0]}" USING ...
    IF WS-SUM NOT = 2
        MOVE 1 TO RETURN-CODE
        GOBACK
    END-IF
    MOVE 0 TO RETURN-CODE
    GOBACK.
END PROGRAM TEST-FIRST.
```"""
