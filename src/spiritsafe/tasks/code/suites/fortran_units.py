"""The tests in a Fortran text: subroutines of its modules, or a whole program.

In: the text. Out: :class:`FortranTests`. Told by the words of statements, so that comments, strings, continued
lines and capitals mislead nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from spiritsafe.tasks.code.mutants.columns import ProgramWord
from spiritsafe.tasks.code.mutants.fortran_words.words import fortran_statements

_WRAPPER = "tests_of_solution"
_PREFIXES = frozenset(
    [
        *("recursive", "non_recursive", "pure", "impure", "elemental", "module"),
        *("integer", "real", "logical", "character", "complex", "type", "class", "double", "precision", "*", ")"),
    ]
)
"""What can stand before ``function`` or ``subroutine``."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FortranTests:
    """What there is to run.

    Attributes:
        text: To be compiled.
        tests: Of each its module and its name, in lower case and in order.
        program: The name of the program that is the only test instead; "": there is none.
    """

    text: str
    tests: tuple[tuple[str, str], ...] = ()
    program: str = ""


@final
@dataclass(slots=True)
class FortranUnit:
    """A module, program or procedure of a text.

    Attributes:
        kind: The word that its heading has: ``module``, ``subroutine``; "": it is the whole text.
        name: In lower case.
        start: Where its heading begins, in characters.
        end: Where its end ends; 0: it has none.
        heading_end: Where its heading ends.
        has_arguments: Whether its heading has any.
        is_private: Whether what it contains is hidden, unless it is named public.
        named: The names that it makes public or private.
        used: The modules that it uses.
        inside: What it contains.
        num_other: Statements that are no unit's heading or end.
    """

    kind: str
    name: str
    start: int
    end: int = 0
    heading_end: int = 0
    has_arguments: bool = False
    is_private: bool = False
    named: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    inside: list[FortranUnit] = field(default_factory=list)
    num_other: int = 0

    @property
    def tests(self) -> list[str]:
        """Names of tests among the procedures in it, where others can see them."""
        return [
            one.name
            for one in self.inside
            if one.kind == "subroutine" and one.name.startswith("test") and not one.has_arguments
            if self.named.get(one.name, "private" if self.is_private else "public") == "public"
        ]


def fortran_tests(text: str) -> FortranTests:
    """Find the tests.

    Subroutines that are in no module get one, which uses ``solution``. Where modules have tests, a program beside them
    is left out: it would only call them.
    """
    top = fortran_units(text)
    modules = [one for one in top.inside if one.kind == "module"]
    programs = [one for one in top.inside if one.kind == "program"]
    loose = [one for one in top.inside if one.kind in ("subroutine", "function")]
    if loose and not modules and not programs and not _is_program(top):
        contains = "" if top.named.get("contains") else "use solution\ncontains\n"
        text = f"module {_WRAPPER}\n{contains}{text}\nend module {_WRAPPER}\n"
        top.kind, top.name, top.inside = "module", _WRAPPER, loose
        modules = [top]
    tests = tuple((module.name, name) for module in modules for name in module.tests)
    if tests:
        for program in reversed(programs):
            text = text[: program.start] + text[program.end :]
        return FortranTests(text=text, tests=tests)
    if programs:
        return FortranTests(text=text, program=programs[0].name)
    return FortranTests(text=text, program="program" if _is_program(top) else "")


def _is_program(top: FortranUnit) -> bool:
    """Whether there are statements outside of every unit: a program without a heading."""
    return top.num_other > 0


def fortran_units(text: str) -> FortranUnit:
    """A text's units, as one that contains them."""
    top = FortranUnit("", "", 0)
    open_units = [top]
    is_interface = False
    for statement in fortran_statements(text):
        words = [word.low for word in statement if word.kind != "label"]
        if not words:
            continue
        if is_interface:
            is_interface = words[:2] != ["end", "interface"] and words[0] != "endinterface"
            continue
        if words[0] == "interface" or words[:2] == ["abstract", "interface"]:
            is_interface = True
            continue
        unit = open_units[-1]
        found = _heading(statement, words)
        if found is not None:
            unit.inside.append(found)
            open_units.append(found)
        elif _is_end(words) and unit is not top:
            unit.end = statement[-1].end
            open_units.pop()
        elif words == ["contains"]:
            unit.named["contains"] = "contains"
        elif words[0] in ("private", "public") and unit.kind == "module":
            unit.is_private |= words == ["private"]
            unit.named |= dict.fromkeys(words[1:], words[0])
        elif words[0] == "use" and len(words) > 1:
            unit.used += [word for word in words[1:] if word.isidentifier() and word != "intrinsic"][:1]
        elif not _is_end(words) and words[0] not in ("use", "implicit"):
            unit.num_other += 1
    return top


def _heading(statement: Sequence[ProgramWord], words: list[str]) -> FortranUnit | None:
    """The unit that a statement begins."""
    start, end = statement[0].start, statement[-1].end
    if (len(words) == 2 and words[0] in ("module", "program")) or words[0] == "submodule":
        return FortranUnit(words[0], words[1], start, heading_end=end)
    if len(words) == 3 and words[:2] == ["module", "procedure"]:
        return FortranUnit("procedure", words[2], start, heading_end=end)
    depth = 0
    for place, word in enumerate(words[:-1]):
        depth += (word == "(") - (word == ")")
        if word in ("subroutine", "function") and words[place + 1].isidentifier():
            has_arguments = words[place + 3 : place + 4] not in ([], [")"])
            return FortranUnit(word, words[place + 1], start, heading_end=end, has_arguments=has_arguments)
        if not depth and word not in _PREFIXES and not word.isdigit():
            return None
    return None


def _is_end(words: Sequence[str]) -> bool:
    """Of a unit, not of a loop."""
    kinds = ("module", "submodule", "program", "subroutine", "function", "procedure")
    return words == ["end"] or (words[0] == "end" and words[1] in kinds) or words[0] in {f"end{kind}" for kind in kinds}
