"""Languages of solutions: each is a file of this folder that says all of itself, found by its name.

In: a language's name, or what a fence of code says. Out: a :class:`Language`, from whose module it is ``LANGUAGE``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.languages.trial import Trial, TrialOutcome
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.sandbox import Sandbox

_PACKAGE = "spiritsafe.tasks.code.languages"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What a language says of itself.

    Attributes:
        name: In specs and recipes.
        title: For readers.
        fences: What fences of code in answers say, in lower case; the first is the one that prompts use.
        skeleton: The declaration that a prompt shows; a solution fills it in.
        trial: A solution with inputs, ready for a sandbox.
        why_not: What to install, or None: it can be run here.
    """

    name: str
    title: str
    fences: tuple[str, ...]
    skeleton: Callable[[CodeSignature], str]
    trial: Callable[[str, CodeSignature, Sequence[Sequence[CodeValue]], Limits], Trial]
    why_not: Callable[[], str | None]


@cache
def languages() -> dict[str, Language]:
    """All of them, by name."""
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        language = vars(importlib.import_module(f"{_PACKAGE}.{module.name}")).get("LANGUAGE")
        if isinstance(language, Language):
            found[language.name] = language
    return dict(sorted(found.items()))


def language_named(name: str) -> Language:
    """One of them.

    Raises:
        TaskError: There is no such language.
    """
    if (found := languages().get(name)) is None:
        raise TaskError(f"There is no language {name!r}.", hint=f"There are {', '.join(languages())}.")
    return found


def language_of_fence(word: str) -> Language | None:
    """Whose code a fence says that it holds."""
    return next((one for one in languages().values() if word.lower() in one.fences), None)


def trial_outcomes(
    sandbox: Sandbox,
    language: Language,
    source: str,
    signature: CodeSignature,
    inputs: Sequence[Sequence[CodeValue]],
    limits: Limits,
) -> list[TrialOutcome]:
    """What a solution gives for each input.

    Raises:
        SandboxFailure: Nothing is known of it.
    """
    trial = language.trial(source, signature, inputs, limits)
    return trial.outcomes(sandbox.run(trial.run))
