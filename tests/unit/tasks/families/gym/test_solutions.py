"""Worked solutions: by hand for small items, and every line of many items checked as arithmetic."""

import importlib.util
import re
from fractions import Fraction
from typing import Any

import pytest

if importlib.util.find_spec("reasoning_gym") is None:
    pytest.skip("the extra gym is not installed", allow_module_level=True)

from spiritsafe.tasks.families.arith.expression import evaluate
from spiritsafe.tasks.families.gym.solutions import worked_solution
from spiritsafe.tasks.registry import load_task


def solve(name: str, answer: str = "?", **metadata: Any) -> str | None:
    return worked_solution(name, {"question": "", "answer": answer, "metadata": metadata})


@pytest.mark.parametrize(
    ("expression", "target", "solution"),
    [
        ("9 - 10 + 14", 13, "9 + 14 = 23\n23 - 10 = 13\n#### 9 + 14 - 10"),
        ("3*20 - 14", 46, "3 * 20 = 60\n60 - 14 = 46\n#### 3 * 20 - 14"),
        ("-3*20 + 75", 15, "3 * 20 = 60\n75 - 60 = 15\n#### 75 - 3 * 20"),
        ("-20/5 - 3 + 17", 10, "20 / 5 = 4\n17 - 4 = 13\n13 - 3 = 10\n#### 17 - 20 / 5 - 3"),
        ("5*(8 - 2)", 30, "8 - 2 = 6\n5 * 6 = 30\n#### 5 * (8 - 2)"),
        ("4*(-2 + 20/5)", 8, "20 / 5 = 4\n4 - 2 = 2\n4 * 2 = 8\n#### 4 * (20 / 5 - 2)"),
        ("60/(2*3)", 10, "2 * 3 = 6\n60 / 6 = 10\n#### 60 / (2 * 3)"),
        ("2*9*3/6", 9, "2 * 9 = 18\n18 * 3 = 54\n54 / 6 = 9\n#### 2 * 9 * 3 / 6"),
        ("50 - (12 + 8)", 30, "50 - 12 = 38\n38 - 8 = 30\n#### 50 - 12 - 8"),
        ("-2*(-7 - 5)", 24, "-7 - 5 = -12\n-2 * -12 = 24\n#### (-2) * (-7 - 5)"),
        ("1 + 1", 3, None),  # not what the item says it makes
    ],
)
def test_countdown(expression: str, target: int, solution: str | None) -> None:
    assert solve("countdown", expression=expression, target=target) == solution


def test_letters() -> None:
    assert solve("spell_backward", "agnoc", word="conga") == "c o n g a\na g n o c\n#### agnoc"


def test_chains() -> None:
    assert solve("chain_sum", "9", expression="12 - 7 + 4") == "12 - 7 = 5\n5 + 4 = 9\n#### 9"
    assert solve("products", "24", expression="2 * 3 * 4") == "2 * 3 = 6\n6 * 4 = 24\n#### 24"
    assert solve("gcd", "4", numbers=["12", "8"]) == "12 = 1 * 8 + 4\n8 = 2 * 4 + 0\n#### 4"
    assert solve("leg_counting", "14", animals={"bee": 1, "spider": 1}) == (
        "1 bee: 1 * 6 = 6\n1 spider: 1 * 8 = 8\n6 + 8 = 14\n#### 14"
    )
    assert solve("leg_counting", "15", animals={"bee": 1, "spider": 1}) is None


def test_word_problems_lose_the_point_nought() -> None:
    found = solve("gsm_symbolic", "21", answer_cot="She has 6.0 + 10.05 = 16.05 eggs, 36 - 15.0.\n\n#### 21")
    assert found == "She has 6 + 10.05 = 16.05 eggs, 36 - 15.\n#### 21"


def test_sudoku() -> None:
    puzzle = [[3, 1, 2, 0], [2, 4, 3, 1], [1, 2, 4, 3], [4, 3, 0, 2]]
    grid = "3 1 2 4\n2 4 3 1\n1 2 4 3\n4 3 1 2"
    assert solve("mini_sudoku", grid, puzzle=puzzle) == f"row 1 lacks 4\nrow 4 lacks 1\n#### {grid}"
    assert solve("mini_sudoku", grid, puzzle=[[0] * 4] * 4) is None


def test_families_without() -> None:
    assert solve("knights_knaves") is None


def items(spec: str, count: int = 150) -> list[tuple[str, list[str], str]]:
    """Question, steps and answer of a task's problems, whose solutions its verifier accepts."""
    task = load_task(spec)
    found = []
    for problem in task.problems("train", seed=1, count=count):
        assert problem.solution is not None
        assert task.grade(problem, problem.solution).status == "correct"
        steps, _, answer = problem.solution.rpartition("#### ")
        found.append((problem.messages[-1].content, steps.splitlines(), answer))
    return found


@pytest.mark.parametrize(
    "spec", ["gym:chain_sum", "gym:countdown?min_numbers=3&max_numbers=4&max_value=20&min_target=10&max_target=60"]
)
def test_each_line_is_true(spec: str) -> None:
    for _, steps, answer in items(spec):
        for step in steps:
            equation = re.fullmatch(r"(-?\d+) ([-+*/]) (\d+) = (-?\d+)", step)
            assert equation is not None, step
            left, sign, right, result = equation.groups()
            a, b = Fraction(left), Fraction(right)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[sign] == Fraction(result), step
        assert steps
        if "countdown" in spec:
            assert (evaluate(answer) or (None, ()))[0] == Fraction(steps[-1].partition(" = ")[2])


@pytest.mark.parametrize("spec", ["gym:mini_sudoku?min_empty=3&max_empty=5", "gym:mini_sudoku"])
def test_each_sudoku_line_fills_one_cell_and_follows_from_the_rules(spec: str) -> None:
    """Followed by hand: a second solver that only does what the lines say."""
    by_cell = 0
    for question, steps, answer in items(spec, 60):
        block = re.search(r"puzzle:\n(.*)\nFormat", question, re.DOTALL)
        assert block is not None
        if spec == "gym:mini_sudoku":
            by_cell += any("column" in step and "row" in step for step in steps)
        board = [[int(cell) if cell != "_" else 0 for cell in row.split()] for row in block[1].splitlines()]
        for step in steps:
            if named := re.fullmatch(r"row (\d) column (\d): (\d)", step):
                i, j, value = int(named[1]) - 1, int(named[2]) - 1, int(named[3])
                around = {*board[i], *(row[j] for row in board)}
                around |= {board[a][b] for a in range(4) for b in range(4) if a // 2 == i // 2 and b // 2 == j // 2}
                assert around - {0} == {1, 2, 3, 4} - {value}
                assert board[i][j] == 0
                board[i][j] = value
                continue
            kind, number, _, value = step.split()
            k = int(number) - 1
            cells = {
                "row": [(k, j) for j in range(4)],
                "column": [(i, k) for i in range(4)],
                "box": [(i, j) for i in range(4) for j in range(4) if 2 * (i // 2) + j // 2 == k],
            }[kind]
            (empty,) = [(i, j) for i, j in cells if not board[i][j]]
            assert {board[i][j] for i, j in cells} | {int(value)} == {0, 1, 2, 3, 4}
            board[empty[0]][empty[1]] = int(value)
        assert "\n".join(" ".join(map(str, row)) for row in board) == answer
    assert by_cell > 10 or spec != "gym:mini_sudoku"  # both kinds of line occur
