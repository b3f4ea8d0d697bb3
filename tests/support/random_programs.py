"""Random programs of the subset that gold code is written in: as nobody would write them.

In: a seed. Out: a source with a function and sometimes a helper, which ends for all inputs, and seldom raises.
"""

from __future__ import annotations

from random import Random

_RESULTS = ("int", "bool", "str", "list[int]")
_CHARACTERS = ["'a'", "'b'", "' '", "'Z'", "'7'", '"\'"', "'\"'"]


class ProgramMaker:
    """Makes one program."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._lines: list[str] = []
        self._loops = 0
        self._names: dict[str, list[str]] = {}
        self._has_helper = self._rng.random() < 0.5

    def make(self) -> tuple[str, str]:
        """Source and type of the result."""
        helper = []
        if self._has_helper:
            self._start(("n", "t"))
            self._block(1, 2, in_loop=False, may_return="int")
            helper = ["def helper(n: int, t: str) -> int:", *self._lines, f"    return {self._int(2)}", ""]
        self._start(("n", "m", "ok", "s", "t", "xs", "ys"))
        result = self._rng.choice(_RESULTS)
        self._helping = self._has_helper
        self._block(1, 3, in_loop=False, may_return=result)
        head = "def made(n: int, m: int, ok: bool, s: str, t: str, xs: list[int], ys: list[int]) -> "
        lines = [head + result + ":", *self._lines, f"    return {self._of(result, 3)}"]
        return "\n".join([*helper, *lines]) + "\n", result

    def _start(self, names: tuple[str, ...]) -> None:
        kinds = {"n": "int", "m": "int", "ok": "bool", "s": "str", "t": "str", "xs": "list[int]", "ys": "list[int]"}
        self._lines, self._loops, self._helping = [], 0, False
        self._names = {kind: [name for name in names if kinds[name] == kind] for kind in _RESULTS}
        self._names["char"] = []
        self._fixed: set[str] = set()
        self._add(1, "total = 0")
        self._add(1, "word = ''")
        self._add(1, "out = [1]")
        self._add(1, "flag = False")
        for name, kind in (("total", "int"), ("word", "str"), ("out", "list[int]"), ("flag", "bool")):
            self._names[kind].append(name)

    def _add(self, depth: int, line: str) -> None:
        self._lines.append("    " * depth + line)

    def _of(self, kind: str, depth: int) -> str:
        made = {"int": self._int, "bool": self._bool, "str": self._str, "list[int]": self._list}[kind](depth)
        return {"int": made, "bool": made, "str": f"({made})[:60]", "list[int]": f"({made})[:60]"}[kind]

    def _block(self, depth: int, budget: int, *, in_loop: bool, may_return: str) -> None:
        self._add(depth, "pass")
        for _ in range(self._rng.randint(1, 4)):
            self._statement(depth, budget, in_loop=in_loop, may_return=may_return)

    def _statement(self, depth: int, budget: int, *, in_loop: bool, may_return: str) -> None:
        rng = self._rng
        choice = rng.random()
        if budget > 0 and choice < 0.3:
            self._branch(depth, budget, in_loop=in_loop, may_return=may_return)
        elif budget > 0 and choice < 0.5 and self._loops < 4:
            self._loop(depth, budget, may_return)
        elif in_loop and choice < 0.56:
            self._add(depth, f"if {self._bool(2)}:")
            self._add(depth + 1, rng.choice(["break", "continue"]))
        elif choice < 0.6 and depth > 1:
            self._add(depth, f"if {self._bool(2)}:")
            self._add(depth + 1, f"return {self._of(may_return, 2)}")
        else:
            self._assign(depth)

    def _assign(self, depth: int) -> None:
        rng = self._rng
        kind = rng.choice(_RESULTS)
        free = [name for name in self._names[kind] if name not in self._fixed]
        if not free:
            return
        name = rng.choice(free)
        if kind == "int":
            one, other = self._int(3), self._int(2)
            texts = [f"{name} = {one}", f"{name} += {one}", f"{name} -= {other}", f"{name} //= {rng.randint(2, 9)}"]
            texts += [f"{name}, total = {one}, {other}"] if name != "total" else [f"{name} %= {rng.randint(2, 999)}"]
            self._add(depth, rng.choice(texts))
            self._add(depth, f"{name} = {name} % 100003 - 50000")
        elif kind == "bool":
            self._add(depth, f"{name} = {self._bool(3)}")
        elif kind == "str":
            self._add(depth, rng.choice([f"{name} = ({self._str(3)})[:20]", f"{name} = {name}[:10] + {self._str(2)}"]))
            self._add(depth, f"{name} = {name}[:20]")
        elif name == "out" and rng.random() < 0.6:
            self._add(depth, f"if len(out) < 20:\n{'    ' * (depth + 1)}out.append({self._int(2)})")
            self._add(depth, f"if out:\n{'    ' * (depth + 1)}out[{self._int(1)} % len(out)] = {self._int(2)}")
        else:
            self._add(depth, f"{name} = ({self._list(3)})[:15]")

    def _branch(self, depth: int, budget: int, *, in_loop: bool, may_return: str) -> None:
        self._add(depth, f"if {self._bool(3)}:")
        self._block(depth + 1, budget - 1, in_loop=in_loop, may_return=may_return)
        if self._rng.random() < 0.5:
            self._add(depth, f"elif {self._bool(3)}:")
            self._block(depth + 1, budget - 1, in_loop=in_loop, may_return=may_return)
        if self._rng.random() < 0.6:
            self._add(depth, "else:")
            self._block(depth + 1, budget - 1, in_loop=in_loop, may_return=may_return)

    def _loop(self, depth: int, budget: int, may_return: str) -> None:
        rng = self._rng
        self._loops += 1
        name, kind = f"{'ijkl'[self._loops - 1]}", "int"
        choice = rng.randint(0, 3)
        seen = dict(self._names)
        if choice == 0:
            bounds = [f"{self._int(2)} % 5", f"{self._int(1)} % 4, {self._int(2)} % 9", f"{self._int(1)} % 6, -2, -2"]
            self._add(depth, f"for {name} in range({rng.choice(bounds)}):")
        elif choice == 1:
            name = f"x{name}"
            self._add(depth, f"for {name} in ({self._list(2)})[:6]:")
        elif choice == 2:
            name, kind = f"c{name}", "char"
            over = rng.choice([f"({self._str(2)})[:6]", rng.choice(self._names["str"])])
            self._add(depth, f"for {name} in {over}:")
        else:
            self._add(depth, f"{name} = 0")
            self._names["int"] = [*self._names["int"], name]
            self._fixed.add(name)
            self._add(depth, f"while {name} < 5 and {self._bool(2)}:")
            self._add(depth + 1, f"{name} += 1")
            self._block(depth + 1, budget - 1, in_loop=True, may_return=may_return)
            self._names = seen
            return
        self._names[kind] = [*self._names[kind], name]
        if rng.random() < 0.7:
            self._fixed.add(name)
        over = [one for one in ("out",) if one not in self._fixed]
        self._fixed |= set(over)
        self._block(depth + 1, budget - 1, in_loop=True, may_return=may_return)
        self._fixed -= set(over)
        self._names = seen  # the loop may have had no turn

    def _int(self, depth: int) -> str:
        rng, one = self._rng, self._names
        if depth <= 0:
            return rng.choice([*one["int"], str(rng.randint(-9, 9)), str(rng.randint(0, 120))])
        a, b = (self._int(depth - 1) for _ in range(2))
        xs = rng.choice(one["list[int]"])
        s = rng.choice(one["str"])
        makers = [
            lambda: f"({a} {rng.choice('+-')} {b})",
            lambda: f"({a} * {b} % 9973)",
            lambda: f"({a} {rng.choice(['//', '%'])} {rng.choice([-7, -2, 2, 3, 10])})",
            lambda: f"({a} {rng.choice(['//', '%'])} ({b} or 1))".replace(f"({b} or 1)", f"({b} if {b} != 0 else 1)"),
            lambda: f"(-{a})" if not a.startswith("-") else f"({a} - -{abs(hash_of(b)) % 9})",
            lambda: f"abs({a})",
            lambda: f"{rng.choice(['min', 'max'])}({a}, {b})",
            lambda: f"len({rng.choice([xs, s])})",
            lambda: f"({xs}[{a} % len({xs})] if {xs} else {b})",
            lambda: f"({xs}[-1] if len({xs}) > 0 else {a})",
            lambda: f"(ord({s}[{a} % len({s})]) if {s} != '' else 5)",
            lambda: f"({a} if {self._bool(depth - 1)} else {b})",
            lambda: f"sum({xs})",
            lambda: f"int({self._bool(depth - 1)})",
            lambda: f"len({self._str(depth - 1)})",
            lambda: f"max({self._list(depth - 1)} + [0])",
            lambda: f"helper({a}, {self._str(depth - 1)})" if self._helping else a,
            lambda: f"min({a}, {b}, 3)",
        ]
        return rng.choice(makers)()

    def _bool(self, depth: int) -> str:
        rng, one = self._rng, self._names
        if depth <= 0:
            return rng.choice([*one["bool"], "True", "False"])
        a, b = (self._int(depth - 1) for _ in range(2))
        xs, s = rng.choice(one["list[int]"]), rng.choice(one["str"])
        p, q = self._bool(depth - 1), self._bool(depth - 1)
        sign = rng.choice(["<", "<=", ">", ">=", "==", "!="])
        c = self._char(depth - 1)
        makers = [
            lambda: f"({a} {sign} {b})",
            lambda: f"({a} {sign} {b} {rng.choice(['<', '>=', '=='])} {self._int(depth - 1)})",
            lambda: f"({p} and {q})",
            lambda: f"({p} or {q})",
            lambda: f"(not {p})",
            lambda: f"(len({xs}) > 2 and {xs}[2] {sign} {a})",
            lambda: f"(len({xs}) < 2 or {xs}[1] {sign} {a})",
            lambda: f"(n != 0 and {a} % n {sign} {b} % 3)",
            lambda: f"({self._str(depth - 1)} {sign} {self._str(depth - 1)})",
            lambda: f"({c} {sign} {self._char(depth - 1)})",
            lambda: f"({c} in {rng.choice(['abc', '', 'Z', 'a7', 'hijklm a'])!r})",
            lambda: f"({c} not in 'ab')",
            lambda: f"({self._str(depth - 1)}).{rng.choice(['isdigit', 'isalpha'])}()",
            lambda: f"({s} == {c})",
            lambda: f"({p} {rng.choice(['==', '!='])} {q})",
            lambda: f"(not {s} or {s}[0] == {s}[-1])",
        ]
        return rng.choice(makers)()

    def _char(self, depth: int) -> str:
        rng = self._rng
        choices = [*self._names["char"], *_CHARACTERS]
        if depth > 0:
            choices.append(f"chr(({self._int(depth - 1)}) % 90 + 33)")
            choices.append(f"{rng.choice([*self._names['char'], *_CHARACTERS])}.{rng.choice(['upper', 'lower'])}()")
        return rng.choice(choices)

    def _str(self, depth: int) -> str:
        rng = self._rng
        name = rng.choice(self._names["str"])
        if depth <= 0:
            return rng.choice([name, "''", "'ab '", self._char(0)])
        a, b = self._str(depth - 1), self._str(depth - 1)
        n = self._int(depth - 1)
        makers = [
            lambda: f"({a} + {b})",
            lambda: f"{name}[{n} % 5:]",
            lambda: f"({a})[:{n} % 7]",
            lambda: f"{name}[{n} % 3:{self._int(depth - 1)} % 9]",
            lambda: f"{name}[-2:]",
            lambda: f"({a})[::-1]",
            lambda: f"({a}).{rng.choice(['upper', 'lower'])}()",
            lambda: f"str({n})",
            lambda: f"({a} if {self._bool(depth - 1)} else {b})",
            lambda: f"{self._char(0)} * ({n} % 4)" if not self._names["char"] else f"'-' * ({n} % 4)",
            lambda: self._char(depth),
        ]
        return rng.choice(makers)()

    def _list(self, depth: int) -> str:
        rng = self._rng
        name = rng.choice(self._names["list[int]"])
        if depth <= 0:
            return rng.choice([f"{name}[:]", "[]", "[3, -1, 2]"])
        a, b = self._list(depth - 1), self._list(depth - 1)
        n = self._int(depth - 1)
        makers = [
            lambda: f"({a} + {b})",
            lambda: f"[{n}, {self._int(depth - 1)}]",
            lambda: f"{name}[{n} % 5:]",
            lambda: f"({a})[:{n} % 7]",
            lambda: f"{name}[1:-1]",
            lambda: f"{name}[{n} % 3:{self._int(depth - 1)} % 9]",
            lambda: f"({a})[::-1]",
            lambda: f"sorted({a})",
            lambda: f"[{n}] * ({self._int(0)} % 4)",
            lambda: f"({a} if {self._bool(depth - 1)} else {b})",
        ]
        return rng.choice(makers)()


def hash_of(text: str) -> int:
    """A small number that a text always has."""
    return sum(map(ord, text))
