"""What a template of problems is, and how one is written.

In: a template's knobs and a stream of random numbers. Out: parameters, and the exercise that they make: a function in
the subset of Python that is translated, a statement that says exactly what it computes, and inputs to test it with.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from random import Random
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue, ValueType
from spiritsafe.tasks.code.templates.inputs import Arguments, Supply, mixed

Setting = int | str | bool
Settings = Mapping[str, Setting]
_TYPES: Mapping[str, ValueType] = {"int": "int", "bool": "bool", "str": "str", "list[int]": "ints"}
_COUNTED = 20_000  # settings that are all tried to count a template's problems
_SAMPLED = 2_000  # settings that are drawn to estimate them where there are more
_PATIENCE = 1_000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One function to write.

    Attributes:
        gold: A right solution; its last function is the one that is asked for.
        wordings: Statements of the same problem.
        notes: What every statement ends with: what the arguments are like, and edge cases.
        supplies: Of each parameter the values to test with.
        fit: Makes the arguments of a test agree with each other.
    """

    gold: str
    wordings: tuple[str, ...]
    notes: str = ""
    supplies: tuple[Supply, ...]
    fit: Callable[..., Arguments] | None = None

    @property
    def signature(self) -> CodeSignature:
        """Of the function that is asked for."""
        return signature_of(self.gold)

    def statement(self, wording: int) -> str:
        """One of the statements, any number will do."""
        return f"{self.wordings[wording % len(self.wordings)]} {self.notes}".strip()

    def inputs(self, rng: Random, count: int) -> list[Arguments]:
        """Different arguments, edge cases first; fewer than ``count`` where there are not so many."""
        return mixed(self.supplies, rng, count, self.fit)

    def answer(self, arguments: Arguments) -> CodeValue:
        """What the gold solution returns."""
        copies = [list(value) if isinstance(value, list) else value for value in arguments]
        result: CodeValue = loaded(self.gold)(*copies)
        return result


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Many exercises.

    Attributes:
        name: Of the template.
        level: How hard its exercises are, from 1 (one expression) to 5 (several stages that depend on each other).
        knobs: By their names, the values that a setting may have.
        write: The exercise of settings.
        settle: The form that all settings of the same function share; None for settings that make no good problem.
    """

    name: str
    level: int
    knobs: Mapping[str, Sequence[Setting]]
    write: Callable[..., Exercise]
    settle: Callable[[dict[str, Any]], dict[str, Any] | None]

    def draw(self, rng: Random) -> dict[str, Setting]:
        """Settings in their canonical form."""
        for _ in range(_PATIENCE):
            settings = self.settle({name: rng.choice(values) for name, values in self.knobs.items()})
            if settings is not None:
                return settings
        raise TaskError(f"Template {self.name} finds no settings.", hint="Let its rule refuse fewer of them.")

    def canonical_text(self, settings: Settings) -> str:
        """What names the problem; settings of the same function have the same."""
        return f"{self.name}({', '.join(f'{name}={settings[name]!r}' for name in self.knobs)})"

    def exercise(self, settings: Settings) -> Exercise:
        """The problem itself."""
        return self.write(**settings)

    def space_size(self) -> int:
        """How many problems there are: counted where that is quick, else estimated.

        A canonical form is one that is its own canonical form, so it is enough to count those.
        """
        size = prod(len(values) for values in self.knobs.values())
        if size <= _COUNTED:
            return sum(
                self._is_settled(dict(zip(self.knobs, row, strict=True))) for row in product(*self.knobs.values())
            )
        rng = Random(0)
        drawn = ({name: rng.choice(values) for name, values in self.knobs.items()} for _ in range(_SAMPLED))
        return size * sum(map(self._is_settled, drawn)) // _SAMPLED

    def _is_settled(self, settings: dict[str, Any]) -> bool:
        return self.settle(dict(settings)) == settings


def template(
    level: int, settle: Callable[[dict[str, Any]], dict[str, Any] | None] = dict, **knobs: Sequence[Setting]
) -> Callable[[Callable[..., Exercise]], Template]:
    """Makes a template of the function that writes its exercises; its parameters are the knobs."""

    def make(write: Callable[..., Exercise]) -> Template:
        name = write.__name__.removeprefix("_")
        return Template(name=name, level=level, knobs=knobs, write=write, settle=settle)

    return make


def signature_of(gold: str) -> CodeSignature:
    """Of a solution's last function."""
    function = [node for node in ast.parse(gold).body if isinstance(node, ast.FunctionDef)][-1]
    parameters = tuple((argument.arg, _TYPES[ast.unparse(argument.annotation)]) for argument in function.args.args)  # type: ignore[arg-type]
    return CodeSignature(function.name, parameters, _TYPES[ast.unparse(function.returns)])  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def loaded(source: str) -> Callable[..., Any]:
    """The last function of a solution of ours, in this process."""
    space: dict[str, Any] = {}
    exec(compile(source, "gold", "exec"), space)
    function: Callable[..., Any] = space[signature_of(source).name]
    return function


def shifted(amount: int) -> str:
    """Code that adds a constant: ``+ 3``, ``- 3``, or nothing."""
    return f" + {amount}" if amount > 0 else f" - {-amount}" if amount else ""


def scaled(name: str, factor: int) -> str:
    """Code that multiplies: ``x * 3``, ``x``, or ``-x``."""
    return name if factor == 1 else f"-{name}" if factor == -1 else f"{name} * {factor}"


def added(name: str, factor: int) -> str:
    """Code that adds a multiple to what stands before it: `` + y * 3``, `` - y``."""
    return f" {'+' if factor > 0 else '-'} {scaled(name, abs(factor))}"


def grown(amount: int) -> str:
    """The end of a statement that adds to a variable: ``+= 3``, ``-= 3``."""
    return f"-= {-amount}" if amount < 0 else f"+= {amount}"


def plus(amount: int) -> str:
    """Words that add a constant: ``plus 3``, ``minus 3``."""
    return f"minus {-amount}" if amount < 0 else f"plus {amount}"


def asking(gold: str, asked: str) -> str:
    """Code without the lines that end in a comment with another name than what is asked for."""
    lines = (line.partition("  # ") for line in gold.splitlines())
    return "".join(f"{code}\n" for code, _, name in lines if name in ("", asked))
