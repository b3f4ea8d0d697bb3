"""Mutants of small programs, as tests of mutators compare them."""

from __future__ import annotations

from pathlib import Path

from spiritsafe.tasks.code.mutants.mutant import Mutant
from spiritsafe.tasks.code.mutants.registry import mutants_of

PROGRAMS = sorted((Path(__file__).parent / "programs").iterdir())
"""Programs in Fortran (.f90 free, .f fixed) and COBOL (.cob free, .cbl fixed)."""


def programs(*suffixes: str) -> list[Path]:
    return [path for path in PROGRAMS if path.suffix in suffixes]


def changed_lines(source: str, language: str, operator: str | None = None) -> set[str]:
    """Each mutant's changed lines, trimmed; lines of the original that stay are left out."""
    old = source.splitlines()
    found = set()
    for mutant in mutants_of(source, language):
        if operator in (None, mutant.operator):
            new = mutant.source.splitlines()
            start = next(i for i in range(len(old) + 1) if i >= len(new) or i >= len(old) or old[i] != new[i])
            stop = next(
                i for i in range(1, len(old) + 2) if i > len(new) - start or i > len(old) - start or old[-i] != new[-i]
            )
            found.add("\n".join(line.strip() for line in new[start : len(new) - stop + 1]))
    return found


def in_function(line: str, operator: str | None = None) -> set[str]:
    """The mutants of one statement in a Python function."""
    return changed_lines(f"def f(a, b, c, s, xs):\n    {line}\n", "python", operator)


def replaced(mutant: Mutant) -> tuple[str, str]:
    return mutant.before, mutant.after
