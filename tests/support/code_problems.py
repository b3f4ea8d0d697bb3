"""Problems of the family ``code`` made by hand, one in each language, so that no template need stand behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spiritsafe.core.records import Message, Problem

PYTHON = "def tax_of(cents: int) -> int:\n    if cents > 100:\n        return cents // 5\n    return 0\n"
FORTRAN = """module solution
contains
  function tax_of(cents) result(answer)
    integer(8), intent(in) :: cents
    integer(8) :: answer
    answer = 0
    if (cents > 100) answer = cents / 5
  end function tax_of
end module solution
"""
COBOL = """       IDENTIFICATION DIVISION.
       PROGRAM-ID. TAX-OF.
       DATA DIVISION.
       LINKAGE SECTION.
       01 LK-CENTS PIC S9(18) COMP-5.
       01 LK-RESULT PIC S9(18) COMP-5.
       PROCEDURE DIVISION USING LK-CENTS LK-RESULT.
           MOVE 0 TO LK-RESULT
           IF LK-CENTS > 100
               DIVIDE LK-CENTS BY 5 GIVING LK-RESULT
           END-IF
           GOBACK.
       END PROGRAM TAX-OF.
"""
GOLDS = {"python": PYTHON, "fortran": FORTRAN, "cobol": COBOL}
CENTS = (0, 1, 100, 101, 104, 105, 999, 50, 10**12)


def tax(cents: int) -> int:
    """What the golds compute."""
    return cents // 5 if cents > 100 else 0


def tax_facts(language: str = "python", cents: Sequence[int] = CENTS) -> dict[str, Any]:
    """The facts of a problem as the family writes them."""
    return {
        "language": language,
        "name": "tax_of",
        "parameters": [["cents", "int"]],
        "result": "int",
        "answer": GOLDS[language],
        "tests": [[[one], tax(one)] for one in cents],
    }


def tax_problem(language: str = "python", task: str = "code:solve") -> Problem:
    """The problem itself."""
    return Problem(
        task=task,
        canonical_text="tax_of()",
        messages=(Message(role="user", content="Write tax_of."),),
        facts=tax_facts(language),
    )


def in_fence(code: str, word: str = "python") -> str:
    """An answer."""
    return f"```{word}\n{code.rstrip()}\n```"
