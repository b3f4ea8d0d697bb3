"""The tricks of any language that has a file in ``languages/``.

In: a signature. Out: by what they try, programs instead of the function, and tests of it. A language's module has
``solution_hacks`` and ``test_hacks``; a new language is a new file.
"""

from __future__ import annotations

import importlib

from spiritsafe.tasks.code.languages.signature import CodeSignature

_PACKAGE = "spiritsafe.tasks.code.hacks.languages"


def solution_hacks(language: str, signature: CodeSignature) -> dict[str, str]:
    """Programs instead of a function, by what they try.

    Args:
        language: Its name.
        signature: Of the function.
    """
    found: dict[str, str] = importlib.import_module(f"{_PACKAGE}.{language}").solution_hacks(signature)
    return found


def test_hacks(language: str, signature: CodeSignature) -> dict[str, str]:
    """Tests of a function, by what they try; see :func:`solution_hacks`."""
    found: dict[str, str] = importlib.import_module(f"{_PACKAGE}.{language}").test_hacks(signature)
    return found


test_hacks.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test
