from __future__ import annotations

import ast

import pytest
from code_parts import MIX, MIXED, MIXED_INPUTS, mixed, tried

from spiritsafe.tasks.code.rewrites import rewritten


@pytest.mark.parametrize("language", MIXED)
def test_other_words_do_the_same(language: str) -> None:
    other = rewritten(MIXED[language], language)
    assert other != MIXED[language]
    assert tried(language, other, MIX, MIXED_INPUTS) == [mixed(*inputs) for inputs in MIXED_INPUTS]  # type: ignore[arg-type]  # of these types


PROGRAM = '''
import math
LIMIT = 3
def helper(x, *, step=1):
    """Says x."""
    total = [x for x in range(x) if x % 2]
    return sum(total) + step * LIMIT
def main(xs, k=2):
    result = {}
    for i, x in enumerate(xs):
        result[x] = helper(x, step=k) + math.gcd(i, k)
        k += 1
    def inner(y): return y + k
    words = sorted(result.items(), key=lambda pair: (-pair[1], pair[0]))
    while words and words[0][1] > 50: words = words[1:]
    try:
        first, *rest = words
    except ValueError as error:
        return [str(type(error)), k]
    return [first, rest, inner(1), [(a, b) for a, b in rest], f"{k} {first}"]
'''


def test_python_in_other_words() -> None:
    other = rewritten(PROGRAM, "python")
    one, two = {}, {}  # type: ignore[var-annotated]  # namespaces
    exec(PROGRAM, one)  # it is ours
    exec(other, two)
    for xs in ([], [1], [5, 3, 9], [20, 30], list(range(12)), [4, 4, 4]):
        for k in (1, 2, 7):
            assert one["main"](list(xs), k) == two["main"](list(xs), k)
        assert one["main"](xs) == two["main"](xs)
    assert one["helper"](5, step=2) == two["helper"](5, step=2)
    names = {node.id for node in ast.walk(ast.parse(other)) if isinstance(node, ast.Name)}
    assert {"the_result", "the_xs", "the_words"} <= names
    assert not {"result", "xs", "words"} & names
    assert {"LIMIT", "math", "helper"} <= names


NAMED_ELSEWHERE = """
seen = 0
def double(x):
    return 2 * x
def main(x):
    global seen
    total = 0
    def add():
        nonlocal total
        total += x
    add()
    try:
        [][x]
    except IndexError as problem:
        text = str(problem)
    problem = text
    import math as tools
    tools = tools
    match [x, total]:
        case [one, *others]:
            one += 1
            others += [2]
    seen += double(total)
    return [seen, total, problem, one, others, tools.gcd(4, x)]
def more(x):
    double = x + 1
    return double
"""


def test_names_that_stand_in_other_places_too_are_kept_or_changed_everywhere() -> None:
    one, two = {}, {}  # type: ignore[var-annotated]  # namespaces
    exec(NAMED_ELSEWHERE, one)  # it is ours
    exec(rewritten(NAMED_ELSEWHERE, "python"), two)
    assert [one["main"](3), one["main"](4), one["more"](1)] == [two["main"](3), two["main"](4), two["more"](1)]


def test_texts_keep_their_case() -> None:
    assert rewritten("print *, 'Ab' // \"cD\" ! x\n", "fortran").endswith("PRINT *, 'Ab' // \"cD\" ! X\n")
    assert rewritten("DISPLAY 'Ab' \"cD\" X.\n", "cobol") == "display 'Ab' \"cD\" x.\n"


def test_other_languages_stay() -> None:
    assert rewritten("anything", "unknown") == "anything"
