"""COBOL: a subprogram that is called with the parameters and, last, the result.

In: a subprogram's source, in fixed or free format, which is told by its columns. Out: results. Numbers are binary
(COMP-5), truth is a digit, texts and lists are groups of a length and what it counts. Each input has a process of its
own, forked by the driver, so that one that crashes loses no other and all find fresh storage.
"""

from __future__ import annotations

import re
import secrets
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from spiritsafe.tasks.code.languages.language import Language
from spiritsafe.tasks.code.languages.signature import MOST_CHARACTERS, MOST_ITEMS, CodeSignature, CodeValue, ValueType
from spiritsafe.tasks.code.languages.trial import Trial, input_lines
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.walls import find_tool

COBOL_DECLARATIONS: dict[ValueType, str] = {
    "int": "01 {0} PIC S9(18) COMP-5.",
    "bool": "01 {0} PIC 9.",
    "str": f"01 {{0}}.\n   05 {{0}}-LENGTH PIC S9(9) COMP-5.\n   05 {{0}}-TEXT PIC X({MOST_CHARACTERS}).",
    "ints": f"01 {{0}}.\n   05 {{0}}-LENGTH PIC S9(9) COMP-5.\n"
    f"   05 {{0}}-ITEM PIC S9(18) COMP-5 OCCURS {MOST_ITEMS} TIMES.",
}
_NOTES: dict[ValueType, str] = {
    "int": "a whole number",
    "bool": "1: true, 0: false",
    "str": "a text: its first LENGTH characters, the rest is spaces",
    "ints": "a list: its first LENGTH items",
}
_RESERVED = frozenset(Path(__file__).with_name("cobol_words.txt").read_text("ascii").split())
"""Of GnuCOBOL 3.2, with the names of its functions."""
RESULT_NAME = "LK-RESULT"
FREE_FORMAT = ">>SOURCE FORMAT FREE"


@cache
def cobol_compiler() -> str | None:
    """Where it is."""
    return find_tool("cobc")


def _why_not() -> str | None:
    return None if cobol_compiler() else "GnuCOBOL is not installed: apt-get install gnucobol3"


def program_name(name: str) -> str:
    """What a function is called in COBOL."""
    upper = name.replace("_", "-").upper()
    return f"{upper}-PROGRAM" if upper in _RESERVED else upper


def parameter_name(name: str) -> str:
    """What a parameter is called there; its prefix makes it no reserved word."""
    return f"LK-{name.replace('_', '-').upper()}"


def _skeleton(signature: CodeSignature) -> str:
    name = program_name(signature.name)
    named = [(parameter_name(parameter), kind) for parameter, kind in signature.parameters]
    named.append((RESULT_NAME, signature.result))
    linkage = "\n".join(f"*> {_NOTES[kind]}\n{COBOL_DECLARATIONS[kind].format(one)}" for one, kind in named)
    return f"""{FREE_FORMAT}
IDENTIFICATION DIVISION.
PROGRAM-ID. {name}.
DATA DIVISION.
LOCAL-STORAGE SECTION.
*> ...
LINKAGE SECTION.
{linkage}
PROCEDURE DIVISION USING {" ".join(one for one, _ in named)}.
    *> ...
    GOBACK.
END PROGRAM {name}.
"""


_CONTINUED, _COMMENTS, _BLANK = "-", "*/", " "
_LAST_COLUMN = 72


def formatted_cobol(source: str) -> tuple[str, bool]:
    """A source, and whether it is free; lines of the fixed format that are too long for it are made free."""
    lines = source.expandtabs(8).splitlines()
    if re.search(r"^[ \t]*(>>[ \t]*source|\$[ \t]*set[ \t]+sourceformat)", source, re.IGNORECASE | re.MULTILINE):
        return source, True
    full = [line for line in lines if line.strip()]
    if not all(re.fullmatch(r"[ \d]{0,6}|[ \d]{6}[-*/ dD].*", line) for line in full):
        return source, True
    statements = [line for line in full if line[6:7] not in tuple(_COMMENTS)]
    if any(line[6:7] == _CONTINUED for line in full) or all(len(line.rstrip()) <= _LAST_COLUMN for line in statements):
        return source, False
    return "\n".join(f"*>{line[7:]}" if line[6:7] in tuple("*/dD") else line[6:] for line in lines) + "\n", True


