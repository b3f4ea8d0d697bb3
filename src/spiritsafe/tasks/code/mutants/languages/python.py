"""Faults of Python programs, by their syntax trees.

In: a program. Out: the edits that put one fault into a function, a method or the body of a class. An edit touches the
text of one node, so that comments and lines stay; what does not compile, or compiles to the same, is left out.
"""

from __future__ import annotations

import ast
import warnings

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.mutants.mutant import Edit
from spiritsafe.tasks.code.mutants.python_syntax.compiled import that_differ
from spiritsafe.tasks.code.mutants.python_syntax.operations import operation_edits
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces
from spiritsafe.tasks.code.mutants.python_syntax.scope import spots
from spiritsafe.tasks.code.mutants.python_syntax.statements import statement_edits
from spiritsafe.tasks.code.mutants.python_syntax.values import value_edits

_BYTE_ORDER_MARK = "\ufeff"


def edits_of(source: str) -> list[Edit]:
    """Every fault that can be put into a program.

    Raises:
        TaskError: It is not Python.
    """
    return python_edits(source)


def python_edits(source: str, same: list[Edit] | None = None) -> list[Edit]:
    """Every fault that can be put into a program.

    Args:
        source: The program.
        same: Where the edits are added that the compiler makes the same of as of the program.

    Raises:
        TaskError: It is not Python.
    """
    text = source.removeprefix(_BYTE_ORDER_MARK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler thinks of a program's style, or of a mutant's
        edits = _edits(text, same)
    shift = len(source) - len(text)
    return [
        Edit(
            operator=edit.operator,
            start=edit.start + shift,
            end=edit.end + shift,
            new=edit.new,
            shown=edit.shown,
        )
        for edit in edits
    ]


def _edits(text: str, same: list[Edit] | None) -> list[Edit]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TaskError(
            f"The program is not Python: {error}.", hint="Mutate a program that runs; name its language if it is not."
        ) from None
    places = NodePlaces(text)
    found = [
        (edit, spot)
        for spot in spots(tree)
        for edits in (operation_edits, value_edits, statement_edits)
        for edit in edits(spot.node, spot.parent, places)
    ]
    found.sort(key=lambda pair: (pair[0].start, pair[0].end, pair[0].operator, pair[0].new))
    return list(that_differ(found, places, same))
