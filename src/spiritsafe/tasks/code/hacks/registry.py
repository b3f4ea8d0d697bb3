"""The tricks of any language that has a file in ``languages/``.

In: a language and a signature. Out: by what they try, programs instead of the function, and tests of it. A language's
module has ``HACKS``; a new language is a new file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from spiritsafe.tasks.code.languages.signature import CodeSignature

_PACKAGE = "spiritsafe.tasks.code.hacks.languages"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Hacks:
    """What a language's module says of its tricks; each is a text by what it tries.

    Attributes:
        solutions: Programs instead of a function.
        tests: Tests of a function.
    """

    solutions: Callable[[CodeSignature], dict[str, str]]
    tests: Callable[[CodeSignature], dict[str, str]]


def _hacks(language: str) -> Hacks:
    found: Hacks = importlib.import_module(f"{_PACKAGE}.{language}").HACKS
    return found


def solution_hacks(language: str, signature: CodeSignature) -> dict[str, str]:
    """Programs instead of a function, by what they try.

    Args:
        language: Its name.
        signature: Of the function.
    """
    return _hacks(language).solutions(signature)


def test_hacks(language: str, signature: CodeSignature) -> dict[str, str]:
    """Tests of a function, by what they try; see :func:`solution_hacks`."""
    return _hacks(language).tests(signature)


test_hacks.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test
