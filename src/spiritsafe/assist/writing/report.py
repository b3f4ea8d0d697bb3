"""What became of the tests of one file: a record that says of each kept test which faults it notices.

In: nothing. Out: :class:`TestsReport`, as it stands in ``report.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from spiritsafe.assist.asker import AskingCost
from spiritsafe.assist.code_report import CodeReport
from spiritsafe.core.records import Record

RoundOutcome = Literal["examined", "broken", "no code", "too long", "no answer"]
"""Its tests were run; they are no tests; it has none; it has too much; the model gave none."""


@final
class KeptTest(Record):
    """A test that was written.

    Attributes:
        name: Its name in the file.
        kills: The mutants that it notices.
        alone: Those of them that no other kept test notices; there is one at least.
    """

    name: str
    kills: tuple[str, ...]
    alone: tuple[str, ...]


@final
class DroppedTest(Record):
    """A test that was not written.

    Attributes:
        name: Its name.
        question: In the answer to which question it stood, from 1; 0: it held there, and not beside the others.
        reason: Why.
    """

    name: str
    question: int
    reason: str


@final
class AskedRound(Record):
    """A question and its answer.

    Attributes:
        outcome: See :data:`RoundOutcome`.
        told: What was wrong with it; "": nothing.
        tests: Tests in it.
        valid: Those of them that hold.
        gained: Mutants that it killed first.
        cost: What it took.
    """

    outcome: RoundOutcome
    told: str = ""
    tests: int = 0
    valid: int = 0
    gained: int = 0
    cost: AskingCost


@final
class TestsReport(CodeReport):
    """What became of one file; ``tests_file`` is the name of the one with its tests.

    Attributes:
        mutants: How many there are.
        killed: How many the kept tests kill.
        not_run: How many of which nothing is known.
        same: Mutants that were left out because the compiler makes the same of them as of the original.
        coverage: Share of the file's lines that the kept tests run; None: it is not known, as without gcov.
        kept: The tests.
        survivors: Mutants that no kept test kills.
        invalid: Tests that do not hold for the code, or not each time.
        redundant: Tests that hold and notice nothing that the kept ones do not.
        rounds: What was asked.
    """

    __test__ = False  # pytest would take it for tests

    mutants: int = 0
    killed: int = 0
    not_run: int = 0
    same: int = 0
    coverage: float | None = None
    kept: tuple[KeptTest, ...] = ()
    survivors: tuple[str, ...] = ()
    invalid: tuple[DroppedTest, ...] = ()
    redundant: tuple[DroppedTest, ...] = ()
    rounds: tuple[AskedRound, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Written:
    """Tests and what became of them.

    Attributes:
        text: The file with the kept tests, as it was run; "": none was kept.
        report: What became of all.
    """

    text: str
    report: TestsReport
