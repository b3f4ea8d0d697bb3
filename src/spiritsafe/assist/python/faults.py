"""Faults of a Python file.

In: its text. Out: a fair sample of its mutants, and how many were left out because they are none.
"""

from __future__ import annotations

from spiritsafe.tasks.code import Edit, Mutant, python_edits, sample_mutants


def python_faults(source: str, *, most: int, seed: int) -> tuple[list[Mutant], int]:
    """Mutants, at most so many; and the number of edits that the compiler makes the same of as of the original.

    Raises:
        TaskError: It is not Python.
    """
    same: list[Edit] = []
    mutants = [Mutant(source, edit) for edit in python_edits(source, same)]
    return sample_mutants(mutants, most, seed), len(same)
