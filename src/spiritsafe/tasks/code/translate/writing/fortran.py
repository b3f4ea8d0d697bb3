"""Writes Fortran: a module ``solution`` in free form.

In: functions. Out: source. What Fortran works out in one expression stays one; conditions that must not be worked out
where an earlier one decides become nested branches, since ``.and.`` and ``.or.`` promise no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from spiritsafe.tasks.code.translate.tree import (
    Append,
    Assign,
    CodeKind,
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
    changed_in,
    conjuncts,
    negated,
    shifted,
    variables_in,
)
from spiritsafe.tasks.code.translate.writing.fortran_expressions import INTRINSICS, FortranExpressions
from spiritsafe.tasks.code.translate.writing.fortran_functions import FORTRAN_FUNCTIONS
from spiritsafe.tasks.code.translate.writing.layout import CodeBlock, Names, plain_name

_DECLARED: dict[CodeKind, str] = {
    "int": "integer(8) :: {}",
    "bool": "logical :: {}",
    "char": "character :: {}",
    "str": "character(len=:), allocatable :: {}",
    "ints": "integer(8), allocatable :: {}(:)",
}
_GIVEN: dict[CodeKind, str] = {
    "int": "integer(8), {} :: {}",
    "bool": "logical, {} :: {}",
    "str": "character(len=*), {} :: {}",
    "ints": "integer(8), {} :: {}(:)",
}
_SHORT = 60
"""Up to how many columns a branch stands on one line."""


def write_fortran(functions: Sequence[Function], entry: str) -> str:
    """A module with these functions.

    Args:
        functions: The entry and those that it calls.
        entry: The name of the first one that is written.
    """
    needed: dict[str, None] = {}
    names = Names([*INTRINSICS, *FORTRAN_FUNCTIONS])
    called = {entry: names.give(plain_name(entry))}
    called |= {one.name: names.give(plain_name(one.name)) for one in functions if one.name != entry}
    ordered = sorted(functions, key=lambda one: one.name != entry)
    texts = [_FunctionWriter(one, called, needed).write() for one in ordered]
    texts += [FORTRAN_FUNCTIONS[name].strip("\n") for name in needed]
    body = "\n\n".join(texts)
    return f"module solution\n  implicit none\ncontains\n{body}\nend module solution\n"


@final
class _FunctionWriter(FortranExpressions):
    """Writes one function."""

    def __init__(self, function: Function, called: dict[str, str], needed: dict[str, None]) -> None:
        super().__init__(function, called, needed)
        self._function = function

    def write(self) -> str:
        """Its text, as it stands in the module."""
        function, block = self._function, CodeBlock(2)
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

    def _declare(self, block: CodeBlock) -> None:
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
            case CountLoop():
                self._count(statement)
            case EachLoop():
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
            if any(self._variables[known] == name for part in value.args[1:] for known in variables_in(part)):
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

    def _count(self, statement: CountLoop) -> None:
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

    def _each(self, statement: EachLoop) -> None:
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
