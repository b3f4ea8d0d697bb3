"""Mutants of small programs, as tests of mutators compare them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sandboxes import sandbox_of

from spiritsafe.tasks.code.mutants.mutant import Mutant
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS, why_no_layer

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


def margins_kept(mutant: Mutant) -> bool:
    """Whether code stays before column 73, and what stands behind it in the original is there, whole and in order."""
    margins = iter(line[72:] for line in mutant.original.splitlines() if line[72:])
    return all(line[72:] in margins for line in mutant.source.splitlines() if line[72:])


COMPILERS = {
    ".f90": (("gfortran-14", "gfortran"), ("-fsyntax-only", "-w")),
    ".f": (("gfortran-14", "gfortran"), ("-fsyntax-only", "-w")),
    ".cob": (("cobc",), ("-fsyntax-only", "-free")),
    ".cbl": (("cobc",), ("-fsyntax-only", "-fixed")),
}


def num_compiled(sources: list[str], suffix: str) -> int:
    """How many of some programs the compiler takes; the first one is an original, and must be among them."""
    names, options = COMPILERS[suffix]
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip(f"no {names[0]} here")
    files = {f"m{number}{suffix}": source for number, source in enumerate(sources)}
    steps = tuple(RunStep(argv=(compiler, *options, name), must=False) for name in files)
    layer = next((layer for layer in SANDBOX_LAYERS if why_no_layer(layer) is None), SANDBOX_LAYERS[0])
    result = sandbox_of(layer).run(Run(files=files, steps=steps, limits=Limits(wall_s=300)))
    assert result.steps[0].code == 0, result.steps[0].errors
    return sum(step.code == 0 for step in result.steps)
