"""What tests of plain functions use of pytest, where pytest itself is not: raises, approx, parametrize, fixtures.

In: a test's module, which imports it as ``pytest``. Out: functions that :func:`cases_of` unfolds.
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any


class Skipped(BaseException):
    """The test says that it does not apply."""


class ErrorInfo:
    """What a block raised.

    Attributes:
        value: The error.
    """

    value: BaseException

    @property
    def type(self) -> type[BaseException]:
        """Its kind."""
        return type(self.value)


def raises(expected: Any, *call: Any, match: str | None = None, **named: Any) -> Any:
    """Fail unless the block, or the call, raises such an error."""
    if call:
        with _raises(expected, match) as info:
            call[0](*call[1:], **named)
        return info
    return _raises(expected, match)


@contextmanager
def _raises(expected: Any, match: str | None) -> Iterator[ErrorInfo]:
    info = ErrorInfo()
    try:
        yield info
    except expected as error:
        info.value = error
    else:
        raise AssertionError(f"did not raise {expected}")
    if match is not None and not re.search(match, str(info.value)):
        raise AssertionError(f"{str(info.value)!r} does not match {match!r}")


class approx:
    """Equal to numbers, and to lists, tuples and dicts of numbers, that are near."""

    __hash__ = None  # type: ignore[assignment]  # as Python does for what has __eq__

    def __init__(self, expected: Any, rel: float | None = None, abs: float | None = None) -> None:
        self._expected = expected
        self._rel = 0.0 if rel is None and abs is not None else 1e-6 if rel is None else rel
        self._abs = 1e-12 if abs is None else abs

    def __eq__(self, other: object) -> bool:
        return self._near(self._expected, other)

    def __repr__(self) -> str:
        return f"approx({self._expected!r})"

    def _near(self, one: Any, other: Any) -> bool:
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            return one.keys() == other.keys() and all(self._near(one[key], other[key]) for key in one)
        if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
            return len(one) == len(other) and all(map(self._near, one, other))
        is_number = isinstance(one, int | float) and isinstance(other, int | float) and not isinstance(one, bool)
        return math.isclose(one, other, rel_tol=self._rel, abs_tol=self._abs) if is_number else bool(one == other)


class _Marks:
    def parametrize(self, names: Any, values: Any, ids: Any = None) -> Callable[[Any], Any]:
        keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        is_bare = isinstance(names, str) and len(keys) == 1
        rows = [dict(zip(keys, (_unwrapped(row),) if is_bare else row, strict=True)) for row in values]

        def mark(function: Any) -> Any:
            function.some_rows = [{**old, **new} for old in getattr(function, "some_rows", [{}]) for new in rows]
            return function

        return mark

    def skip(self, function: Any = None, **_: Any) -> Any:
        return self.skipif(True)(function) if callable(function) else self.skipif(True)

    def skipif(self, condition: Any, **_: Any) -> Callable[[Any], Any]:
        def mark(function: Any) -> Any:
            function.is_skipped = bool(condition) or getattr(function, "is_skipped", False)
            return function

        return mark

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **_: given[0] if given and callable(given[0]) else lambda function: function


class _Parameters(tuple):  # type: ignore[type-arg]  # of anything
    pass


def param(*values: Any, id: Any = None, marks: Any = ()) -> Any:
    """A row of parametrize."""
    return _Parameters(values)


def _unwrapped(row: Any) -> Any:
    return row[0] if isinstance(row, _Parameters) and len(row) == 1 else row


def fixture(function: Any = None, **_: Any) -> Any:
    """Mark a function whose value tests ask for by its name."""
    if function is None:
        return fixture
    function.is_fixture = True
    return function


def skip(reason: str = "") -> None:
    """Say that the test does not apply."""
    raise Skipped(reason)


def fail(reason: str = "") -> None:
    """Fail."""
    raise AssertionError(reason)


mark = _Marks()


def as_pytest() -> types.ModuleType:
    """A module to import as ``pytest``."""
    module = types.ModuleType("pytest")
    for name in ("raises", "approx", "mark", "param", "fixture", "skip", "fail"):
        setattr(module, name, globals()[name])
    return module


def cases_of(
    function: Callable[..., Any], namespace: Mapping[str, Any], owner: type | None = None
) -> list[tuple[str, Callable[[], None]]]:
    """What a test function stands for: a case for each row of its parameters, behind a mark that tells them apart.

    Args:
        function: A function, or one of a class.
        namespace: Where its fixtures are.
        owner: The class.
    """
    rows = getattr(function, "some_rows", [{}])
    marks = [f"[{place}]" if len(rows) > 1 else "" for place in range(len(rows))]
    return [(mark, _case(function, row, namespace, owner)) for mark, row in zip(marks, rows, strict=True)]


def _case(
    function: Callable[..., Any], row: dict[str, Any], namespace: Mapping[str, Any], owner: type | None
) -> Callable[[], None]:
    def run() -> None:
        if getattr(function, "is_skipped", False):
            raise Skipped
        with ExitStack() as stack:
            bound = function if owner is None else _bound(function, owner, stack)
            bound(**_arguments(bound, row, namespace, stack))

    return run


def _bound(function: Callable[..., Any], owner: type, stack: ExitStack) -> Callable[..., Any]:
    """A function of a new instance, which is set up now and torn down in the end."""
    instance = owner()
    bound: Callable[..., Any] = getattr(instance, function.__name__)
    _call_hook(instance, "setup_method", bound)
    stack.callback(_call_hook, instance, "teardown_method", bound)
    return bound


def _call_hook(instance: object, name: str, method: Callable[..., Any]) -> None:
    hook = getattr(instance, name, None)
    if hook is not None:
        hook(*[method] * len(inspect.signature(hook).parameters))


def _arguments(
    function: Callable[..., Any], row: dict[str, Any], namespace: Mapping[str, Any], stack: ExitStack
) -> dict[str, Any]:
    found = dict(row)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in found or parameter.default is not parameter.empty:
            continue
        maker = namespace.get(name)
        if maker is None or not getattr(maker, "is_fixture", False):
            raise TypeError(f"no value for {name}")
        made = maker(**_arguments(maker, {}, namespace, stack))
        if inspect.isgenerator(made):
            stack.callback(lambda made=made: next(made, None))  # type: ignore[misc]  # mypy cannot type a lambda's default
            made = next(made)
        found[name] = made
    return found
