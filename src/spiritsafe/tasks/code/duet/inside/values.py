"""Plain values as JSON, and back: numbers, texts, and what Python's own containers hold of them.

In: a value of a function that nobody vouches for. Out: JSON that means the same value; whatever is not plain becomes
an opaque thing that equals nothing, so that a value with an ``__eq__`` of its own gains nothing by it.
"""

from __future__ import annotations

import datetime
import json
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

_MOST_DEPTH = 60
_MOST_ITEMS = 100_000
_EXACT = 1 << 53
_MOST_DIGITS = 100_000
"""Of whole numbers, in base 16."""


class NotPlainError(TypeError):
    """A value that cannot be handed to the other side."""


class Opaque:
    """Something that is not plain, as the other side knows it: it equals nothing, itself included."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # as Python does for what has __eq__

    def __bool__(self) -> bool:
        raise NotPlainError(f"{self} has no truth value")

    def __repr__(self) -> str:
        return f"<{self._kind} that is no plain value>"


def encoded(value: object, *, strict: bool = False) -> Any:
    """A value as JSON.

    Args:
        value: Any.
        strict: Refuse what is not plain.

    Raises:
        NotPlainError: It is not plain, nested too deeply, or too large.
    """
    return _Encoder(strict)(value, 0)


_ITERATORS: tuple[type, ...] = (types.GeneratorType, map, filter, zip, enumerate, reversed)
_ITERATORS += (type(iter([])), type(iter(())), type(iter(range(0))), type(iter("")), type(iter({})), type(iter(set())))
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class _Encoder:
    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._num_items = 0

    def __call__(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:
            return value
        if kind is int:
            return value if -_EXACT < value < _EXACT else ["int", _in_hex(value)]
        if depth > _MOST_DEPTH:
            raise NotPlainError("a value is nested too deeply")
        if kind in _ATOMS:
            return [kind.__name__, _ATOMS[kind][0](value)]
        if kind in (dict, Counter, OrderedDict, defaultdict):
            tag = "dict" if kind is defaultdict else kind.__name__
            return [tag, [[self._item(key, depth), self._item(each, depth)] for key, each in dict.items(value)]]
        if kind in (set, frozenset):
            return [kind.__name__, sorted((self._item(each, depth) for each in value), key=json.dumps)]
        if kind in (list, deque):
            return [kind.__name__, [self._item(each, depth) for each in value]]
        if isinstance(value, tuple) and (kind is tuple or hasattr(kind, "_fields")):
            return ["tuple", [self._item(each, depth) for each in tuple.__iter__(value)]]
        if kind in _ITERATORS:
            return ["iterator", [self._item(each, depth) for each in value]]
        if kind in _VIEWS:
            return ["list", [self._item(each, depth) for each in value]]
        if self._strict:
            raise NotPlainError(f"a {kind.__name__} cannot be handed to the code under test")
        return ["opaque", str(kind.__name__)[:60]]

    def _item(self, value: object, depth: int) -> Any:
        self._num_items += 1
        if self._num_items > _MOST_ITEMS:
            raise NotPlainError("a value has too many items")
        return self(value, depth + 1)


def _in_hex(value: int) -> str:
    digits = hex(value)
    if len(digits) > _MOST_DIGITS:
        raise NotPlainError("a number has too many digits")
    return digits


_ATOMS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    bytes: (bytes.hex, bytes.fromhex),
    bytearray: (bytearray.hex, bytearray.fromhex),
    complex: (lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    Decimal: (str, Decimal),
    Fraction: (str, Fraction),
    range: (lambda value: [_in_hex(n) for n in (value.start, value.stop, value.step)], lambda parts: _range(parts)),
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.datetime: (datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.time: (datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.timedelta: (
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: datetime.timedelta(*parts),
    ),
}
"""By type: to JSON, and back."""


_BACK = {kind.__name__: back for kind, (_, back) in _ATOMS.items()}


def _range(parts: list[str]) -> range:
    return range(*(int(part, 16) for part in parts))


_HOLDERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "iterator": iter,
}
_MAPPINGS: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "dict": dict,
    "Counter": Counter,
    "OrderedDict": OrderedDict,
}


def decoded(data: Any) -> Any:
    """The value that JSON means.

    Raises:
        ValueError: It means none.
    """
    try:
        return _decode(data)
    except (TypeError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"no value: {type(error).__name__}") from None


def _decode(data: Any) -> Any:
    if not isinstance(data, list):
        if isinstance(data, dict):
            raise ValueError("no value")
        return data
    tag, content = data
    if tag == "int":
        return int(content, 16)
    if tag == "opaque":
        return Opaque(str(content))
    if tag in _HOLDERS:
        return _HOLDERS[tag]([_decode(each) for each in content])
    if tag in _MAPPINGS:
        return _MAPPINGS[tag]({_decode(key): _decode(each) for key, each in content})
    return _BACK[tag](content)


def update(old: object, new: object) -> None:
    """Have an argument hold what the function left in it."""
    if isinstance(old, list | bytearray) and isinstance(new, list | bytearray):
        old[:] = new
    elif isinstance(old, dict) and isinstance(new, dict):
        old.clear()
        old.update(new)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old |= new
    elif isinstance(old, deque) and isinstance(new, deque):
        old.clear()
        old.extend(new)
