"""Code that shall have tests: one file of it, in a language that has a module in ``languages/``.

In: a path. Out: its subjects, each with the source, the faults that tests are to notice, and a way to learn what tests
are worth. A new language is a new file with ``SUFFIXES`` and ``open_subjects``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.tasks.code import Kills, Mutant


class Subject(Protocol):
    """One file under test.

    Attributes:
        path: The file.
        language: Its language's name.
        source: Its text.
        mutants: Its faults, those that :meth:`examine` counts, in order of place.
        num_same: Faults that were left out because the compiler makes the same of them as of the original.
        test_name: Name of a file for its tests, such as ``test_strutils.py``.
    """

    path: Path
    language: str
    source: str
    mutants: Sequence[Mutant]
    num_same: int
    test_name: str

    def rules(self) -> str:
        """What a prompt says of how its tests are to be written: how the code is imported, what makes a test."""
        ...

    def needs(self) -> str:
        """A digest of what its runs hang on beside its own text: files that it uses, what runs or compiles it.

        Raises:
            TaskError: There is too much of it.
        """
        ...

    def trouble(self) -> FileTrouble | None:
        """Why the file as it is cannot be run, so that there is nothing to ask; None: it can.

        Raises:
            TaskError: Nothing can be run here.
            SandboxFailure: The sandbox failed.
        """
        ...

    def examine(self, tests: str) -> Kills:
        """What tests are worth; never raises for what is in them.

        ``killed_by`` counts places in :attr:`mutants`, and ``coverage`` is the share of the file's lines. A test is in
        ``invalid`` unless it passed on the file as it is each of several times, in several orders.

        Raises:
            SandboxFailure: The sandbox failed.
        """
        ...

    def judge(self, tests: str, programs: Sequence[str]) -> Kills:
        """As :meth:`examine`, for other versions of the file: ``killed_by`` counts places in ``programs``."""
        ...

    def only(self, tests: str, names: Collection[str]) -> str:
        """The same tests without all others than those named; what they lean on stays."""
        ...

    def joined(self, suites: Sequence[str]) -> str:
        """Several texts of tests as one, no test's name twice."""
        ...
