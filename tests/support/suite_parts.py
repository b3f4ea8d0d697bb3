"""Problems with right programs in Fortran and COBOL, inputs that a careful tester would choose, and their tests."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import final

import pytest
from code_parts import usable
from sandboxes import sandbox_of

from spiritsafe.tasks.code.duet.kills import Kills
from spiritsafe.tasks.code.languages.cobol import COBOL_DECLARATIONS
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue, ValueType
from spiritsafe.tasks.code.suites.suite import run_suite
from spiritsafe.tasks.sandbox.layers import strongest_layer

COMPILED = pytest.mark.parametrize("language", ["fortran", "cobol"])


@final
@dataclass(frozen=True, kw_only=True)
class SuiteProblem:
    """A function, its programs, its tests and how to draw inputs."""

    signature: CodeSignature
    golds: dict[str, str]
    reference: Callable[..., CodeValue]
    chosen: list[list[CodeValue]]
    draw: Callable[[Random], list[CodeValue]]

    def tests(self, language: str) -> str:
        """A test for each chosen input."""
        return suite_text(language, self.signature, [(one, self.reference(*one)) for one in self.chosen])


def killed(language: str, tests: str, problem: SuiteProblem, mutants: Sequence[str]) -> Kills:
    """What tests are worth, in the best sandbox here."""
    usable(language)
    sandbox = sandbox_of(strongest_layer())
    return run_suite(
        sandbox, language, tests=tests, signature=problem.signature, gold=problem.golds[language], mutants=mutants
    )


def suite_text(language: str, signature: CodeSignature, cases: Sequence[tuple[Sequence[CodeValue], CodeValue]]) -> str:
    """A test for each case."""
    parts = [_TESTS[language](signature, f"test{number}", *case) for number, case in enumerate(cases)]
    if language == "fortran":
        parts = ["module tests", "use solution", "implicit none", "contains", *parts, "end module"]
    else:
        parts = [">>SOURCE FORMAT FREE", *parts]
    return "\n".join(parts)


def _fortran_value(value: CodeValue, kind: ValueType) -> str:
    if isinstance(value, list):
        return f"[integer(8) :: {', '.join(map(str, value))}]"
    if kind == "str":
        return "'" + str(value).replace("'", "''") + "'"
    return (".true." if value else ".false.") if kind == "bool" else f"{value}_8"


def _fortran_test(signature: CodeSignature, name: str, inputs: Sequence[CodeValue], result: CodeValue) -> str:
    kinds = [kind for _, kind in signature.parameters]
    arguments = ", ".join(_fortran_value(one, kind) for one, kind in zip(inputs, kinds, strict=True))
    call, wanted = f"{signature.name}({arguments})", _fortran_value(result, signature.result)
    check = {
        "bool": f"{call} .neqv. {wanted}",
        "str": f"len({call}) /= {len(str(result))} .or. {call} /= {wanted}",
        "ints": f"size({call}) /= {len(result) if isinstance(result, list) else 0}",
    }.get(signature.result, f"{call} /= {wanted}")
    more = f"\nif (any({call} /= {wanted})) error stop 'items'" if signature.result == "ints" else ""
    return f"subroutine {name}()\nif ({check}) error stop 'wrong'{more}\nend subroutine"


def _cobol_moves(name: str, value: CodeValue, kind: ValueType) -> list[str]:
    if isinstance(value, list):
        items = [f"MOVE {item} TO {name}-ITEM({place})" for place, item in enumerate(value, 1)]
        return [f"MOVE {len(value)} TO {name}-LENGTH", *items]
    if kind == "str":
        return [f"MOVE {len(str(value))} TO {name}-LENGTH", f'MOVE "{value}" TO {name}-TEXT']
    return [f"MOVE {int(value)} TO {name}"]


def _cobol_checks(name: str, value: CodeValue, kind: ValueType) -> list[str]:
    if isinstance(value, list):
        return [f"{name}-LENGTH NOT = {len(value)}", *(f"{name}-ITEM({n}) NOT = {v}" for n, v in enumerate(value, 1))]
    if kind == "str":
        text = [f'{name}-TEXT(1:{len(str(value))}) NOT = "{value}"'] if value else []
        return [f"{name}-LENGTH NOT = {len(str(value))}", *text]
    return [f"{name} NOT = {int(value)}"]


def _cobol_test(signature: CodeSignature, name: str, inputs: Sequence[CodeValue], result: CodeValue) -> str:
    kinds = [kind for _, kind in signature.parameters]
    names = [f"IN-{place}" for place in range(len(kinds))]
    storage = [COBOL_DECLARATIONS[kind].format(one) for one, kind in zip(names, kinds, strict=True)]
    moves = [
        move for one, each, kind in zip(names, inputs, kinds, strict=True) for move in _cobol_moves(one, each, kind)
    ]
    checks = [
        f"IF {check}\n  MOVE 1 TO RETURN-CODE GOBACK\nEND-IF"
        for check in _cobol_checks("OUT", result, signature.result)
    ]
    call = f'CALL "{signature.name.upper().replace("_", "-")}" USING {" ".join(names)} OUT'
    return "\n".join(
        [
            *("IDENTIFICATION DIVISION.", f"PROGRAM-ID. {name}.", "DATA DIVISION.", "WORKING-STORAGE SECTION."),
            *(*storage, COBOL_DECLARATIONS[signature.result].format("OUT"), "PROCEDURE DIVISION."),
            *(*moves, call, *checks, "GOBACK.", f"END PROGRAM {name}."),
        ]
    )


_TESTS = {"fortran": _fortran_test, "cobol": _cobol_test}


def _cobol(name: str, local: str, linkage: str, using: str, body: str) -> str:
    return f""">>SOURCE FORMAT FREE
