"""Texts of COBOL programs and of tests of them, taken apart and put together.

In: texts in fixed or free form. Out: the programs in them; and one text in free form whose first program calls all
tests, so that whoever has it can compile and run it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.assist.compiled.lines import without_lines
from spiritsafe.tasks.code import cobol_columns

_RUNNER = "RUN-TESTS"
_LAST = 72
_FREE = "       >>SOURCE FORMAT FREE\n"
_FORMAT = re.compile(r"(?im)^[ \t]*(?:>>[ \t]*source\b|\$[ \t]*set[ \t]+sourceformat).*\n?")
_HEAD = re.compile(
    r"""(?:\b(?:identification|id)\s+division\s*\.\s*)?(?<![\w-])program-id\s*\.\s*["']?([\w-]+)""", re.IGNORECASE
)
_USING = re.compile(r"\bprocedure\s+division\s+(?:using|chaining)\b", re.IGNORECASE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CobolProgram:
    """A program of a text, with those that it contains.

    Attributes:
        spelled: Its name as it is written, which the compiler's calls must repeat.
        start: Where it begins, in characters.
        end: Where it ends.
        has_parameters: Whether it is called with any.
        is_closed: Whether it says where it ends.
    """

    spelled: str
    start: int
    end: int
    has_parameters: bool
    is_closed: bool

    @property
    def name(self) -> str:
        """In capitals."""
        return self.spelled.upper()

    @property
    def is_test(self) -> bool:
        """Whether it is called as tests are."""
        return self.name.startswith("TEST") and not self.has_parameters


def cobol_programs(text: str) -> list[CobolProgram]:
    """The programs of a text, in order, without those inside others."""
    code = cobol_code(text)
    heads = list(_HEAD.finditer(code))
    found: list[CobolProgram] = []
    for place, head in enumerate(heads):
        if found and head.start() < found[-1].end:
            continue
        name = re.escape(head[1])
        closing = re.compile(rf"""\bend\s+program\s+["']?{name}(?![\w-])["']?\s*\.?""", re.IGNORECASE)
        closed = closing.search(code, head.end())
        end = closed.end() if closed else heads[place + 1].start() if place + 1 < len(heads) else len(text)
        found.append(
            CobolProgram(
                spelled=head[1],
                start=head.start(),
                end=end,
                has_parameters=_USING.search(code, head.end(), end) is not None,
                is_closed=closed is not None,
            )
        )
    return found


def cobol_code(text: str) -> str:
    """A text with spaces for all that is no code, so that places stay."""
    is_free = cobol_columns(text).last is None
    lines = []
    for found in _LINE.finditer(text):
        line = found.group()
        bare = line.rstrip("\r\n")
        if not is_free:
            code = "" if bare[6:7] in tuple("*/") else bare[7:_LAST]
            bare = f"{' ' * min(7, len(bare))}{code}".ljust(len(bare))[: len(bare)]
        code = bare.partition("*>")[0]
        lines.append(code.ljust(len(bare)) + line[len(bare) :])
    return "".join(lines)


def free_cobol(text: str) -> str | None:
    """A text in free form, without a word on its form; None: it continues lines in the way of the fixed form."""
    if cobol_columns(text).last is not None:
        lines = text.expandtabs(8).splitlines()
        if any(line[6:7] == "-" for line in lines):
            return None
        text = "\n".join(f"*>{line[7:]}" if line[6:7] in tuple("*/") else line[6:_LAST] for line in lines) + "\n"
    return _FORMAT.sub("", text)


def without_cobol_tests(text: str, names: Collection[str]) -> str:
    """The same tests without all others than those named; other programs stay."""
    free = free_cobol(text)
    if free is None:
        return text
    for program in reversed(cobol_programs(free)):
        if program.is_test and program.name not in names:
            free = without_lines(free, program.start, program.end)
    return _with_runner(free)


def joined_cobol_tests(suites: Sequence[str]) -> str:
    """Several texts as one; a name that was there before gets a number."""
    taken: set[str] = {_RUNNER}
    texts = []
    for suite in suites:
        text = _without_runner(free_cobol(suite) or "")
        for name in dict.fromkeys(program.name for program in cobol_programs(text)):
            number, new = 1, name
            while new in taken:
                number += 1
                new = f"{name}-{number}"
            taken.add(new)
            if new != name:
                text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", new, text, flags=re.IGNORECASE)
        texts.append(_closed(text))
    return _with_runner("\n\n".join(texts) + "\n")


def _closed(text: str) -> str:
    """With an end for its last program, so that others can follow."""
    programs = cobol_programs(text)
    is_open = bool(programs) and not programs[-1].is_closed
    return text.strip("\r\n") + (f"\nEND PROGRAM {programs[-1].spelled}." if is_open else "")


def _without_runner(text: str) -> str:
    for program in reversed(cobol_programs(text)):
        if program.name == _RUNNER:
            text = without_lines(text, program.start, program.end)
    return text


def _with_runner(text: str) -> str:
    text = _without_runner(text)
    tests = [program.spelled for program in cobol_programs(text) if program.is_test]
    if not tests:
        return _FREE + text
    calls = "\n".join(
        f"""    CALL "{name}"
    IF RETURN-CODE NOT = 0
        DISPLAY "{name} failed" UPON SYSERR
        STOP RUN
    END-IF"""
        for name in tests
    )
    return f"""{_FREE}IDENTIFICATION DIVISION.
PROGRAM-ID. {_RUNNER}.
PROCEDURE DIVISION.
{calls}
    DISPLAY "{len(tests)} test{"s" if len(tests) > 1 else ""} passed"
    STOP RUN.
END PROGRAM {_RUNNER}.

{text.strip()}
"""
