"""The gym family: seeds, verifier, worked solutions, refusals. Needs reasoning-gym for most."""

import importlib.util

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.families.gym.task import answer_candidates
from spiritsafe.tasks.registry import load_task

needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="the extra gym is not installed"
)


def test_candidates_hold_one_answer() -> None:
    assert answer_candidates("12 + 5 = 17\n17 - 9 = 8", "8") == ["8"]
    assert answer_candidates("It is 2.50", "2.5") == ["2.50"]
    assert answer_candidates("#### 1,250 km", "1250") == ["1,250", "1250"]
    assert answer_candidates("#### 16/2", "8") == ["16/2"]
    assert answer_candidates("#### tac\nand more", "tac") == ["tac"]
    assert answer_candidates("thinking of cat\ntac", "tac") == ["tac"]
    assert answer_candidates("Sure:\n```\ntac\n```\nDone!", "tac") == ["tac"]
    assert answer_candidates("The answer is:\n1 2\n3 4", "9 9\n9 9") == ["1 2\n3 4"]
    assert answer_candidates("<think>tac", "tac") == []
    assert answer_candidates("", "tac") == []
    assert answer_candidates("#### 8 | 9", "8") == []
    assert answer_candidates("not 8", "8") == []
    assert answer_candidates("#### 5 million", "5") == ["5000000"]
    assert answer_candidates("#### tac or cat", "tac") == []
    assert answer_candidates(r"\boxed{tac} or \boxed{cat}", "tac") == []
    assert answer_candidates("#### neither here nor there", "not there")[0] == "neither here nor there"
    assert answer_candidates("Grid:\n1 2\n3 4", "9 9\n9 9")[:2][-1] in ("Grid:\n1 2\n3 4", "1 2\n3 4")
    assert "1 2\n3 4" in answer_candidates("Grid:\n1 2\n3 4", "9 9\n9 9")
    assert "1 2\n3 4" in answer_candidates("Here:\n```\n1 2\n3 4\n```\nDone.", "9 9\n9 9")
    assert "tac" in answer_candidates("The answer is “tac”.".replace("“", '"').replace("”", '"'), "tac")


def test_without_reasoning_gym(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match="needs the package reasoning-gym") as caught:
        load_task("gym:chain_sum")
    assert "pip install 'spiritsafe[gym]'" in caught.value.hint


@needs_gym
def test_chain_sum_has_running_totals_and_grades_them() -> None:
    task = load_task("gym:chain_sum?min_terms=3&max_terms=3&max_digits=2")
    assert task.name == "gym:chain_sum?allow_negation=false&max_digits=2&max_terms=3&min_digits=1&min_terms=3"
    problems = list(task.problems("train", seed=0, count=20))
    assert problems == list(task.problems("train", seed=0, count=20))
    neighbours = {p.id for p in task.problems("train", seed=1, count=20)}
    assert len(neighbours & {p.id for p in problems}) <= 1
    for problem in problems:
        assert problem.solution is not None
        assert problem.solution.count("\n") == 2
        assert task.grade(problem, problem.solution).status == "correct"
        assert task.grade(problem, f" ＝{task.gold(problem)}\n".replace("＝", "= ")).status == "correct"
        assert task.grade(problem, str(int(task.gold(problem)) + 1)).status == "wrong"
        assert task.grade(problem, "").status == "unparsed"


@needs_gym
@pytest.mark.parametrize(
    "name", ["countdown", "gsm_symbolic", "leg_counting", "products", "spell_backward", "mini_sudoku", "gcd"]
)
def test_worked_solutions(name: str) -> None:
    task = load_task(f"gym:{name}")
    for problem in task.problems("train", seed=0, count=5):
        assert problem.solution is not None
        assert "\n" in problem.solution or name == "gcd"
        assert task.grade(problem, problem.solution).status == "correct"


@needs_gym
def test_partial_credit_is_wrong_and_keeps_its_score() -> None:
    task = load_task("gym:countdown")
    problem = next(task.problems("train", seed=0, count=1))
    assert task.grade(problem, task.gold(problem)).status == "correct"
    verdict = task.grade(problem, "1 + 1")
    assert verdict.status == "wrong"
    assert 0.0 < verdict.score < 1.0
    assert verdict.version.startswith("4+reasoning-gym-")
    assert load_task("gym:chain_sum").verifier.version.startswith("3+reasoning-gym-")


@needs_gym
def test_a_tower_of_powers_is_wrong_at_once() -> None:
    task = load_task("gym:countdown")
    problem = next(task.problems("train", seed=0, count=1))
    assert task.grade(problem, "#### 9**9**9**9").status == "wrong"  # "unscored", had a limit ended it


@needs_gym
@pytest.mark.parametrize(
    "text",
    ["__import__('os').abort()", "#### ().__class__.__base__.__subclasses__()", "[c for c in ().__class__.__mro__]"],
)
@pytest.mark.parametrize("name", ["countdown", "spiral_matrix"])
def test_text_is_never_run_as_code(name: str, text: str) -> None:
    task = load_task(f"gym:{name}")
    problem = next(task.problems("train", seed=0, count=1))
    assert task.grade(problem, text).status == "wrong"


@needs_gym
def test_a_different_library_is_unscored() -> None:
    task = load_task("gym:gcd")
    problem = next(task.problems("train", seed=0, count=1))
    other = problem.model_copy(update={"facts": {**problem.facts, "answer": "123456"}})
    verdict = task.grade(other, "123456")
    assert verdict.status == "unscored"
    assert "another problem" in verdict.reason


@needs_gym
@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("gym:chain_sums", 'no family "chain_sums"', 'Did you mean "chain_sum"?'),
        ("gym:chain_sum?max_term=3", 'no knob "max_term"', 'Did you mean "max_terms"?'),
        ("gym:chain_sum?max_terms=few", "not a number", "default is 6"),
        ("gym:chain_sum?allow_negation=1", "not a truth value", "true or false"),
        ("gym:chain_sum?seed=3", 'no knob "seed"', "knobs are"),
    ],
)
def test_bad_specs(spec: str, message: str, hint: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        load_task(spec)
    assert hint in caught.value.hint


@needs_gym
def test_parameters_that_the_library_refuses() -> None:
    with pytest.raises(TaskError, match="failed to make a problem"):
        next(load_task("gym:chain_sum?min_terms=5&max_terms=2").problems("train", seed=0, count=1))


@needs_gym
def test_list_parameters() -> None:
    task = load_task("gym:basic_arithmetic?operators=%2B,-&max_terms=3")
    assert "operators=+,-" in task.name
    assert not any("*" in p.messages[0].content for p in task.problems("train", seed=0, count=5))


@needs_gym
def test_a_scorer_that_cannot_read_the_text_says_wrong_and_not_unscored() -> None:
    task = load_task("gym:prime_factorization")
    problem = next(task.problems("train", seed=0, count=1))
    assert task.grade(problem, "lorem ipsum").status == "wrong"
    assert task.grade(problem, f"\ufeff{task.gold(problem)}").status == "correct"


@needs_gym
def test_an_unreduced_fraction_is_not_reduced_by_us() -> None:
    task = load_task("gym:fraction_simplification")
    problem = next(
        p for p in task.problems("train", seed=0, count=20) if "\\" not in task.gold(p) and "/" in task.gold(p)
    )
    top, _, bottom = task.gold(problem).strip("$").partition("/")
    assert task.grade(problem, f"#### {top}/{bottom}").status == "correct"
    assert task.grade(problem, f"#### {7 * int(top)}/{7 * int(bottom)}").status == "wrong"
