"""Code as a task: its languages, how tests meet code, mutants, and problems made from templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.tasks.code.answer import code_in
    from spiritsafe.tasks.code.duet.coverage import line_coverage
    from spiritsafe.tasks.code.duet.duet import DuetResult, DuetTurn, TestOutcome, TestRun
    from spiritsafe.tasks.code.duet.kills import FIRST_TURNS, Kills, judged_kills, later_order, mutant_cpu_s, why_broken
    from spiritsafe.tasks.code.duet.programs import program_files
    from spiritsafe.tasks.code.labelled import fenced
    from spiritsafe.tasks.code.languages.cobol import cobol_compiler
    from spiritsafe.tasks.code.languages.fortran import fortran_compiler
    from spiritsafe.tasks.code.languages.language import language_named
    from spiritsafe.tasks.code.mutants.cobol_words.words import cobol_columns
    from spiritsafe.tasks.code.mutants.fortran_words.words import fortran_columns, fortran_statements
    from spiritsafe.tasks.code.mutants.languages.python import python_edits
    from spiritsafe.tasks.code.mutants.mutant import Edit, Mutant, sample_mutants
    from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces
    from spiritsafe.tasks.code.mutants.registry import mutants_of
    from spiritsafe.tasks.code.suites.compiled import (
        MOST_TESTS,
        BuildPart,
        TestsPart,
        c_file,
        compiler_words,
        compiling_run,
        kills_in_turns,
    )
    from spiritsafe.tasks.code.suites.fortran_units import FortranUnit, fortran_tests, fortran_units
    from spiritsafe.tasks.code.suites.languages.cobol import COBOL_TESTS_MAIN
    from spiritsafe.tasks.code.suites.languages.fortran import FORTRAN_TESTS_MAIN
    from spiritsafe.tasks.code.suites.turns import TurnTests, run_traced
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "COBOL_TESTS_MAIN", "FIRST_TURNS", "FORTRAN_TESTS_MAIN", "MOST_TESTS", "BuildPart", "DuetResult", "DuetTurn",
    "Edit", "FortranUnit", "Kills", "Mutant", "NodePlaces", "TestOutcome", "TestRun", "TestsPart", "TurnTests",
    "c_file", "cobol_columns", "cobol_compiler", "code_in", "compiler_words", "compiling_run", "fenced",
    "fortran_columns", "fortran_compiler", "fortran_statements", "fortran_tests", "fortran_units", "judged_kills",
    "kills_in_turns", "language_named", "later_order", "line_coverage", "mutant_cpu_s", "mutants_of", "program_files",
    "python_edits", "run_traced", "sample_mutants", "why_broken",
]  # fmt: skip
