"""Faults of a Python file.

In: its text. Out: a fair sample of its mutants, and how many were left out because they are none.
"""

from __future__ import annotations

from spiritsafe.tasks.code.mutants.languages.python import edits_of
from spiritsafe.tasks.code.mutants.mutant import Edit, Mutant, sample


def python_faults(source: str, *, most: int, seed: int) -> tuple[list[Mutant], int]:
    """Mutants, at most so many; and the number of edits that the compiler makes the same of as of the original.

    Raises:
        TaskError: It is not Python.
    """
    same: list[Edit] = []
    mutants = [Mutant(source, edit) for edit in edits_of(source, same)]
    return sample(mutants, most, seed), len(same)
