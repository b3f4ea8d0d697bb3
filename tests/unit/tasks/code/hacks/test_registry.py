from __future__ import annotations

import pytest
from code_problems import tax_problem

from spiritsafe.tasks.code.hacks.languages.python import hacks_named
from spiritsafe.tasks.code.hacks.registry import solution_hacks, test_hacks
from spiritsafe.tasks.code.languages.language import languages
from spiritsafe.tasks.families.code.exercises import exam_of

SIGNATURE = exam_of(tax_problem().facts).signature


@pytest.mark.parametrize("language", languages())
def test_every_language_has_its_own(language: str) -> None:
    for hacks in (solution_hacks(language, SIGNATURE), test_hacks(language, SIGNATURE)):
        assert len(hacks) > 12
        assert len(set(hacks.values())) == len(hacks)


def test_each_is_made_in_its_language() -> None:
    assert solution_hacks("python", SIGNATURE) == hacks_named("tax_of")
    assert "function tax_of" in solution_hacks("fortran", SIGNATURE)["end the process as if all were well"]
    assert "PROGRAM-ID. TAX-OF." in solution_hacks("cobol", SIGNATURE)["end the process as if all were well"]
