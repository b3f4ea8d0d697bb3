"""Every mutant of a program, in any language that has a file in ``languages/``.

In: a program and the name of its language. Out: its mutants, in order of place, each text once. A language's module
has ``edits_of``: the faults that can be put into a program; a new language is a new file.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from functools import cache
from pathlib import Path

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.mutants.mutant import Mutant

_LANGUAGES = "spiritsafe.tasks.code.mutants.languages"


@cache
def mutable_languages() -> tuple[str, ...]:
    """The languages whose programs can be mutated, by name."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent / "languages")])))


def mutants_of(source: str, language: str) -> list[Mutant]:
    """Every mutant of a program; the same program gives the same list.

    Raises:
        TaskError: The language is not known, or the program is not of it.
    """
    if language not in mutable_languages():
        raise TaskError(
            f'Programs in "{language}" cannot be mutated.', hint=f"Languages: {', '.join(mutable_languages())}."
        )
    edits = importlib.import_module(f"{_LANGUAGES}.{language}").edits_of(source)
    seen = {_digest(source)}
    mutants: list[Mutant] = []
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end, edit.operator, edit.new)):
        mutant = Mutant(source, edit)
        text = _digest(mutant.source)
        if text not in seen:
            seen.add(text)
            mutants.append(mutant)
    return mutants


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
