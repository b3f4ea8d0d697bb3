"""Texts of Fortran tests, taken apart and put together.

In: texts whose tests are subroutines of modules. Out: one text with a program behind the modules that calls all tests,
so that whoever has it can compile and run it as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from spiritsafe.assist.compiled.lines import without_lines
from spiritsafe.tasks.code import FortranUnit, fortran_statements, fortran_tests, fortran_units

_RUNNER = "run_tests"


def without_fortran_tests(text: str, names: Collection[str]) -> str:
    """The same tests without all others than those named; a module whose tests are all gone goes, unless it is used."""
    found = fortran_tests(text)
    text = found.text
    named = dict(zip(fortran_test_names(found.tests), found.tests, strict=True))
    kept = {test for name, test in named.items() if name in names}
    top = fortran_units(text)
    used = {name for unit in top.inside for name in unit.used}
    cuts: list[tuple[int, int]] = []
    for module in top.inside:
        tests = [name for at, name in found.tests if at == module.name]
        if tests and not any((module.name, name) in kept for name in tests) and module.name not in used:
            cuts.append((module.start, module.end))
            continue
        cuts += [
            (one.start, one.end) for one in module.inside if one.name in tests and (module.name, one.name) not in kept
        ]
    for start, end in reversed(cuts):
        text = without_lines(text, start, end)
    return _with_runner(text)


def joined_fortran_tests(suites: Sequence[str]) -> str:
    """Several texts as one; a name that was there before gets a number."""
    modules: set[str] = set()
    tests: set[str] = set()
    texts = []
    for suite in suites:
        found = fortran_tests(suite)
        text = found.text
        renamed = {one.name: _new(one.name, modules) for one in fortran_units(text).inside if one.kind == "module"}
        text = _renamed(text, renamed, 0, len(text))
        for module in reversed([one for one in fortran_units(text).inside if one.kind == "module"]):
            names = {name: _new(name, tests) for name in module.tests}
            text = _renamed(text, names, module.start, module.end)
        texts.append(text.strip())
    return _with_runner("\n\n".join(texts) + "\n")


def fortran_test_names(tests: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Of each test its name, with its module's where two are the same."""
    names = [name for _, name in tests]
    return tuple(name if names.count(name) == 1 else f"{module}.{name}" for module, name in tests)


def _new(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def _renamed(text: str, names: Mapping[str, str], start: int, end: int) -> str:
    """The text with other names between two places; parts of derived types keep theirs."""
    words = []
    for statement in fortran_statements(text):
        for before, word in zip([None, *statement], statement, strict=False):
            is_part = before is not None and before.text == "%"
            if word.kind == "name" and start <= word.start < end and not is_part and word.low in names:
                words.append(word)
    for word in reversed(words):
        text = f"{text[: word.start]}{names[word.low]}{text[word.end :]}"
    return text


def _with_runner(text: str) -> str:
    top = fortran_units(text)
    programs = [one for one in top.inside if one.kind == "program"]
    for program in reversed(programs):
        text = text[: program.start].rstrip() + "\n" + text[program.end :].lstrip()
    tests = fortran_tests(text).tests
    modules = dict.fromkeys(module for module, _ in tests)
    named = {module: ", &\n    ".join(name for at, name in tests if at == module) for module in modules}
    uses = "".join(f"  use {module}, only: {names}\n" for module, names in named.items())
    calls = "".join(f"  call {name}()\n" for _, name in tests)
    said = f"  print '(a)', '{len(tests)} test{'s' if len(tests) > 1 else ''} passed'\n"
    runner = f"program {_RUNNER}\n{uses}  implicit none\n{calls}{said}end program {_RUNNER}\n"
    return f"{text.strip()}\n\n{runner}" if tests else text


def fortran_procedures(unit: FortranUnit) -> list[FortranUnit]:
    """The procedures that others can call, in order: those of modules, and those by themselves."""
    found = []
    for one in unit.inside:
        if one.kind == "module":
            found += fortran_procedures(one)
        elif one.kind in ("function", "subroutine"):
            found.append(one)
    return found