IDENTIFICATION DIVISION.
PROGRAM-ID. {name}.
DATA DIVISION.
LOCAL-STORAGE SECTION.
{local}
LINKAGE SECTION.
{linkage}
PROCEDURE DIVISION USING {using}.
{textwrap.indent(textwrap.dedent(body).strip(), "    ")}
    GOBACK.
END PROGRAM {name}.
"""


def _best_sum(xs: list[int]) -> int:
    sums = [sum(xs[i:j]) for i in range(len(xs)) for j in range(i + 1, len(xs) + 1)]
    return max(sums, default=0)


def _squeezed(text: str) -> str:
    return "".join(letter for place, letter in enumerate(text) if place == 0 or text[place - 1] != letter)


def _balanced(text: str) -> bool:
    while "()" in (text := "".join(letter for letter in text if letter in "()")):
        text = text.replace("()", "", 1)
    return not text


def _draw_text(letters: str) -> Callable[[Random], list[CodeValue]]:
    return lambda rng: ["".join(rng.choice(letters) for _ in range(rng.randint(0, 9)))]


BEST_SUM = SuiteProblem(
    signature=CodeSignature("best_sum", (("xs", "ints"),), "int"),
    reference=_best_sum,
    chosen=[
        [xs]
        for xs in (
            *(
                [],
                [5],
                [-3],
                [0],
                [1],
                [2, 3],
                [-2, -1],
                [-1, -2],
                [4, -1, 5],
                [4, -5, 5],
                [4, -4, 5],
                [0, 0],
                [-1, 0, -1],
            ),
            *([5, -9, 3, 4, -1, 6, -20, 7], [1, 2, -100], [-100, 2, 1], [-5, 1, -1, 2, -1]),
        )
    ],
    draw=lambda rng: [[rng.randint(-6, 6) for _ in range(rng.randint(0, 7))]],
    golds={
        "fortran": """module solution
  implicit none
contains
  function best_sum(xs) result(answer)
    integer(8), intent(in) :: xs(:)
    integer(8) :: answer, here
    integer :: i
    answer = 0
    if (size(xs) == 0) return
    here = xs(1)
    answer = xs(1)
    do i = 2, size(xs)
      if (here > 0) then
        here = here + xs(i)
      else
        here = xs(i)
      end if
      if (here > answer) answer = here
    end do
  end function best_sum
