"""What all verifiers of code need of a machine: a sandbox, and compilers.

In: the languages of a task. Out: an error that says what to install, before anything is in vain.
"""

from __future__ import annotations

from collections.abc import Iterable

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages.language import Language, language_named
from spiritsafe.tasks.sandbox.layers import strongest_layer
from spiritsafe.tasks.task import Verifier


class SandboxedVerifier(Verifier):
    """Runs foreign code, in the sandbox only.

    Args:
        languages: Names of those that it must be able to run.
    """

    isolated = True
    sandboxed = True

    def __init__(self, languages: Iterable[str]) -> None:
        self._languages = tuple(languages)

    def check_machine(self) -> None:
        """A sandbox, and what compiles the languages.

        Raises:
            TaskError: One is missing: it says what to install.
        """
        strongest_layer()
        for name in self._languages:
            self.check_language(language_named(name))

    def check_language(self, language: Language) -> None:
        """Whether programs in a language can be run.

        Raises:
            TaskError: They cannot.
        """
        why_not = language.why_not()
        if why_not is not None:
            raise TaskError(
                f"{language.title} code cannot be run here: {why_not}.", hint="Install it, then run the command again."
            )
