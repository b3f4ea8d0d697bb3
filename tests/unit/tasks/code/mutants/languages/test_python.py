from __future__ import annotations

import ast
import importlib
import inspect
import random
from collections import Counter

import pytest
from mutation import changed_lines

from spiritsafe.tasks.code.mutants.mutant import Mutant
from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces
from spiritsafe.tasks.code.mutants.registry import mutants_of

MODULES = ("bisect", "colorsys", "heapq", "textwrap", "fractions", "statistics")
WITHIN = {
    "compare",
    "arithmetic",
    "augmented",
    "logic",
    "call",
    "arguments",
    "range",
    "filter",
    "handler",
    "slice",
    "not",
    "sign",
}


def source_of(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


def smallest_change(old: ast.AST, new: ast.AST) -> ast.AST:
    """The smallest node with a place that holds all that is different."""
    parts: list[tuple[ast.AST, ast.AST]] = []
    if type(old) is not type(new):
        return old
    for field in old._fields:
        one, other = getattr(old, field, None), getattr(new, field, None)
        ones, others = (one, other) if isinstance(one, list) and isinstance(other, list) else ([one], [other])
        if len(ones) != len(others):
            return old
        for left, right in zip(ones, others, strict=True):
            if isinstance(left, ast.AST) and isinstance(right, ast.AST):
                if ast.dump(left) != ast.dump(right):
                    parts.append((left, right))
            elif left != right or type(left) is not type(right):
                return old
    if len(parts) != 1:
        return old
    inner = smallest_change(*parts[0])
    return inner if hasattr(inner, "lineno") else old


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("module", MODULES)
def test_real_modules(module: str) -> None:
    """Each mutant compiles, and its tree differs from the module's within the edit's node and nowhere else."""
    source = source_of(module)
    mutants = mutants_of(source, "python")
    assert len(source.splitlines()) / 2 < len(mutants) < 6 * len(source.splitlines())
    assert len(Counter(mutant.operator for mutant in mutants)) >= 8
    tree, places = ast.parse(source), NodePlaces(source)
    for mutant in random.Random(module).sample(mutants, 25):
        edit = mutant.edit
        changed = ast.parse(mutant.source)
        compile(mutant.source, module, "exec")
        node = smallest_change(tree, changed)
        assert isinstance(node, ast.expr | ast.stmt | ast.ExceptHandler), mutant.name
        start, end = places.start(node), places.end(node)  # type: ignore[arg-type]
        if source[start - 1] == "-" and mutant.operator == "number":
            start -= 1  # the sign belongs to the number
        if mutant.operator in WITHIN:
            assert start <= edit.start <= edit.end <= end, mutant.name
        else:
            assert (start, end) == (edit.start, edit.end), mutant.name


BODY = """def f(a, s='grüße'):
    if a < 1:  # ä < b
        return '日本' + s
    for x in a: s += x
    return s[1:]
"""
TEXTS = {
    "plain": BODY,
    "carriage returns": BODY.replace("\n", "\r\n"),
    "old line ends": BODY.replace("\n", "\r"),
    "byte order mark": "\ufeff" + BODY,
    "tabs": BODY.replace("    ", "\t"),
    "form feeds": "\x0c\n" + BODY + "\x0c\ndef g():\n    return 1\n",
    "decorated and async": "@a(1)\nasync" + BODY.replace("def", " def", 1).replace("s += x", "s += await x"),
    "no end": BODY.rstrip("\n"),
    "nested": "class A:\n  class B:\n" + "".join(f"    {line}\n" for line in BODY.splitlines()),
    "walrus and match": BODY + "def g(a):\n    match a:\n        case [1, *b] if (c := b): return c < 2\n",
    "separators": "def f():\n    return 'a\u2028b\x0b\x1c' + g('ü', 1)\n",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_unusual_texts(text: str) -> None:
    mutants = mutants_of(text, "python")
    assert len(mutants) > 5
    for mutant in mutants:
        ast.parse(mutant.source.encode("utf-8"))
        assert mutant.source[: mutant.edit.start] == text[: mutant.edit.start]
        rest = text[mutant.edit.end :]
        assert mutant.source.endswith(rest)
    if "a < 1" in text:
        assert [mutant.after for mutant in mutants if mutant.before == "<" and mutant.operator == "compare"][:3] == [
            "!=", "<=", ">="
        ]  # fmt: skip


def test_forms_of_a_text_have_the_same_mutants() -> None:
    plain = [(mutant.line, mutant.operator, mutant.after) for mutant in mutants_of(BODY, "python")]
    for form in ("carriage returns", "old line ends", "byte order mark", "no end"):
        assert [(one.line, one.operator, one.after) for one in mutants_of(TEXTS[form], "python")] == plain, form
    assert Counter(operator for _, operator, _ in plain) == {
        "compare": 3, "condition": 2, "number": 6, "string": 4, "return": 2, "delete": 1, "augmented": 2, "slice": 1,
    }  # fmt: skip


def test_a_program_that_cannot_be_compiled_with_warnings_as_errors() -> None:
    assert changed_lines("def f(a):\n    return a is 1, '\\d'\n", "python", "compare") == {"return a is not 1, '\\d'"}


OPERATORS = (*"+-*/%", "//", "**", "<", ">=", "==", "and", "or", "is", "in", "&", "|", "<<")
FORMS = (
    "not ({})", "-({})", "[{}, {}]", "f({}, {})", "({}) if ({}) else ({})", "xs[{}:{}]", "xs[{}]", "s.lower()",
    "range({}, {})", "[x for x in xs if ({})]", "(lambda: {})", "f'{{a + 1}}'", "'é'", "(x := {})", "{{{}: {}}}",
    "sorted({})", "len(xs) > ({})",
)  # fmt: skip


def expression(draw: random.Random, depth: int) -> str:
    if depth == 0:
        return draw.choice(["a", "b", "0", "1", "-2", "0.5", "True", "None", "'ü'", "xs", "len(xs)"])
    if draw.random() < 0.5:
        sides = expression(draw, depth - 1), expression(draw, depth - 1)
        gap = draw.choice([" ", "  ", " \\\n "])
        return f"({sides[0]}){gap}{draw.choice(OPERATORS)}{gap}({sides[1]})"
    form = draw.choice(FORMS)
    return form.format(*(expression(draw, depth - 1) for _ in range(3)))


@pytest.mark.parametrize("seed", range(25))
def test_random_functions(seed: int) -> None:
    """Whatever stands around it, a mutant compiles, and means something else than the original and all others."""
    draw = random.Random(seed)
    lines = [
        f"    c = {expression(draw, 3)}\n    if {expression(draw, 2)}: return {expression(draw, 2)}\n" for _ in range(3)
    ]
    source = "def f(a, b, xs, s):\n" + "".join(lines)
    mutants = mutants_of(source, "python")
    trees = [ast.dump(ast.parse(mutant.source)) for mutant in mutants]
    assert len({ast.dump(ast.parse(source)), *trees}) == len(trees) + 1
    assert mutants == sorted(mutants, key=place)


def place(mutant: Mutant) -> tuple[int, int]:
    return mutant.edit.start, mutant.edit.end


def test_thousands_of_mutants_share_one_text() -> None:
    source = "def f():\n" + "".join(f"    a{number} = b{number} + {number}\n" for number in range(300))
    mutants = mutants_of(source, "python")
    assert len(mutants) > 1500
    assert all(mutant.original is source for mutant in mutants)
