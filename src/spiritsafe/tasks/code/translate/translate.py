"""Translates gold code: Python's subset in, another language out.

In: the source of a function and those that it calls. Out: its source in a language, which gives the same results; where
Python's would raise, nothing is promised. The subset:

- functions with types ``int``, ``bool``, ``str`` and ``list[int]``, without recursion; ``return`` anywhere, on each way
- ``x = …``, ``x: int = …``, ``xs[i] = …``, ``x += …``, ``a, b = b, a``, ``xs.append(…)``; ``if``, ``while``, ``break``,
  ``continue``; ``for`` over ``range`` with a literal step, over a list and over a text
- ``+ - * // %`` of numbers, ``abs``, ``min``, ``max``, ``int`` of truth, ``len``, ``ord``, ``sum``, ``min`` and ``max`` of
  a list; comparisons, chained too; ``and``, ``or``, ``not``, ``x if c else y``
- indices, and slices with or without bounds, not negative unless they are literals; ``[::-1]``; ``+`` of lists and of
  texts, ``[x] * n``, ``"-" * n``, ``sorted(xs)``, ``sorted(xs, reverse=True)``; ``chr``, ``str`` of a number, ``upper``,
  ``lower``, ``isdigit``, ``isalpha``, ``c in "constant"`` of one character
- numbers of at most 18 digits, texts of at most 200 characters and lists of at most 100 items, those on the way too; a
  list changes only while it has one name
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.reading.subset import refuse_line
from spiritsafe.tasks.code.translate.tree import Function
from spiritsafe.tasks.code.translate.writing.cobol import write_cobol
from spiritsafe.tasks.code.translate.writing.fortran import write_fortran

_WRITERS: dict[str, Callable[[Sequence[Function], str], str]] = {"fortran": write_fortran, "cobol": write_cobol}
TRANSLATED = ("python", *_WRITERS)
"""Languages that gold code can be had in."""


def translate(source: str, signature: CodeSignature, language: str) -> str:
    """The source in another language.

    Args:
        source: One function of the signature's name, and those that it calls.
        signature: What the function's annotations say, too.
        language: One of :data:`TRANSLATED`; in Python the source is only read.

    Raises:
        SubsetError: It is not in the subset; the line is named.
    """
    functions = read_program(source, signature.name)
    entry = next(one for one in functions if one.name == signature.name)
    if tuple(entry.parameters) != signature.parameters or entry.result != signature.result:
        refuse_line(0, f"{signature.name} has another signature in the source")
    return source if language == "python" else _WRITERS[language](functions, signature.name)
