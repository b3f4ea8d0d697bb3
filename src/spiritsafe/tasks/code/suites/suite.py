"""Tests in any language that has a file in ``languages/``: what they are worth, and how they are to be written.

In: tests as somebody wrote them, the right program and programs with a fault. Out: a
:class:`~spiritsafe.tasks.code.duet.kills.Kills`. A language's module has ``SUITE``; a new language is a new file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.duet.kills import Kills
from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_PACKAGE = "spiritsafe.tasks.code.suites.languages"


class SuiteRunner(Protocol):
    """Runs the tests of one language."""

    def __call__(
        self, sandbox: Sandbox, *, tests: str, signature: CodeSignature, gold: str, mutants: Sequence[str]
    ) -> Kills:
        """See :func:`run_suite`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What a language says of tests in it.

    Attributes:
        run: Runs them.
        rules: What a prompt says of how they are to be written, with an example.
    """

    run: SuiteRunner
    rules: Callable[[CodeSignature], str]


@cache
def suite_languages() -> tuple[str, ...]:
    """Languages that tests can be in, by name."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent / "languages")])))


def run_suite(
    sandbox: Sandbox, language: str, *, tests: str, signature: CodeSignature, gold: str, mutants: Sequence[str]
) -> Kills:
    """Run tests against the right program and against mutants of it.

    Args:
        sandbox: Where.
        language: Its name; tests and programs are in it.
        tests: As somebody wrote them, by :func:`why_tests`.
        signature: Of the function that is tested.
        gold: The right program.
        mutants: Programs with a fault; those that do not compile are not run.

    Raises:
        TaskError: There is no such language, or the right program does not compile.
        SandboxFailure: The sandbox failed.
    """
    return _suite(language).run(sandbox, tests=tests, signature=signature, gold=gold, mutants=mutants)


def why_tests(language: str, signature: CodeSignature) -> str:
    """How tests are to be written in a language: what makes a test, and what makes it fail, with an example.

    Raises:
        TaskError: There is no such language.
    """
    return _suite(language).rules(signature)


def _suite(language: str) -> Suite:
    if language not in suite_languages():
        raise TaskError(
            f"There are no tests in {language!r}.", hint=f"Languages of tests: {', '.join(suite_languages())}."
        )
    suite: Suite = importlib.import_module(f"{_PACKAGE}.{language}").SUITE
    return suite
