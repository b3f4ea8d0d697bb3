from __future__ import annotations

import pytest
from code_parts import MIX, MIXED, MIXED_INPUTS, mixed, usable
from sandboxes import every_layer, sandbox_of

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages.language import language_named, language_of_fence, languages, trial_outcomes
from spiritsafe.tasks.sandbox.job import Limits


def test_each_file_of_a_language_is_found() -> None:
    assert list(languages()) == ["cobol", "fortran", "python"]
    assert language_named("cobol").title == "COBOL"
    with pytest.raises(TaskError, match="There is no language 'ada'"):
        language_named("ada")


def test_fences_name_languages() -> None:
    for word, name in (("py", "python"), ("F90", "fortran"), ("cbl", "cobol"), ("python", "python")):
        found = language_of_fence(word)
        assert found is not None
        assert found.name == name
    assert language_of_fence("text") is None
    fences = [word for language in languages().values() for word in language.fences]
    assert len(set(fences)) == len(fences)
    assert all(word == word.lower() for word in fences)


@every_layer
@pytest.mark.parametrize("name", ["python", "fortran", "cobol"])
def test_every_language_gets_all_values_and_gives_them_back(layer: str, name: str) -> None:
    """Ends of ranges, spaces at ends, each printable character, nothing."""
    found = trial_outcomes(sandbox_of(layer), usable(name), MIXED[name], MIX, MIXED_INPUTS, Limits())
    assert found == [mixed(*inputs) for inputs in MIXED_INPUTS]  # type: ignore[arg-type]
