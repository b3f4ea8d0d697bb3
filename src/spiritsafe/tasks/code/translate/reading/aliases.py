"""Refuses lists that have two names when they change: in Python both see it, elsewhere each name has a list of its own.

In: a function, and which functions may give back a list that they were given. Out: nothing, or the name of a list that
changes while another variable may be the same list; and whether this function gives back a list that it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from spiritsafe.tasks.code.translate.tree import (
    Append,
    Assign,
    CountLoop,
    EachLoop,
    Expr,
    Function,
    If,
    Jump,
    Return,
    SetItem,
    Statement,
    While,
)

_Pairs = frozenset[frozenset[str]]
"""Variables that may be one list, two by two."""


@final
class Aliases:
    """What two variables may be one list, wherever one changes.

    Args:
        function: To look at.
        givers: By names of functions, whether they may give back a list that they were given.

    Attributes:
        changed: Pairs of which one changes while it may be the other.
        gives: Whether the function may give back a list that it was given.
    """

    def __init__(self, function: Function, givers: Mapping[str, bool]) -> None:
        self._givers = givers
        self._parameters = {name for name, kind in function.parameters if kind == "ints"}
        self._ends: list[_Pairs] = []
        self._turns: list[_Pairs] = []
        self.changed: set[frozenset[str]] = set()
        self.gives = False
        # a parameter stays the caller's list even where its name gets another one
        self._body(function.body, frozenset(frozenset((name, f"{name} of the caller")) for name in self._parameters))

    def _body(self, body: Sequence[Statement], pairs: _Pairs | None) -> _Pairs | None:
        """What is so afterwards; None: there is no afterwards."""
        for statement in body:
            if pairs is None:
                return None
            pairs = self._statement(statement, pairs)
        return pairs

    def _statement(self, statement: Statement, pairs: _Pairs) -> _Pairs | None:
        match statement:
            case Assign():
                return self._assigned(statement, pairs)
            case SetItem() | Append():
                own = {pair for pair in pairs if statement.name in pair}
                self.changed |= {pair for pair in own if not any(" of the caller" in name for name in pair)}
            case If():
                return _either(self._body(statement.body, pairs), self._body(statement.otherwise, pairs))
            case While() | CountLoop() | EachLoop():
                return self._loop(statement, pairs)
            case Return():
                names = self._shared(statement.value)
                self.gives |= any(
                    f"{one} of the caller" in pair and pair & names for pair in pairs for one in self._parameters
                )
                return None
            case Jump():
                (self._ends if statement.is_end else self._turns).append(pairs)
                return None
        return pairs

    def _assigned(self, statement: Assign, pairs: _Pairs) -> _Pairs:
        name = statement.name
        if statement.value.kind != "ints":
            return pairs
        names = self._shared(statement.value)
        partners = {other for pair in pairs if pair & names for other in pair - names} | names
        kept = pairs if name in names else frozenset(pair for pair in pairs if name not in pair)
        return kept | {frozenset((name, other)) for other in partners - {name}}

    def _loop(self, statement: While | CountLoop | EachLoop, pairs: _Pairs) -> _Pairs:
        outer = self._ends, self._turns
        known: _Pairs | None = None
        while known != pairs:
            known = pairs
            self._ends, self._turns = [], []
            after = self._body(statement.body, pairs)
            pairs = pairs.union(*self._turns, after or frozenset())
        found = pairs.union(*self._ends)
        self._ends, self._turns = outer
        return found

    def _shared(self, value: Expr) -> set[str]:
        """Variables whose list, itself, a value may be."""
        if value.kind != "ints":
            return set()
        if value.op == "var":
            return {str(value.value)}
        if value.op == "if" or (value.op == "call" and self._givers[str(value.value)]):
            return set().union(*map(self._shared, value.args))
        return set()


def _either(one: _Pairs | None, other: _Pairs | None) -> _Pairs | None:
    if one is None or other is None:
        return one if other is None else other
    return one | other