_DRIVER = """IDENTIFICATION DIVISION.
PROGRAM-ID. DRIVER-OF-SOLUTION.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 MARK PIC X(32).
01 LINES-READ.
   05 LINE-READ PIC X({width}) OCCURS {num_lines} TIMES.
01 NUMBER-READ PIC S9(18) SIGN LEADING SEPARATE.
01 PLACE PIC S9(9) COMP-5.
01 ITEM PIC S9(9) COMP-5.
01 NUMBER-TRIED PIC 9(9) COMP-5.
01 PROCESS-FORKED PIC S9(9) COMP-5.
01 PROCESS-ENDED PIC S9(9) COMP-5.
01 PROCESS-STATUS PIC S9(9) COMP-5.
{declarations}
PROCEDURE DIVISION.
    ACCEPT MARK FROM SYSIN
    PERFORM VARYING PLACE FROM 1 BY 1 UNTIL PLACE > {num_lines}
        ACCEPT LINE-READ(PLACE) FROM SYSIN
    END-PERFORM
    MOVE 0 TO PLACE
    PERFORM VARYING NUMBER-TRIED FROM 0 BY 1 UNTIL NUMBER-TRIED >= {num_inputs}
{reading}
        DISPLAY MARK " " NUMBER-TRIED UPON SYSERR
        CALL STATIC "fork-of-driver" RETURNING PROCESS-FORKED
        IF PROCESS-FORKED = 0
            INITIALIZE {result}
            CALL "{program}" USING {arguments}
{writing}
            STOP RUN
        END-IF
        CALL STATIC "waitpid-of-driver" USING BY VALUE PROCESS-FORKED BY REFERENCE PROCESS-STATUS BY VALUE 0
            RETURNING PROCESS-ENDED
        DISPLAY MARK " ended " PROCESS-STATUS UPON SYSERR
        IF FUNCTION MOD(PROCESS-STATUS, 128) = 24
            EXIT PERFORM
        END-IF
    END-PERFORM
    GOBACK.
END PROGRAM DRIVER-OF-SOLUTION.
{directive}
       COPY "solution.cob".
"""
"""All is read before anything is forked: processes share where standard input is."""
_FLAGS = (
    *("-debug", "-ffold-call=UPPER"),
    # what the driver calls is C's, under names that no program has; cobc declares neither
    *("-A", "-DFORK__OF__DRIVER=fork -DWAITPID__OF__DRIVER=waitpid -Wno-implicit-function-declaration"),
)
"""A program is found however its name and its calls are written, and none stands where C has a function."""
_READ_NUMBER = "ADD 1 TO PLACE\nMOVE LINE-READ(PLACE)(1:19) TO NUMBER-READ\nMOVE NUMBER-READ TO {0}"
_READING: dict[ValueType, str] = {
    "int": _READ_NUMBER,
    "bool": _READ_NUMBER,
    "str": _READ_NUMBER.replace("{0}", "{0}-LENGTH") + "\nADD 1 TO PLACE\nMOVE LINE-READ(PLACE) TO {0}-TEXT",
    "ints": "INITIALIZE {0}\n"
    + _READ_NUMBER.replace("{0}", "{0}-LENGTH")
    + "\nPERFORM VARYING ITEM FROM 1 BY 1 UNTIL ITEM > {0}-LENGTH\n"
    + textwrap.indent(_READ_NUMBER.replace("{0}", "{0}-ITEM(ITEM)"), "    ")
    + "\nEND-PERFORM",
}
_LENGTH_WRONG = """IF {0}-LENGTH < 0 OR {0}-LENGTH > %d
    DISPLAY MARK " " NUMBER-TRIED " !nonsense a length of " {0}-LENGTH
    STOP RUN
END-IF
"""
_WRITING: dict[ValueType, str] = {
    "int": 'DISPLAY MARK " " NUMBER-TRIED " " {0}',
    "bool": 'DISPLAY MARK " " NUMBER-TRIED " " {0}',
    "str": _LENGTH_WRONG % MOST_CHARACTERS
    + """DISPLAY MARK " " NUMBER-TRIED " " FUNCTION ABS({0}-LENGTH) " " WITH NO ADVANCING
IF {0}-LENGTH > 0
    DISPLAY {0}-TEXT(1:{0}-LENGTH) WITH NO ADVANCING
END-IF
DISPLAY " \"""",
    "ints": _LENGTH_WRONG % MOST_ITEMS
    + """DISPLAY MARK " " NUMBER-TRIED " " {0}-LENGTH WITH NO ADVANCING
PERFORM VARYING ITEM FROM 1 BY 1 UNTIL ITEM > {0}-LENGTH
    DISPLAY " " {0}-ITEM(ITEM) WITH NO ADVANCING
END-PERFORM
DISPLAY " \"""",
}


def _driver(signature: CodeSignature, *, is_free: bool, num_lines: int, num_inputs: int) -> str:
    names = [f"VALUE-{place}" for place in range(len(signature.parameters))]
    named = list(zip(names, (kind for _, kind in signature.parameters), strict=True))
    result = "VALUE-GIVEN"
    return _DRIVER.format(
        width=MOST_CHARACTERS,
        num_lines=max(1, num_lines),
        num_inputs=num_inputs,
        declarations="\n".join(
            COBOL_DECLARATIONS[kind].format(one) for one, kind in [*named, (result, signature.result)]
        ),
        reading=textwrap.indent("\n".join(_READING[kind].format(one) for one, kind in named), " " * 8),
        program=program_name(signature.name),
        result=result,
        arguments=" ".join([*names, result]),
        writing=textwrap.indent(_WRITING[signature.result].format(result), " " * 12),
        directive=f">>SOURCE FORMAT {'FREE' if is_free else 'FIXED'}",
    )


def _trial(source: str, signature: CodeSignature, inputs: Sequence[Sequence[CodeValue]], limits: Limits) -> Trial:
    mark = secrets.token_hex(16)
    solution, is_free = formatted_cobol(source)
    lines = list(input_lines(signature, inputs))
    driver = _driver(signature, is_free=is_free, num_lines=len(lines), num_inputs=len(inputs))
    compiler = (cobol_compiler() or "cobc", "-x", "-free", *_FLAGS, "-o", "main", "driver.cob")
    run = Run(
        files={"solution.cob": f"{solution}\n".encode("utf-8", "replace"), "driver.cob": driver},
        steps=(
            RunStep(argv=compiler),
            RunStep(argv=("./main",), stdin="".join(f"{line}\n" for line in (mark, *lines))),
        ),
        limits=limits,
    )
    return Trial(run=run, mark=mark, result=signature.result, num_inputs=len(inputs))


LANGUAGE = Language(
    name="cobol",
    title="COBOL",
    fences=("cobol", "cob", "cbl"),
    skeleton=_skeleton,
    trial=_trial,
    why_not=_why_not,
)