end module solution
""",
        "cobol": _cobol(
            "BEST-SUM",
            "01 HERE PIC S9(18) COMP-5.\n01 I PIC S9(9) COMP-5.",
            f"{COBOL_DECLARATIONS['ints'].format('LK-XS')}\n{COBOL_DECLARATIONS['int'].format('LK-RESULT')}",
            "LK-XS LK-RESULT",
            """
            MOVE 0 TO LK-RESULT
            IF LK-XS-LENGTH = 0
                GOBACK
            END-IF
            MOVE LK-XS-ITEM(1) TO HERE
            MOVE LK-XS-ITEM(1) TO LK-RESULT
            PERFORM VARYING I FROM 2 BY 1 UNTIL I > LK-XS-LENGTH
                IF HERE > 0
                    ADD LK-XS-ITEM(I) TO HERE
                ELSE
                    MOVE LK-XS-ITEM(I) TO HERE
                END-IF
                IF HERE > LK-RESULT
                    MOVE HERE TO LK-RESULT
                END-IF
            END-PERFORM
            """,
        ),
    },
)
SQUEEZE = SuiteProblem(
    signature=CodeSignature("squeeze", (("text", "str"),), "str"),
    reference=_squeezed,
    chosen=[
        [text] for text in ("", "a", "aa", "ab", "aab", "abb", "aabb", "abab", "aaa", "abbba", " x  y ", "aaabbbccc")
    ],
    draw=_draw_text("ab c"),
    golds={
        "fortran": """module solution
  implicit none
contains
  function squeeze(text) result(answer)
    character(len=*), intent(in) :: text
    character(len=:), allocatable :: answer
    integer :: i
    answer = ""
    do i = 1, len(text)
      if (i > 1) then
        if (text(i:i) == text(i - 1:i - 1)) cycle
      end if
      answer = answer // text(i:i)
    end do
  end function squeeze
end module solution
""",
        "cobol": _cobol(
            "SQUEEZE",
            "01 I PIC S9(9) COMP-5.\n01 LAST-ONE PIC X.",
            f"{COBOL_DECLARATIONS['str'].format('LK-TEXT')}\n{COBOL_DECLARATIONS['str'].format('LK-RESULT')}",
            "LK-TEXT LK-RESULT",
            """
            MOVE 0 TO LK-RESULT-LENGTH
            MOVE SPACES TO LK-RESULT-TEXT
            PERFORM VARYING I FROM 1 BY 1 UNTIL I > LK-TEXT-LENGTH
                IF I = 1 OR LK-TEXT-TEXT(I:1) NOT = LAST-ONE
                    ADD 1 TO LK-RESULT-LENGTH
                    MOVE LK-TEXT-TEXT(I:1) TO LK-RESULT-TEXT(LK-RESULT-LENGTH:1)
                END-IF
                MOVE LK-TEXT-TEXT(I:1) TO LAST-ONE
            END-PERFORM
            """,
        ),
    },
)
BALANCED = SuiteProblem(
    signature=CodeSignature("balanced", (("text", "str"),), "bool"),
    reference=_balanced,
    chosen=[
        [text]
        for text in ("", "()", ")(", "(", ")", "(())", "()()", "(()", "())", "())(", "a", "(a)b", "((()))", "x(", "x)y")
    ],
    draw=_draw_text("()()x"),
    golds={
        "fortran": """module solution
  implicit none
contains
  function balanced(text) result(answer)
    character(len=*), intent(in) :: text
    logical :: answer
    integer :: i, depth
    depth = 0
    do i = 1, len(text)
      if (text(i:i) == "(") then
        depth = depth + 1
      else if (text(i:i) == ")") then
        depth = depth - 1
        if (depth < 0) exit
      end if
    end do
    answer = depth == 0
  end function balanced
end module solution
""",
        "cobol": _cobol(
            "BALANCED",
            "01 I PIC S9(9) COMP-5.\n01 DEPTH PIC S9(9) COMP-5.",
            f"{COBOL_DECLARATIONS['str'].format('LK-TEXT')}\n{COBOL_DECLARATIONS['bool'].format('LK-RESULT')}",
            "LK-TEXT LK-RESULT",
            """
            MOVE 0 TO DEPTH
            MOVE 0 TO LK-RESULT
            PERFORM VARYING I FROM 1 BY 1 UNTIL I > LK-TEXT-LENGTH
                IF LK-TEXT-TEXT(I:1) = "("
                    ADD 1 TO DEPTH
                END-IF
                IF LK-TEXT-TEXT(I:1) = ")"
                    SUBTRACT 1 FROM DEPTH
                    IF DEPTH < 0
                        GOBACK
                    END-IF
                END-IF
            END-PERFORM
            IF DEPTH = 0
                MOVE 1 TO LK-RESULT
            END-IF
            """,
        ),
    },
)
SUITE_PROBLEMS = [BEST_SUM, SQUEEZE, BALANCED]
