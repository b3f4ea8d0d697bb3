"""How bodies go: whether they always end with a return, and which loops have their variable for themselves.

In: the statements of a function. Out: yes or no; or the same statements, with loops told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from spiritsafe.tasks.code.translate.tree import (
    CountLoop,
    EachLoop,
    Expr,
    If,
    Jump,
    Return,
    Statement,
    While,
    changed_in,
    mentions,
)


def always_returns(body: tuple[Statement, ...]) -> bool:
    """Whether no way through it ends without a return."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, If):
        return always_returns(last.body) and always_returns(last.otherwise)
    if isinstance(last, While):
        return last.condition.op == "const" and last.condition.value is True and not _is_left(last.body)
    return isinstance(last, Return)


def _is_left(body: tuple[Statement, ...]) -> bool:
    """Whether a loop's body jumps to its end."""
    return any(
        _is_left(one.body + one.otherwise) if isinstance(one, If) else isinstance(one, Jump) and one.is_end
        for one in body
    )


def told_loops(body: tuple[Statement, ...], everything: tuple[Statement, ...]) -> Iterable[Statement]:
    """The same, with those loops told whose variable is not theirs alone."""
    for one in body:
        if isinstance(one, If):
            yield replace(
                one,
                body=tuple(told_loops(one.body, everything)),
                otherwise=tuple(told_loops(one.otherwise, everything)),
            )
        elif isinstance(one, CountLoop):
            inside = tuple(told_loops(one.body, everything))
            is_own = one.name not in changed_in(one.body) and not _is_asked(everything, one.name)
            yield replace(one, body=inside, is_own=is_own)
        elif isinstance(one, While | EachLoop):
            yield replace(one, body=tuple(told_loops(one.body, everything)))
        else:
            yield one


def _is_asked(body: Iterable[Statement], name: str) -> bool:
    """Whether a variable is asked for or set outside the loops that count with it."""
    for one in body:
        if isinstance(one, CountLoop) and one.name == name:
            if any(mentions(value, name) for value in (one.first, one.end)):
                return True
            continue
        values = [value for value in (getattr(one, key) for key in one.__slots__) if isinstance(value, Expr)]
        if any(mentions(value, name) for value in values) or getattr(one, "name", None) == name:
            return True
        inside = [*getattr(one, "body", ()), *getattr(one, "otherwise", ())]
        if _is_asked(inside, name):
            return True
    return False
