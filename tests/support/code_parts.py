"""Solutions in every language and a sandbox to try them in, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sandboxes import sandbox_of

from spiritsafe.tasks.code.languages.language import Language, language_named, trial_outcomes
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.languages.trial import TrialOutcome
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.layers import strongest_layer


def usable(name: str) -> Language:
    """A language; the test is skipped where its compiler is not installed."""
    language = language_named(name)
    if (reason := language.why_not()) is not None:
        pytest.skip(reason)
    return language


def tried(
    language: str,
    source: str,
    signature: CodeSignature,
    inputs: Sequence[Sequence[CodeValue]],
    limits: Limits | None = None,
) -> list[TrialOutcome]:
    """What a solution gives for each input, in the best sandbox here."""
    return trial_outcomes(
        sandbox_of(strongest_layer()), usable(language), source, signature, inputs, limits or Limits()
    )


MIX = CodeSignature("mix_up", (("a", "int"), ("ok", "bool"), ("text", "str"), ("xs", "ints")), "ints")
"""One parameter of each type."""
MIXED = {
    "python": """def mix_up(a, ok, text, xs):
    return [a, int(ok), len(text), *xs, ord(text[-1]) if text else 0]
""",
    "fortran": """
module solution
  implicit none
contains
  function mix_up(a, ok, text, xs) result(answer)
    integer(8), intent(in) :: a, xs(:)
    logical, intent(in) :: ok
    character(len=*), intent(in) :: text
    integer(8), allocatable :: answer(:)
    integer :: last
    last = 0
    if (len(text) > 0) last = ichar(text(len(text):))
    answer = [a, merge(1, 0, ok), len(text), xs, last]
  end function mix_up
end module solution
""",
    "cobol": """
       IDENTIFICATION DIVISION.
       PROGRAM-ID. MIX-UP.
       DATA DIVISION.
       LOCAL-STORAGE SECTION.
       01 I PIC S9(9) COMP-5.
       LINKAGE SECTION.
       01 A PIC S9(18) COMP-5.
       01 OK PIC 9.
       01 S.
          05 S-LENGTH PIC S9(9) COMP-5.
          05 S-TEXT PIC X(200).
       01 XS.
          05 XS-LENGTH PIC S9(9) COMP-5.
          05 XS-ITEM PIC S9(18) COMP-5 OCCURS 100 TIMES.
       01 R.
          05 R-LENGTH PIC S9(9) COMP-5.
          05 R-ITEM PIC S9(18) COMP-5 OCCURS 100 TIMES.
       PROCEDURE DIVISION USING A OK S XS R.
           MOVE A TO R-ITEM(1)
           MOVE OK TO R-ITEM(2)
           MOVE S-LENGTH TO R-ITEM(3)
           PERFORM VARYING I FROM 1 BY 1 UNTIL I > XS-LENGTH
               MOVE XS-ITEM(I) TO R-ITEM(3 + I)
           END-PERFORM
           MOVE 0 TO R-ITEM(4 + XS-LENGTH)
           IF S-LENGTH > 0
               COMPUTE R-ITEM(4 + XS-LENGTH) =
                   FUNCTION ORD(S-TEXT(S-LENGTH:1)) - 1
           END-IF
           COMPUTE R-LENGTH = XS-LENGTH + 4
           GOBACK.
""",
}
"""The number, the truth, the text's length, the list, and the code of the text's last character."""
MIXED_INPUTS: list[list[CodeValue]] = [
    [5, True, "ab  ", [1, -2]],
    [-(10**18) + 1, False, "", []],
    [10**18 - 1, True, " x", [10**18 - 1, -(10**18) + 1, 0]],
    [0, False, "".join(map(chr, range(32, 127))) + "".join(map(chr, range(126, 31, -1))) + "+" * 10, [7] * 96],
    [-1, True, "'\"!&*>/\\", [-1] * 3],
]


def mixed(a: int, ok: bool, text: str, xs: list[int]) -> list[int]:
    """What it should be."""
    return [a, 1 if ok else 0, len(text), *xs, ord(text[-1]) if text else 0]
