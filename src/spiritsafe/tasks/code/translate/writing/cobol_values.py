"""Sets variables in COBOL to values for which one expression is not enough.

In: places and expressions. Out: lines in a block. Texts and lists are groups of a length and its characters or items;
behind a text's last character there are always spaces, so that two texts are the same if their groups are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from spiritsafe.tasks.code.languages.cobol import program_name
from spiritsafe.tasks.code.translate.tree import CodeKind, Expr, mentions, number, shifted
from spiritsafe.tasks.code.translate.writing.cobol_expressions import DIGITS, LETTERS, CobolExpressions, cobol_literal
from spiritsafe.tasks.code.translate.writing.signs import is_natural


@final
class CobolValues(CobolExpressions):
    """The values of one function."""

    def move(self, text: str, name: str) -> None:
        """A number or character gets to a place."""
        self.block.add(f"MOVE {text} TO {name}")

    def move_character(self, text: str, name: str, kind: CodeKind) -> None:
        """An item gets to a variable, which may be one of texts."""
        self.move(text, f"{name}-TEXT" if kind == "str" else name)
        if kind == "str":
            self.move("1", f"{name}-LENGTH")

    def _branch(self, condition: str, one: Callable[[], None], other: Callable[[], None] | None = None) -> None:
        with self.block.aside() as lines:
            one()
        with self.block.aside() as others:
            if other is not None:
                other()
        self.block.add(f"IF {condition}")
        self.block.insert(lines or [(self.block.depth, "CONTINUE")], by=1)
        if others:
            self.block.add("ELSE")
            self.block.insert(others, by=1)
        self.block.add("END-IF")

    @contextmanager
    def _loop(self, last: str, first: int = 1) -> Iterator[str]:
        """What is done meanwhile, for each place until the last one."""
        place = self.temporary("int", "PLACE")
        self.block.add(f"PERFORM VARYING {place} FROM {first} BY 1 UNTIL {place} > {last}")
        with self.block.deeper():
            yield place
        self.block.add("END-PERFORM")

    def _touches(self, value: Expr, name: str) -> bool:
        """Whether a value is made of what stands in a place."""
        base = name.split("-ITEM(")[0]
        return any(own == base and mentions(value, known) for known, own in self.variables.items())

    def set(self, name: str, value: Expr, kind: CodeKind) -> None:
        """A place of a kind gets a value."""
        if value.op == "if":
            condition, one, other = value.args
            self._branch(
                self.condition(condition), lambda: self.set(name, one, kind), lambda: self.set(name, other, kind)
            )
        elif value.op == "call":
            self._call(name, value)
        elif kind == "int":
            self._set_number(name, value)
        elif kind == "bool":
            self._set_truth(name, value)
        elif kind == "char":
            self.move(self.character(value), name)
        elif value.kind == "char":
            self.move_character(self.character(value), name, "str")
        elif value.op not in ("var", "concat") and self._touches(value, name):
            self.move(self.held(value), name)
        else:
            self._set_whole(name, value)

    def _call(self, name: str, value: Expr) -> None:
        given = []
        for arg in value.args:
            if arg.kind == "int" or arg.kind == "bool":
                given.append(self.variables[str(arg.value)] if arg.op == "var" else self.held(arg))
            else:
                given.append(self.whole(arg))
        contents = f"BY CONTENT {' '.join(given)} " if given else ""
        self.block.add(f'CALL "{program_name(str(value.value))}" USING {contents}BY REFERENCE {name}')

    def _set_number(self, name: str, value: Expr) -> None:
        op, args = value.op, value.args
        if op in ("sum", "min_of", "max_of"):
            if self._touches(value, name):
                self.move(self.held(value), name)
            else:
                self._gather(name, op, self.whole(args[0]))
            return
        text = self.number(value)
        if op in ("const", "var", "item", "len", "int") or " " not in text:
            if text != name:
                self.move(text, name)
        elif op == "//" and all(self._is_short(arg) and is_natural(arg, self._natural) for arg in args):
            left, right = map(self.number, args)
            self.block.add(f"DIVIDE {right} INTO {name}" if left == name else f"DIVIDE {left} BY {right} GIVING {name}")
        elif op in ("+", "-") and text.startswith(f"{name} {op} ") and text.count(" ") == 2:
            words = ("ADD", "TO") if op == "+" else ("SUBTRACT", "FROM")
            operand = text.split(" ")[2]
            operand = operand[1:-1] if operand.startswith("(") else operand  # a number below zero
            self.block.add(f"{words[0]} {operand} {words[1]} {name}")
        else:
            self.block.add(f"COMPUTE {name} = {text}")

    @staticmethod
    def _is_short(value: Expr) -> bool:
        return value.op in ("const", "var") or (value.op in ("item", "len") and value.args[0].op == "var")

    def _gather(self, name: str, op: str, whole: str) -> None:
        self.move("0" if op == "sum" else f"{whole}-ITEM(1)", name)
        with self._loop(f"{whole}-LENGTH", 1 if op == "sum" else 2) as place:
            item = f"{whole}-ITEM({place})"
            if op == "sum":
                self.block.add(f"ADD {item} TO {name}")
            else:
                self._branch(f"{item} {'<' if op == 'min_of' else '>'} {name}", lambda: self.move(item, name))

    def _set_truth(self, name: str, value: Expr) -> None:
        op, args = value.op, value.args
        if op in ("const", "var"):
            if self._truth(value) != name:
                self.move(self._truth(value), name)
        elif op in ("and", "or") and self._is_stepwise(value):
            if any(self._touches(part, name) for part in args[1:]):
                self.move(self.held(value), name)
                return
            self.set(name, args[0], "bool")
            for part in args[1:]:
                self._branch(f"{name} = {1 if op == 'and' else 0}", lambda part=part: self.set(name, part, "bool"))  # type: ignore[misc]  # mypy cannot type a lambda's defaults
        elif op in ("isdigit", "isalpha") and args[0].kind == "str":
            self._set_class(name, self.whole(args[0]), DIGITS if op == "isdigit" else LETTERS)
        else:
            condition = self.condition(value)
            self._branch(condition, lambda: self.move("1", name), lambda: self.move("0", name))

    def _set_class(self, name: str, whole: str, pattern: str) -> None:
        self._branch(f"{whole}-LENGTH > 0", lambda: self.move("1", name), lambda: self.move("0", name))
        with self._loop(f"{whole}-LENGTH") as place:
            inside = pattern.format(f"{whole}-TEXT({place}:1)")
            self._branch(f"NOT {inside}", lambda: self.move("0", name))

    def _set_whole(self, name: str, value: Expr) -> None:
        """A text or list that is not made of what stands in its place, but by going on with it."""
        op, args = value.op, value.args
        if op == "var":
            self._copy(self.whole(value), name)
        elif op == "const":
            self.move(cobol_literal(value) if value.value else "SPACES", f"{name}-TEXT")
            self.move(str(len(str(value.value))), f"{name}-LENGTH")
        elif op == "concat":
            self._set_joined(name, value)
        elif op == "list":
            for place, arg in enumerate(args, 1):
                self.set(f"{name}-ITEM({place})", arg, "int")
            self.move(str(len(args)), f"{name}-LENGTH")
        elif op == "slice":
            self._set_slice(name, *args)
        elif op == "repeat":
            self._set_repeated(name, *args)
        elif op == "reverse":
            self._set_reversed(name, self.whole(args[0]), value.kind)
        elif op == "sorted":
            self.set(name, args[0], "ints")
            self._sort(name)
        elif op == "text":
            edited = self.temporaries.take("WS-EDITED", "edited")
            self.move(self.simple(args[0]), edited)
            self.move(f"FUNCTION TRIM({edited})", f"{name}-TEXT")
            self.block.add(f"COMPUTE {name}-LENGTH = FUNCTION LENGTH(FUNCTION TRIM({edited}))")
        else:
            self.set(name, args[0], "str")
            self.move(f"FUNCTION {op.upper()}-CASE({name}-TEXT)", f"{name}-TEXT")

    def _copy(self, whole: str, name: str) -> None:
        if whole != name:
            self.move(whole, name)

    def _set_joined(self, name: str, value: Expr) -> None:
        first, *rest = value.args
        if any(self._touches(part, name) for part in rest) or (first.op != "var" and self._touches(first, name)):
            self.move(self.held(value), name)
            return
        self.set(name, first, value.kind)
        for part in rest:
            if value.kind == "ints":
                self._append_items(name, part)
            else:
                self._append_text(name, part)

    def _append_text(self, name: str, part: Expr) -> None:
        if part.kind == "char":
            text = self.character(part)
            self.block.add(f"ADD 1 TO {name}-LENGTH")
            self.move(text, f"{name}-TEXT({name}-LENGTH:1)")
        elif part.op == "const" and part.value:
            length = len(str(part.value))
            self.move(cobol_literal(part), f"{name}-TEXT({name}-LENGTH + 1:{length})")
            self.block.add(f"ADD {length} TO {name}-LENGTH")
        elif part.op != "const":
            whole = self.whole(part)

            def append() -> None:
                self.move(f"{whole}-TEXT(1:{whole}-LENGTH)", f"{name}-TEXT({name}-LENGTH + 1:{whole}-LENGTH)")
                self.block.add(f"ADD {whole}-LENGTH TO {name}-LENGTH")

            if part.op == "text":  # of a number, which is never empty
                append()
            else:
                self._branch(f"{whole}-LENGTH > 0", append)

    def add_item(self, name: str, value: Expr) -> None:
        """A list gets one more item."""
        text = self.held(value) if self._touches(value, name) else None
        self.block.add(f"ADD 1 TO {name}-LENGTH")
        place = f"{name}-ITEM({name}-LENGTH)"
        if text is None:
            self.set(place, value, "int")
        else:
            self.move(text, place)

    def _append_items(self, name: str, part: Expr) -> None:
        if part.op == "list":
            for item in part.args:
                self.add_item(name, item)
            return
        whole = self.whole(part)
        with self._loop(f"{whole}-LENGTH") as place:
            self.block.add(f"ADD 1 TO {name}-LENGTH")
            self.move(f"{whole}-ITEM({place})", f"{name}-ITEM({name}-LENGTH)")

    def _set_slice(self, name: str, value: Expr, lower: Expr, upper: Expr | None = None) -> None:
        whole = self.whole(value)
        if upper is None and lower == number(0):
            self._copy(whole, name)
            return
        first = lower
        if lower.op not in ("const", "var"):
            first = Expr("var", (), "int", self._own(self.held(lower)))
        length = Expr("len", (Expr("var", (), value.kind, self._own(whole)),), "int")
        end = length if upper is None else Expr("min", (upper, length), "int")
        self._set_size(f"{name}-LENGTH", end if first == number(0) else Expr("-", (end, first), "int"))
        if value.kind == "ints":
            with self._loop(f"{name}-LENGTH") as place:
                source = self.number(Expr("+", (first, Expr("var", (), "int", self._own(place))), "int"))
                self.move(f"{whole}-ITEM({source if first != number(0) else place})", f"{name}-ITEM({place})")
            return
        self.move("SPACES", f"{name}-TEXT")
        part = f"{whole}-TEXT({self.number(shifted(first, 1))}:{name}-LENGTH)"
        self._branch(f"{name}-LENGTH > 0", lambda: self.move(part, f"{name}-TEXT"))

    def _own(self, name: str) -> str:
        """What a variable in COBOL is called among the function's, be it a new one."""
        known = next((known for known, own in self.variables.items() if own == name), name)
        self.variables.setdefault(known, name)
        return known

    def _set_size(self, name: str, size: Expr) -> None:
        """A length, which is 0 where the number is below."""
        self._set_number(name, size if is_natural(size, self._natural) else Expr("max", (number(0), size), "int"))

    def _set_repeated(self, name: str, one: Expr, times: Expr) -> None:
        text = self.simple(one) if one.kind == "int" else self.character(one)
        if one.kind == "char":
            self.move("SPACES", f"{name}-TEXT")
        self._set_size(f"{name}-LENGTH", times)
        with self._loop(f"{name}-LENGTH") as place:
            self.move(text, f"{name}-ITEM({place})" if one.kind == "int" else f"{name}-TEXT({place}:1)")

    def _set_reversed(self, name: str, whole: str, kind: CodeKind) -> None:
        if kind == "ints":
            self.move(f"{whole}-LENGTH", f"{name}-LENGTH")
            with self._loop(f"{whole}-LENGTH") as place:
                self.move(f"{whole}-ITEM({whole}-LENGTH + 1 - {place})", f"{name}-ITEM({place})")
            return
        self.move(whole, name)
        part = f"FUNCTION REVERSE({whole}-TEXT(1:{whole}-LENGTH))"
        self._branch(f"{whole}-LENGTH > 0", lambda: self.move(part, f"{name}-TEXT"))

    def _sort(self, name: str) -> None:
        """Insertion sort."""
        before, item = self.temporary("int", "BEFORE"), self.temporary("int", "MOVED")
        with self._loop(f"{name}-LENGTH", 2) as place:
            self.move(f"{name}-ITEM({place})", item)
            self.block.add(f"COMPUTE {before} = {place} - 1")
            self.block.add(f"PERFORM UNTIL {before} < 1 OR {name}-ITEM({before}) <= {item}")
            with self.block.deeper():
                self.move(f"{name}-ITEM({before})", f"{name}-ITEM({before} + 1)")
                self.block.add(f"SUBTRACT 1 FROM {before}")
            self.block.add("END-PERFORM")
            self.move(item, f"{name}-ITEM({before} + 1)")
