"""Writes expressions in Fortran.

In: expressions. Out: their texts. What Fortran has no expression for gets a variable, which is set before; so do
conditions that must not be worked out where an earlier one decides, since ``.and.`` and ``.or.`` promise no order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from spiritsafe.tasks.code.translate.tree import CodeKind, Expr, Function, is_total, number, shifted
from spiritsafe.tasks.code.translate.writing.fortran_functions import FORTRAN_FUNCTIONS
from spiritsafe.tasks.code.translate.writing.layout import CodeBlock, Names
from spiritsafe.tasks.code.translate.writing.signs import is_natural, natural_names
from spiritsafe.tasks.code.translate.writing.temporaries import Temporaries

INTRINSICS = (
    *("abs", "achar", "allocated", "iachar", "index", "int", "kind", "len", "max", "maxval", "merge", "min", "minval"),
    *("mod", "modulo", "print", "read", "repeat", "size", "solution", "spread", "sum", "trim", "verify", "write"),
)
"""That code that is written here uses."""
_TEMPORARY: dict[CodeKind, str] = {"int": "number", "bool": "holds", "char": "sign", "str": "part", "ints": "items"}
_COMPARED = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "==": "==", "!=": "/="}
_OR, _AND, _NOT, _COMPARISON, _JOIN, _SUM, _PRODUCT, _WHOLE = range(8)
"""How tightly things hold together."""
_LETTERS = "'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'"


class FortranExpressions(ABC):
    """Writes the expressions of one function."""

    def __init__(self, function: Function, called: dict[str, str], needed: dict[str, None]) -> None:
        self._called = called
        self._needed = needed
        self._names = Names([*INTRINSICS, *FORTRAN_FUNCTIONS, *called.values()])
        self._temporaries = Temporaries(self._names)
        self._natural = natural_names(function)
        self._block = CodeBlock(2)
        self._variables: dict[str, str] = {}

    @abstractmethod
    def _set(self, name: str, value: Expr) -> None:
        """A variable gets a value."""

    def _temporary(self, kind: CodeKind) -> str:
        return self._temporaries.take(_TEMPORARY[kind], kind)

    def _held(self, value: Expr) -> str:
        """A new variable that has a value."""
        name = self._temporary(value.kind)
        self._set(name, value)
        return name

    def _merges(self, value: Expr) -> bool:
        return value.kind in ("int", "bool", "char") and all(is_total(arg) and self._is_flat(arg) for arg in value.args)

    def _is_flat(self, value: Expr) -> bool:
        """Whether it becomes an expression and no statements before it."""
        with self._temporaries.tried(self._block) as before:
            self._text(value)
        return not before

    def _is_stepwise(self, value: Expr) -> bool:
        """Whether later parts must not be worked out where earlier ones decide."""
        return not all(is_total(part) and self._is_flat(part) for part in value.args[1:])

    def _text(self, value: Expr) -> str:
        return self._written(value)[0]

    def _part(self, value: Expr, hold: int) -> str:
        """In parentheses, where it holds together less."""
        text, own = self._written(value)
        return text if own >= hold else f"({text})"

    def _index(self, value: Expr) -> str:
        """A place in Fortran, where the first one is 1."""
        return self._text(shifted(value, 1))

    def _variable(self, value: Expr) -> str:
        """A variable that has the value, since only these have items."""
        return self._variables[str(value.value)] if value.op == "var" else self._held(value)

    def _helped(self, name: str, *args: Expr) -> tuple[str, int]:
        self._needed[name] = None
        return f"{name}({', '.join(map(self._text, args))})", _WHOLE

    def _written(self, value: Expr) -> tuple[str, int]:
        """An expression, and how tightly it holds together."""
        op, args = value.op, value.args
        if op == "const":
            return self._constant(value)
        if op == "var":
            return self._variables[str(value.value)], _WHOLE
        if op == "call":
            return f"{self._called[str(value.value)]}({', '.join(map(self._text, args))})", _WHOLE
        if op in _COMPARED:
            return self._comparison(op, *args)
        if op in ("and", "or"):
            if self._is_stepwise(value):
                return self._held(value), _WHOLE
            hold = _AND if op == "and" else _OR
            return f" .{op}. ".join(self._part(arg, hold + 1 if arg.op != op else hold) for arg in args), hold
        if op == "if":
            if not self._merges(value):
                return self._held(value), _WHOLE
            condition, one, other = map(self._text, args)
            return f"merge({one}, {other}, {condition})", _WHOLE
        simple = getattr(self, f"_write_{_METHODS[op]}")
        found: tuple[str, int] = simple(value, *args)
        return found

    def _constant(self, value: Expr) -> tuple[str, int]:
        if value.kind == "bool":
            return (".true." if value.value else ".false."), _WHOLE
        if value.kind == "int":
            return str(value.value), _SUM if int(value.value or 0) < 0 else _WHOLE
        return "'" + str(value.value).replace("'", "''") + "'", _WHOLE

    def _comparison(self, op: str, left: Expr, right: Expr) -> tuple[str, int]:
        sign = _COMPARED[op]
        if left.kind == "bool":
            one, other = (self._part(arg, _COMPARISON) for arg in (left, right))
            return f"({one} .{'eqv' if op == '==' else 'neqv'}. {other})", _WHOLE
        if left.kind == "int" or left.kind == right.kind == "char":
            return f"{self._part(left, _JOIN)} {sign} {self._part(right, _JOIN)}", _COMPARISON
        if op in ("==", "!="):
            return self._same(left, right, is_same=op == "==")
        if op in (">", "<="):
            left, right = right, left
        text, _ = self._helped("comes_before", left, right)
        return (text, _WHOLE) if op in ("<", ">") else (f".not. {text}", _NOT)

    def _same(self, left: Expr, right: Expr, *, is_same: bool) -> tuple[str, int]:
        """Fortran takes texts of different lengths for the same if only spaces are left."""
        if left.op == "const":
            left, right = right, left
        one = self._text(left) if left.op in ("var", "const") else self._held(left)
        sign, word, hold = ("==", ".and.", _AND) if is_same else ("/=", ".or.", _OR)
        if right.op == "const":
            length = len(str(right.value))
            lengths = f"len({one}) {sign} {length}"
            return (
                (lengths, _COMPARISON) if not length else (f"{one} {sign} {self._text(right)} {word} {lengths}", hold)
            )
        other = self._text(right) if right.op == "var" else self._held(right)
        if right.kind == "char":
            return f"{one} {sign} {other} {word} len({one}) {sign} 1", hold
        return f"{one} {sign} {other} {word} len({one}) {sign} len({other})", hold

    def _write_sum(self, value: Expr, left: Expr, right: Expr) -> tuple[str, int]:
        is_signed = right.op == "neg" or (right.op == "const" and int(right.value or 0) < 0)
        hold = _PRODUCT if value.op == "-" or is_signed else _SUM
        return f"{self._part(left, _SUM)} {value.op} {self._part(right, hold)}", _SUM

    def _write_product(self, value: Expr, left: Expr, right: Expr) -> tuple[str, int]:
        return f"{self._part(left, _PRODUCT)} * {self._part(right, _WHOLE if right.op == '//' else _PRODUCT)}", _PRODUCT

    def _write_quotient(self, value: Expr, left: Expr, right: Expr) -> tuple[str, int]:
        if is_natural(left, self._natural) and is_natural(right, self._natural):
            return f"{self._part(left, _PRODUCT)} / {self._part(right, _WHOLE)}", _PRODUCT
        return self._helped("floor_quotient", left, right)

    def _write_rest(self, value: Expr, left: Expr, right: Expr) -> tuple[str, int]:
        is_plain = is_natural(left, self._natural) and is_natural(right, self._natural)
        return f"{'mod' if is_plain else 'modulo'}({self._text(left)}, {self._text(right)})", _WHOLE

    def _write_minus(self, value: Expr, arg: Expr) -> tuple[str, int]:
        return f"-{self._part(arg, _WHOLE)}", _SUM

    def _write_not(self, value: Expr, arg: Expr) -> tuple[str, int]:
        if arg.op == "in":
            return f"index({self._text(arg.args[1])}, {self._text(arg.args[0])}) == 0", _COMPARISON
        return f".not. {self._part(arg, _WHOLE)}", _NOT

    def _write_function(self, value: Expr, *args: Expr) -> tuple[str, int]:
        name = {"min_of": "minval", "max_of": "maxval", "ord": "iachar", "chr": "achar"}.get(value.op, value.op)
        return f"{name}({', '.join(map(self._text, args))})", _WHOLE

    def _write_len(self, value: Expr, arg: Expr) -> tuple[str, int]:
        return f"{'size' if arg.kind == 'ints' else 'len'}({self._text(arg)})", _WHOLE

    def _write_int(self, value: Expr, arg: Expr) -> tuple[str, int]:
        return f"merge(1, 0, {self._text(arg)})", _WHOLE

    def _write_in(self, value: Expr, one: Expr, text: Expr) -> tuple[str, int]:
        return f"index({self._text(text)}, {self._text(one)}) > 0", _COMPARISON

    def _write_class(self, value: Expr, arg: Expr) -> tuple[str, int]:
        signs = "'0123456789'" if value.op == "isdigit" else _LETTERS
        found = f"verify({self._text(arg)}, {signs}) == 0"
        if arg.kind == "char":
            return found, _COMPARISON
        return f"len({self._text(arg)}) > 0 .and. {found}", _AND

    def _write_helped(self, value: Expr, *args: Expr) -> tuple[str, int]:
        names = {"text": "text_of", "upper": "upper_case", "lower": "lower_case", "sorted": "sorted_items"}
        return self._helped(names[value.op], *args)

    def _write_list(self, value: Expr, *args: Expr) -> tuple[str, int]:
        items = ", ".join(map(self._text, args))
        return f"[{items}]" if args else "[integer(8) ::]", _WHOLE

    def _write_item(self, value: Expr, whole: Expr, index: Expr) -> tuple[str, int]:
        name, place = self._variable(whole), self._index(index)
        return f"{name}({place if whole.kind == 'ints' else f'{place}:{place}'})", _WHOLE

    def _write_slice(self, value: Expr, whole: Expr, lower: Expr, upper: Expr | None = None) -> tuple[str, int]:
        name = self._variable(whole)
        if upper is None and lower == number(0):
            return name, _WHOLE
        length = f"{'size' if whole.kind == 'ints' else 'len'}({name})"
        first = "" if lower == number(0) else self._index(lower)
        last = ""
        if upper is not None:
            is_within = upper.op in ("+", "-") and upper.args[0].op == "len" and upper.args[0].args[0] == whole
            last = self._text(upper) if is_within and upper.op == "-" else f"min({self._text(upper)}, {length})"
        return f"{name}({first}:{last})", _WHOLE

    def _write_concat(self, value: Expr, *args: Expr) -> tuple[str, int]:
        if value.kind == "ints":
            inner = [arg.args if arg.op == "list" else (arg,) for arg in args]
            items = [self._text(arg) for group in inner for arg in group]
            return f"[{', '.join(items)}]" if items else "[integer(8) ::]", _WHOLE
        return " // ".join(self._part(arg, _WHOLE) for arg in args), _JOIN

    def _write_repeat(self, value: Expr, one: Expr, times: Expr) -> tuple[str, int]:
        if value.kind == "ints":
            return f"spread({self._text(one)}, 1, {self._text(times)})", _WHOLE
        count = self._text(times) if is_natural(times, self._natural) else f"max(0, {self._text(times)})"
        return f"repeat({self._text(one)}, {count})", _WHOLE

    def _write_reverse(self, value: Expr, whole: Expr) -> tuple[str, int]:
        if value.kind == "ints":
            name = self._variable(whole)
            return f"{name}(size({name}):1:-1)", _WHOLE
        return self._helped("reversed_text", whole)


_METHODS = {
    **dict.fromkeys(("+", "-"), "sum"),
    "*": "product",
    "//": "quotient",
    "%": "rest",
    "neg": "minus",
    "not": "not",
    **dict.fromkeys(("abs", "min", "max", "sum", "min_of", "max_of", "ord", "chr"), "function"),
    "len": "len",
    "int": "int",
    "in": "in",
    **dict.fromkeys(("isdigit", "isalpha"), "class"),
    **dict.fromkeys(("text", "upper", "lower", "sorted"), "helped"),
    "list": "list",
    "item": "item",
    "slice": "slice",
    "concat": "concat",
    "repeat": "repeat",
    "reverse": "reverse",
}
