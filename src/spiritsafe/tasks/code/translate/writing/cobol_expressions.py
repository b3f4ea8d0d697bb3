"""Writes expressions in COBOL: numbers, characters and conditions.

In: expressions. Out: their texts. What COBOL has no expression for gets a variable, which
:class:`~spiritsafe.tasks.code.translate.writing.cobol_values.CobolValues` sets before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from spiritsafe.tasks.code.languages.cobol import RESULT_NAME, parameter_name
from spiritsafe.tasks.code.translate.tree import CodeKind, Expr, Function, shifted
from spiritsafe.tasks.code.translate.writing.layout import CodeBlock, Names, plain_name
from spiritsafe.tasks.code.translate.writing.signs import natural_names
from spiritsafe.tasks.code.translate.writing.temporaries import Temporaries

_TEMPORARY: dict[CodeKind, str] = {"int": "NUMBER", "bool": "HOLDS", "char": "SIGN", "str": "PART", "ints": "LIST"}
_PARTS: dict[str, tuple[str, ...]] = {"str": ("", "-LENGTH", "-TEXT"), "ints": ("", "-LENGTH", "-ITEM")}
_FUNCTIONS = {"%": "MOD", "abs": "ABS", "min": "MIN", "max": "MAX"}
_COMPARED = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "==": "=", "!=": "NOT ="}
_SUM, _PRODUCT, _WHOLE = range(3)
LETTERS = '({0} >= "A" AND {0} <= "Z" OR {0} >= "a" AND {0} <= "z")'
DIGITS = '({0} >= "0" AND {0} <= "9")'


class CobolExpressions(ABC):
    """The expressions of one function.

    Attributes:
        block: Where statements go.
        temporaries: What has to be declared.
        variables: What each of the function's variables is called.
        kinds: Of the function's variables.
        result: The kind of what the function returns.
    """

    def __init__(self, function: Function) -> None:
        self.block = CodeBlock(4)
        self.kinds = function.kinds
        self.result = function.result
        self.temporaries = Temporaries(Names([RESULT_NAME]), _PARTS)
        self._natural = natural_names(function)
        self.variables = {name: parameter_name(name) for name, _ in function.parameters}
        for name, kind in function.locals:
            wanted = f"WS-{plain_name(name).replace('_', '-').upper()}"
            self.variables[name] = self.temporaries.declare(wanted, kind)

    @abstractmethod
    def set(self, name: str, value: Expr, kind: CodeKind) -> None:
        """A place of a kind gets a value."""

    def temporary(self, kind: CodeKind, wanted: str | None = None) -> str:
        """A new variable."""
        return self.temporaries.take(f"WS-{wanted or _TEMPORARY[kind]}", kind)

    def held(self, value: Expr) -> str:
        """A new variable that has a value."""
        name = self.temporary(value.kind)
        self.set(name, value, value.kind)
        return name

    def is_flat(self, value: Expr) -> bool:
        """Whether it becomes an expression and no statements before it."""
        with self.temporaries.tried(self.block) as before:
            self._plain(value)
        return not before

    def _plain(self, value: Expr) -> str:
        """As an operand, whatever its kind."""
        if value.kind == "bool":
            return self.condition(value)
        if value.kind == "int":
            return self.number(value)
        return self.character(value) if value.kind == "char" else self.whole(value)

    def simple(self, value: Expr) -> str:
        """A number as a literal or a variable."""
        is_simple = value.op in ("const", "var") or (value.op == "len" and value.args[0].op == "var")
        return self.number(value) if is_simple else self.held(value)

    def place(self, index: Expr) -> str:
        """A subscript, where the first one is 1."""
        text = self.number(shifted(index, 1))
        return text if "(" not in text else self.held(shifted(index, 1))

    def whole(self, value: Expr, *, is_new: bool = False) -> str:
        """The group that a text or list is in."""
        if value.op == "var" and value.kind != "char" and not is_new:
            return self.variables[str(value.value)]
        kind: CodeKind = "ints" if value.kind == "ints" else "str"
        name = self.temporary(kind)
        self.set(name, value, kind)
        return name

    # expressions

    def number(self, value: Expr) -> str:
        """A whole number."""
        return self._number(value)[0]

    def _operand(self, value: Expr, hold: int) -> str:
        text, own = self._number(value)
        return text if own >= hold else f"({text})"

    def _number(self, value: Expr) -> tuple[str, int]:
        """A number, and how tightly it holds together."""
        op, args = value.op, value.args
        if op == "const":
            return str(value.value), _WHOLE if int(value.value or 0) >= 0 else _SUM
        if op == "var":
            return self.variables[str(value.value)], _WHOLE
        if op in ("+", "-"):
            is_signed = args[1].op == "const" and int(args[1].value or 0) < 0
            right = self._operand(args[1], _PRODUCT if op == "-" or is_signed else _SUM)
            return f"{self._operand(args[0], _SUM)} {op} {right}", _SUM
        if op == "*":
            return f"{self._operand(args[0], _PRODUCT)} * {self._operand(args[1], _PRODUCT)}", _PRODUCT
        if op == "//":
            quotient = f"{self._operand(args[0], _PRODUCT)} / {self._operand(args[1], _WHOLE)}"
            return f"FUNCTION INTEGER({quotient})", _WHOLE
        if op == "neg":
            return f"0 - {self._operand(args[0], _PRODUCT)}", _SUM
        if op in _FUNCTIONS:
            return f"FUNCTION {_FUNCTIONS[op]}({', '.join(map(self.number, args))})", _WHOLE
        if op == "len":
            return self._length(args[0]), _WHOLE
        if op == "ord" and args[0].op == "const":
            return str(ord(str(args[0].value))), _WHOLE
        if op == "ord":
            return f"FUNCTION ORD({self.character(args[0])}) - 1", _SUM
        if op == "int":
            return self._truth(args[0]), _WHOLE
        if op == "item":
            return f"{self.whole(args[0])}-ITEM({self.place(args[1])})", _WHOLE
        return self.held(value), _WHOLE

    def _length(self, whole: Expr) -> str:
        if whole.op == "const":
            return str(len(str(whole.value)))
        return "1" if whole.kind == "char" else f"{self.whole(whole)}-LENGTH"

    def character(self, value: Expr) -> str:
        """A text of one character."""
        op, args = value.op, value.args
        if op == "const":
            return cobol_literal(value)
        if op == "var":
            return self.variables[str(value.value)]
        if op == "item":
            return f"{self.whole(args[0])}-TEXT({self.place(args[1])}:1)"
        if op == "chr":
            return f"FUNCTION CHAR({self.number(shifted(args[0], 1))})"
        if op in ("upper", "lower"):
            return f"FUNCTION {op.upper()}-CASE({self.character(args[0])})"
        return self.held(value)

    def _truth(self, value: Expr) -> str:
        """A variable that is 1 or 0, or one of these."""
        if value.op == "const":
            return "1" if value.value else "0"
        return self.variables[str(value.value)] if value.op == "var" else self.held(value)

    def condition(self, value: Expr) -> str:
        """What is true or false."""
        return self._condition(value)[0]

    def _condition(self, value: Expr) -> tuple[str, str]:
        """A condition, and what it is made with: ``or``, ``and``, or nothing."""
        op, args = value.op, value.args
        if op == "const":
            return ("1 = 1" if value.value else "1 = 0"), ""
        if op == "var":
            return f"{self.variables[str(value.value)]} = 1", ""
        if op in _COMPARED:
            return self._comparison(op, *args)
        if op in ("and", "or") and self._is_stepwise(value):
            return f"{self.held(value)} = 1", ""
        if op in ("and", "or"):
            parts = [self._condition(arg) for arg in args]
            texts = [text if own in ("", op) else f"({text})" for text, own in parts]
            return f" {op.upper()} ".join(texts), op
        if op == "not":
            inner = args[0]
            if inner.op in ("var", "call", "if"):
                return f"{self._truth(inner)} = 0", ""
            return f"NOT ({self.condition(inner).removeprefix('(').removesuffix(')')})", ""
        if op == "in":
            return _among(self.character(args[0]), str(args[1].value)), ""
        if op in ("isdigit", "isalpha") and args[0].kind == "char":
            return (DIGITS if op == "isdigit" else LETTERS).format(self.character(args[0])), ""
        return f"{self.held(value)} = 1", ""

    def _is_stepwise(self, value: Expr) -> bool:
        """Whether later parts need statements, which must not run where earlier parts decide."""
        return not all(self.is_flat(part) for part in value.args[1:])

    def _comparison(self, op: str, left: Expr, right: Expr) -> tuple[str, str]:
        sign = _COMPARED[op]
        if left.kind == "int":
            return f"{self.number(left)} {sign} {self.number(right)}", ""
        if left.kind == "bool":
            return f"{self._truth(left)} {sign} {self._truth(right)}", ""
        if left.kind == right.kind == "char":
            return f"{self.character(left)} {sign} {self.character(right)}", ""
        if op in ("==", "!="):
            return self._same(left, right, sign, "and" if op == "==" else "or")
        if op in (">", "<="):
            left, right = right, left
        (one, size), (other, other_size) = self._text_and_length(left), self._text_and_length(right)
        text = f"{one} < {other} OR ({one} = {other} AND {size} < {other_size})"
        return (text, "or") if op in ("<", ">") else (f"NOT ({text})", "")

    def _text_and_length(self, value: Expr) -> tuple[str, str]:
        """Of a text, where spaces may follow."""
        if value.op == "const":
            return cobol_literal(value) if value.value else "SPACES", self._length(value)
        if value.kind == "char":
            return self.character(value), "1"
        whole = self.whole(value)
        return f"{whole}-TEXT", f"{whole}-LENGTH"

    def _same(self, left: Expr, right: Expr, sign: str, word: str) -> tuple[str, str]:
        if left.op == "const" or left.kind == "char":
            left, right = right, left
        one = self.whole(left)
        if right.op == "const" and not right.value:
            return f"{one}-LENGTH {sign} 0", ""
        if right.op == "const" or right.kind == "char":
            text, length = self._text_and_length(right)
            return f"{one}-TEXT {sign} {text} {word.upper()} {one}-LENGTH {sign} {length}", word
        return f"{one} {sign} {self.whole(right)}", ""


def cobol_literal(value: Expr) -> str:
    """A constant text in quotes."""
    text = str(value.value).replace('"', '""')
    return f'"{text}"'


_SHORTEST_RANGE = 4


def _among(character: str, signs: str) -> str:
    """Whether a character is one of some; neighbours are told by the first and the last of them."""
    ranges: list[list[int]] = []
    for code in sorted({ord(sign) for sign in signs}):
        if ranges and ranges[-1][-1] == code - 1:
            ranges[-1].append(code)
        else:
            ranges.append([code])
    single = [code for codes in ranges if len(codes) < _SHORTEST_RANGE for code in codes]
    parts = [
        f"{character} >= {_sign(codes[0])} AND {character} <= {_sign(codes[-1])}"
        for codes in ranges
        if len(codes) >= _SHORTEST_RANGE
    ]
    if single:
        parts.append(f"{character} = {' OR '.join(map(_sign, single))}")
    return f"({' OR '.join(parts)})" if parts else "1 = 0"


def _sign(code: int) -> str:
    return cobol_literal(Expr("const", (), "char", chr(code)))
