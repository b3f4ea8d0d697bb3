from __future__ import annotations

import ast

import pytest
from mutation import changed_lines

from spiritsafe.tasks.code.mutants.python_syntax.scope import is_logging, spots

OUTSIDE = [
    "x = 1 + 2\nfoo(x)\n",
    "if __name__ == '__main__':\n    def f():\n        return 1\n",
    "if TYPE_CHECKING:\n    def f(a=1): ...\n",
    "class A:\n    '''Doc.'''\n    __slots__ = ('a', 'b')\n",
    "def f():\n    '''Doc.'''\n",
    "def f(a: 'int' = None, *b: list[3]) -> Literal[4]:\n    ...\n",
    "def f():\n    import a.b\n    from c import d\n    global e\n",
    "@decorated(1 + 2)\ndef f():\n    pass\n",
    "def f():\n    assert g(), 'message' + h(1)\n",
    "def f():\n    self.logger.warning('message', 1 + 2)\n",
    "class A(B, metaclass=C(1)):\n    pass\n",
    "try:\n    import a\nexcept ImportError:\n    a = 1\n",
]


@pytest.mark.parametrize("source", OUTSIDE)
def test_what_says_and_does_not_do_is_left_alone(source: str) -> None:
    assert changed_lines(source, "python") == set()


def test_what_is_beside_it_is_not() -> None:
    source = (
        "if TYPE_CHECKING:\n    a = 1\nelse:\n    def f():\n        '''Doc.'''\n        assert 1 < g(), 'message'\n"
        "        raise ValueError('message', 7)\n"
    )
    assert changed_lines(source, "python", "compare") == {
        f"assert 1 {sign} g(), 'message'" for sign in ("<=", ">=", "!=")
    }
    assert changed_lines(source, "python", "string") == set()
    assert changed_lines(source, "python", "error") == {"raise TypeError('message', 7)"}
    assert changed_lines("def f():\n    return cast('A', 1 - b)\n", "python", "arithmetic") == {
        "return cast('A', 1 + b)"
    }
    assert changed_lines("def f():\n    return list[1], T[2]\n", "python", "number") == set()
    assert changed_lines("def f():\n    return lambda a=True: a\n", "python", "truth") == {"return lambda a=False: a"}


def test_units_are_the_outermost_functions_and_statements_of_classes() -> None:
    tree = ast.parse("def f():\n def g():\n  return 1\nclass A:\n x = 2\n class B:\n  def h(self): return 3\n")
    units = {spot.node.value: spot.unit.lineno for spot in spots(tree) if isinstance(spot.node, ast.Constant)}
    assert units == {1: 1, 2: 5, 3: 7}
    parents = {type(spot.parent) for spot in spots(tree) if isinstance(spot.node, ast.Constant)}
    assert parents == {ast.Return, ast.Assign}


def test_deep_trees_are_no_trouble() -> None:
    source = "def f():\n    return " + "+".join(["a"] * 900)
    assert sum(isinstance(spot.node, ast.BinOp) for spot in spots(ast.parse(source))) == 899


def test_logging_is_told_by_the_logger_s_name() -> None:
    lines = {
        "log.info(a)": True,
        "self._logger.error(a)": True,
        "warnings.warn(a)": True,
        "xs.append(a)": False,
        "log(a)": False,
    }
    assert {line: is_logging(ast.parse(line).body[0]) for line in lines} == lines


@pytest.mark.parametrize("leaves", ["return", "raise b", "break", "continue"])
def test_what_is_never_reached_is_left_alone(leaves: str) -> None:
    for block in (f"{leaves}\n            x = 1", f"pass\n        else:\n            {leaves}\n            x = 1"):
        source = f"def f(a):\n    while a:\n        if a:\n            {block}\n    return a\n"
        assert not any(isinstance(spot.node, ast.Constant) for spot in spots(ast.parse(source)))
    source = "def f():\n    return a(1)\n    x = 2\n"
    assert [spot.node.value for spot in spots(ast.parse(source)) if isinstance(spot.node, ast.Constant)] == [1]
    statements = {
        spot.node.value: spot.statement.lineno
        for spot in spots(ast.parse("def f(a=1):\n  if 2:\n    3 + b"))
        if isinstance(spot.node, ast.Constant)
    }
    assert statements == {1: 1, 2: 2, 3: 3}
