"""What a solution is: a pure function of a name, typed parameters and a typed result, the same in every language.

In: names and types. Out: a :class:`CodeSignature`, which knows whether values fit it. The types are those that Python,
Fortran and COBOL share: whole numbers of at most 18 digits, truth, printable ASCII text, lists of whole numbers.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from spiritsafe.core.errors import TaskError

ValueType = Literal["int", "bool", "str", "ints"]
CodeValue = int | bool | str | list[int]
VALUE_TYPES: tuple[ValueType, ...] = ("int", "bool", "str", "ints")
PYTHON_TYPES: dict[ValueType, str] = {"int": "int", "bool": "bool", "str": "str", "ints": "list[int]"}

MOST_INT = 10**18 - 1
"""COBOL's S9(18)."""
MOST_CHARACTERS = 200
MOST_ITEMS = 100
_NAME = re.compile(r"[a-z](_?[a-z0-9]+)*")
_MOST_NAME = 24
"""COBOL's names have 31 characters at most; ours get parts added."""
_TAKEN = frozenset({"solution", "answer", "result"})
"""The module's name in Fortran, and what results are called."""
_FUNCTIONS = frozenset(
    (
        *("abs", "achar", "allocated", "char", "iachar", "ichar", "index", "int", "kind", "len", "max", "maxval"),
        *("merge", "min", "minval", "mod", "modulo", "nint", "print", "read", "real", "repeat", "reverse", "scan"),
        *("size", "spread", "sum", "trim", "verify", "write"),
    )
)
"""What functions in Fortran would hide from themselves."""
_PARTS = ("_length", "_text", "_item")
"""In COBOL what a text or list has."""


@final
@dataclass(frozen=True, slots=True)
class CodeSignature:
    """A function as its callers see it.

    Attributes:
        name: Lower-case letters, digits and single underscores.
        parameters: Of each its name, likewise, and its type.
        result: The type of what it returns.

    Raises:
        TaskError: A name that some language cannot have.
    """

    name: str
    parameters: tuple[tuple[str, ValueType], ...]
    result: ValueType

    def __post_init__(self) -> None:
        names = [self.name, *(name for name, _ in self.parameters)]
        for name in names:
            if not is_common_name(name):
                raise TaskError(
                    f"{name!r} cannot be a name in every language.",
                    hint=f"Use a lower-case letter, then letters, digits and single underscores, {_MOST_NAME} at most, "
                    f"and no keyword, nor {', '.join(sorted(_TAKEN))}.",
                )
        if self.name in _FUNCTIONS:
            raise TaskError(f"{self.name!r} is a function of Fortran's own.", hint="Use a name of two words.")
        for name in names:
            if any(name.endswith(part) and name.removesuffix(part) in names for part in _PARTS):
                raise TaskError(f"{name!r} is a part of another parameter in COBOL.", hint="Rename one of the two.")
        if len(set(names)) != len(names):
            raise TaskError(f"{self.name}: two of its names are the same.", hint="Rename a parameter.")

    def accepts(self, inputs: Sequence[CodeValue]) -> bool:
        """Whether these are values of its parameters."""
        return len(inputs) == len(self.parameters) and all(
            is_value(value, kind) for value, (_, kind) in zip(inputs, self.parameters, strict=True)
        )


def is_common_name(name: str) -> bool:
    """Whether every language can have it, be it with a part added."""
    is_word = _NAME.fullmatch(name) is not None and len(name) <= _MOST_NAME
    return is_word and name not in _TAKEN and not keyword.iskeyword(name)


def is_value(value: object, kind: ValueType) -> bool:
    """Whether it is of exactly this type, and within what every language can hold."""
    if kind == "int":
        return type(value) is int and abs(value) <= MOST_INT
    if kind == "bool":
        return type(value) is bool
    if kind == "str":
        return type(value) is str and len(value) <= MOST_CHARACTERS and value.isascii() and value.isprintable()
    return type(value) is list and len(value) <= MOST_ITEMS and all(is_value(item, "int") for item in value)
