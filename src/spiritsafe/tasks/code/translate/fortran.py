"""Writes Fortran: a module ``solution`` in free form.

In: functions. Out: source. What Fortran works out in one expression stays one; conditions that must not be worked out
where an earlier one decides become nested branches, since ``.and.`` and ``.or.`` promise no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from spiritsafe.tasks.code.translate.fortran_functions import FORTRAN_FUNCTIONS
from spiritsafe.tasks.code.translate.layout import Block, Names, plain_name
from spiritsafe.tasks.code.translate.signs import is_natural, natural_names
from spiritsafe.tasks.code.translate.temporaries import Temporaries
from spiritsafe.tasks.code.translate.tree import (
    Append,
    Assign,
    Count,
    Each,
    Expr,
    Function,
    If,
    Jump,
    Kind,
    Return,
    SetItem,
    Statement,
    While,
    changed_in,
    conjuncts,
    is_total,
    names_in,
    negated,
    number,
    shifted,
)

_INTRINSICS = (
    *("abs", "achar", "allocated", "iachar", "index", "int", "kind", "len", "max", "maxval", "merge", "min", "minval"),
    *("mod", "modulo", "print", "read", "repeat", "size", "solution", "spread", "sum", "trim", "verify", "write"),
)
_DECLARED: dict[Kind, str] = {
    "int": "integer(8) :: {}",
    "bool": "logical :: {}",
    "char": "character :: {}",
    "str": "character(len=:), allocatable :: {}",
    "ints": "integer(8), allocatable :: {}(:)",
}
_GIVEN: dict[Kind, str] = {
    "int": "integer(8), {} :: {}",
    "bool": "logical, {} :: {}",
    "str": "character(len=*), {} :: {}",
    "ints": "integer(8), {} :: {}(:)",
}
_TEMPORARY: dict[Kind, str] = {"int": "number", "bool": "holds", "char": "sign", "str": "part", "ints": "items"}
_COMPARED = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "==": "==", "!=": "/="}
_SHORT = 60
"""Up to how many columns a branch stands on one line."""
_OR, _AND, _NOT, _COMPARISON, _JOIN, _SUM, _PRODUCT, _WHOLE = range(8)
"""How tightly things hold together."""
_LETTERS = "'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'"


def write_fortran(functions: Sequence[Function], entry: str) -> str:
    """A module with these functions.

    Args:
        functions: The entry and those that it calls.
        entry: The name of the first one that is written.
    """
    needed: dict[str, None] = {}
    names = Names([*_INTRINSICS, *FORTRAN_FUNCTIONS])
    called = {entry: names.give(plain_name(entry))}
    called |= {one.name: names.give(plain_name(one.name)) for one in functions if one.name != entry}
    ordered = sorted(functions, key=lambda one: one.name != entry)
    texts = [_Writer(one, called, needed).write() for one in ordered]
    while True:  # what is needed may need more
        more = [name for function in needed for name in FORTRAN_FUNCTIONS if f"{name}(" in FORTRAN_FUNCTIONS[function]]
        if set(more) <= set(needed):
            break
        needed |= dict.fromkeys(more)
    texts += [FORTRAN_FUNCTIONS[name].strip("\n") for name in needed]
    body = "\n\n".join(texts)
    return f"module solution\n  implicit none\ncontains\n{body}\nend module solution\n"


@final
class _Writer:
    """Writes one function."""

    def __init__(self, function: Function, called: dict[str, str], needed: dict[str, None]) -> None:
        self._function = function
        self._called = called
        self._needed = needed
        self._names = Names([*_INTRINSICS, *FORTRAN_FUNCTIONS, *called.values()])
        self._temporaries = Temporaries(self._names)
        self._natural = natural_names(function)
        self._block = Block(2)
        self._variables: dict[str, str] = {}

    def write(self) -> str:
        """Its text, as it stands in the module."""
        function, block = self._function, Block(2)
        given, copies = [], []
        for name, kind in function.parameters:
            own = self._variables[name] = self._names.give(plain_name(name))
            is_changed, is_whole = name in function.changed, kind in ("str", "ints")
            given.append((own, _GIVEN[kind].format("value" if is_changed and not is_whole else "intent(in)", own)))
            if is_changed and is_whole:
                self._variables[name] = self._temporaries.declare(f"{own}_now", kind)
                copies.append(f"{self._variables[name]} = {own}")
        for name, kind in function.locals:
            self._variables[name] = self._temporaries.declare(plain_name(name), kind)
        result = self._names.give(
            next(name for name in ("answer", "outcome", "value_returned") if name not in self._variables.values())
        )
        self._result = result
        for copy in copies:
            self._block.add(copy)
        self._body(function.body)
        if self._block.lines[-1] == (0, "return"):
            self._block.lines.pop()
        name = self._called[function.name]
        with block.deeper():
            block.add(f"function {name}({', '.join(own for own, _ in given)}) result({result})")
            with block.deeper():
                for _, line in given:
                    block.add(line)
                block.add(_DECLARED[function.result].format(result))
                self._declare(block)
                block.add("")
                block.insert(self._block.lines, by=2)
            block.add(f"end function {name}")
        return "\n".join(line.rstrip() for line in block.text(more=" &").split("\n"))

    def _temporary(self, kind: Kind) -> str:
        return self._temporaries.take(_TEMPORARY[kind], kind)

    def _declare(self, block: Block) -> None:
        for kind, line in _DECLARED.items():
            names = [
                f"{name}(:)" if kind == "ints" else name for name, own in self._temporaries.declared if own == kind
            ]
            if names:
                block.add(line.replace("{}(:)", "{}").format(", ".join(names)))

    # statements

    def _body(self, body: Sequence[Statement]) -> None:
        for statement in body:
            with self._temporaries.statement():
                self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Assign():
                self._set(self._variables[statement.name], statement.value)
            case SetItem():
                place = self._index(statement.index)
                self._block.add(f"{self._variables[statement.name]}({place}) = {self._text(statement.value)}")
            case Append():
                name = self._variables[statement.name]
                self._block.add(f"{name} = [{name}, {self._text(statement.value)}]")
            case If():
                self._if(statement)
            case While():
                self._while(statement)
            case Count():
                self._count(statement)
            case Each():
                self._each(statement)
            case Return():
                self._set(self._result, statement.value)
                self._block.add("return")
            case Jump():
                self._block.add("exit" if statement.is_end else "cycle")

    def _inside(self, body: Sequence[Statement]) -> None:
        with self._block.deeper():
            self._body(body)

    def _set(self, name: str, value: Expr) -> None:
        """A variable gets a value, which branches where Fortran's expressions cannot."""
        if value.op == "if" and not self._merges(value):
            condition, one, other = value.args
            self._block.add(f"if ({self._text(condition)}) then")
            with self._block.deeper():
                self._set(name, one)
            self._block.add("else")
            with self._block.deeper():
                self._set(name, other)
            self._block.add("end if")
        elif value.op in ("and", "or") and self._is_stepwise(value):
            if any(self._variables[known] == name for part in value.args[1:] for known in names_in(part)):
                self._block.add(f"{name} = {self._held(value)}")
                return
            self._set(name, value.args[0])
            for part in value.args[1:]:
                test = f"if ({name if value.op == 'and' else f'.not. {name}'})"
                with self._block.aside() as lines:
                    self._set(name, part)
                if len(lines) == 1 and not lines[0][1].startswith("if "):
                    self._block.add(f"{test} {lines[0][1]}")
                    continue
                self._block.add(f"{test} then")
                self._block.insert(lines, by=1)
                self._block.add("end if")
        else:
            self._block.add(f"{name} = {self._text(value)}")

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

    def _if(self, statement: If) -> None:
        parts = conjuncts(statement.condition)
        if not statement.otherwise and len(parts) > 1 and self._is_stepwise(statement.condition):
            rest = statement.body
            for part in reversed(parts):
                rest = (If(part, rest, ()),)
            self._body(rest)
            return
        test = f"if ({self._text(statement.condition)})"
        with self._block.aside() as lines:
            self._body(statement.body)
        is_short = len(lines) == 1 and len(test) + len(lines[0][1]) < _SHORT and not lines[0][1].startswith("if ")
        if is_short and not statement.otherwise:
            self._block.add(f"{test} {lines[0][1]}")
            return
        self._block.add(f"{test} then")
        self._block.insert(lines, by=1)
        rest = statement.otherwise
        while len(rest) == 1 and isinstance(rest[0], If) and self._is_flat(rest[0].condition):
            self._block.add(f"else if ({self._text(rest[0].condition)}) then")
            self._inside(rest[0].body)
            rest = rest[0].otherwise
        if rest:
            self._block.add("else")
            self._inside(rest)
        self._block.add("end if")

    def _while(self, statement: While) -> None:
        parts = conjuncts(statement.condition)
        if statement.condition.op == "const" and statement.condition.value is True:
            self._block.add("do")
        elif self._is_flat(statement.condition):
            self._block.add(f"do while ({self._text(statement.condition)})")
        else:
            self._block.add("do")
            with self._block.deeper():
                for part in parts:
                    self._block.add(f"if ({self._text(negated(part))}) exit")
        self._inside(statement.body)
        self._block.add("end do")

    def _count(self, statement: Count) -> None:
        name = self._variables[statement.name]
        counter = name if statement.is_own else self._temporary("int")
        first = self._text(statement.first)
        last = self._text(shifted(statement.end, -1 if statement.step > 0 else 1))
        self._block.add(f"do {counter} = {first}, {last}" + (f", {statement.step}" if statement.step != 1 else ""))
        if counter != name:
            with self._block.deeper():
                self._block.add(f"{name} = {counter}")
        self._inside(statement.body)
        self._block.add("end do")

    def _each(self, statement: Each) -> None:
        whole = statement.whole
        is_still = whole.op == "var" and whole.value not in changed_in(statement.body)
        over = self._text(whole) if is_still else self._held(whole)
        place = self._temporaries.take("place", "int")
        is_list = whole.kind == "ints"
        self._block.add(f"do {place} = 1, {'size' if is_list else 'len'}({over})")
        with self._block.deeper():
            self._block.add(f"{self._variables[statement.name]} = {over}({place if is_list else f'{place}:{place}'})")
        self._inside(statement.body)
        self._block.add("end do")

    # expressions

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
