"""Compilers that this machine has, for tests of programs in other languages."""

from __future__ import annotations

import pytest

from spiritsafe.tasks.sandbox.walls import find_tool

FORTRAN = ("gfortran-14", "gfortran")
COBOL = ("cobc",)
_PACKAGES = {FORTRAN: "gfortran-14", COBOL: "gnucobol3"}


def compiler(names: tuple[str, ...]) -> str:
    """The path of the first that is here; the test is skipped where there is none."""
    found = next(filter(None, map(find_tool, names)), None)
    if found is None:
        pytest.skip(f"no {' or '.join(names)} here: apt-get install {_PACKAGES[names]}")
    return found
