from __future__ import annotations

import re

import pytest
from code_parts import MIX, MIXED, usable
from sandboxes import sandbox_of

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.answer import fenced_blocks
from spiritsafe.tasks.code.languages.language import languages
from spiritsafe.tasks.code.suites.suite import run_suite, suite_languages, why_tests
from spiritsafe.tasks.sandbox.layers import strongest_layer


def test_each_language_of_solutions_has_tests() -> None:
    assert suite_languages() == tuple(languages())


@pytest.mark.parametrize("language", suite_languages())
def test_the_example_of_a_prompt_is_found_and_runs(language: str) -> None:
    """What it expects is made up, so that it fails, but for what the function gives."""
    (block,) = fenced_blocks(why_tests(language, MIX))
    assert block.word in usable(language).fences
    example = block.code.replace("(...) == ...", "(1, True, 'abc', [1]) == [7]")
    kills = run_suite(
        sandbox_of(strongest_layer()),
        language,
        tests=example,
        signature=MIX,
        gold=MIXED[language],
        mutants=[MIXED[language]],
    )
    assert (kills.broken, len(kills.tests)) == ("", 1)
    assert re.search("first|assert|ended with 1", kills.invalid[kills.tests[0]])


def test_a_language_without_tests_is_refused() -> None:
    with pytest.raises(TaskError, match="'perl'"):
        why_tests("perl", MIX)
