"""Right programs in disguise: what tests say of them tells how closely these look at results.

In: the right program. Out: programs that give the same but for one thing, such as a tuple for a list. Tests that let
one pass do not look at that thing, so neither may anything that is asked beside them.
"""

from __future__ import annotations

from textwrap import indent
from typing import Any

_PROGRAM = """
def _disguise():
    gold = {{"__name__": "solution"}}
    exec({source!r}, gold)

    def change(value):
{change}

    def {entry}(*arguments, **named):
        return change(gold[{entry!r}](*arguments, **named))

    return {entry}


{entry} = _disguise()
"""
_BLUR = """
if type(value) in (list, tuple):
    return type(value)(map(change, value))
return value + 1e-4 * max(1.0, abs(value)) if type(value) is float else value"""
_CHANGES = {
    "kind": "return tuple(value) if type(value) is list else list(value) if type(value) is tuple else value",
    "order": "return type(value)(value[::-1]) if type(value) in (list, tuple) else value",
    "truth": 'return value if type(value) is not bool else "yes" if value else None',
    "number": _BLUR,
}
"""By what they change: whether it is a list or a tuple; how it is ordered; all of a truth value but its truth; a
float, further than any right answer is off."""


def disguised(gold: str, entry: str) -> dict[str, str]:
    """The disguises of a program, by what they change."""
    return {
        name: _PROGRAM.format(source=gold, entry=entry, change=indent(change, " " * 8))
        for name, change in _CHANGES.items()
    }


def is_changed(name: str, result: Any) -> bool:
    """Whether a disguise changes such a result at all."""
    if name == "number":
        items = result if isinstance(result, list | tuple) else ()
        return isinstance(result, float) or any(is_changed(name, item) for item in items)
    return isinstance(result, bool if name == "truth" else list | tuple)
