"""The arith family: sound problems, right worked solutions, fair and strict verifiers, golden first problems."""

import time

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.task import Task

SPECS = [
    "arith:sums",
    "arith:sums?terms=2-6&digits=1-4&negative=true&hint=false",
    "arith:products",
    "arith:products?factors=2-3&digits=1-3",
    "arith:linear",
    "arith:linear?negative=true&coefficient=1-9",
    "arith:words",
    "arith:words?steps=2&digits=2-3",
    "arith:countdown",
    "arith:countdown?numbers=2-5&value=1-50&target=1-200",
]


def problems(task: Task, count: int = 100, seed: int = 0) -> list[Problem]:
    return list(task.problems("train", seed=seed, count=count))


@pytest.mark.parametrize("spec", SPECS)
def test_worked_solutions_are_correct_and_every_line_adds_up(spec: str) -> None:
    task = load_task(spec)
    for problem in problems(task):
        assert problem.solution is not None
        assert task.grade(problem, problem.solution).status == "correct"
        *lines, last = problem.solution.split("\n")
        assert last == f"#### {problem.facts['answer']}"
        for line in lines:
            if "x" not in line:
                sides = line.replace(" ", "").split("=")
                assert len({eval(side) for side in sides}) == 1, line


@pytest.mark.parametrize("spec", SPECS)
def test_echoing_the_question_earns_nothing(spec: str) -> None:
    task = load_task(spec)
    assert all(task.grade(p, p.messages[0].content).status != "correct" for p in problems(task))


@pytest.mark.parametrize("spec", SPECS[::2])
def test_two_thousand_problems_cost_seconds_of_cpu_at_most(spec: str) -> None:
    task = load_task(spec)
    started = time.process_time()
    assert len({p.id for p in problems(task, 2000)}) == 2000
    assert time.process_time() - started < 10.0  # half a second alone; a busy machine makes CPU seconds longer


def test_first_problems_never_change() -> None:
    """Do not fix this test: the same seed must give the same problems; a wanted change raises the task's version."""
    shown = {
        spec: [p.messages[0].content for p in problems(load_task(spec + "?hint=false"), 2, seed=1)] for spec in KINDS
    }
    assert shown == GOLDEN


KINDS = ("arith:sums", "arith:products", "arith:linear", "arith:words", "arith:countdown")
GOLDEN = {
    "arith:sums": ["9 + 72 - 1 = ?", "95 - 2 - 5 = ?"],
    "arith:products": ["53 * 7 = ?", "53 * 19 = ?"],
    "arith:linear": ["15 = 9x - 21, x = ?", "50 = 3x + 41, x = ?"],
    "arith:words": [
        "Lea has 76 pens and gets 8 more. How many pens now?",
        "Hana has 3 beads and gets 12 more. How many beads now?",
    ],
    "arith:countdown": [
        "Make 40 from 8, 8, 5: each at most once, with + - * /.",
        "Make 17 from 11, 23, 5, 6: each at most once, with + - * /.",
    ],
}


def test_sums_share_their_canonical_text_whatever_the_order() -> None:
    texts = [p.canonical_text for p in problems(load_task("arith:sums?terms=3&digits=1&negative=true"), 300)]
    assert len(texts) == len(set(texts))
    for text in texts:
        terms = [int(term) for term in text.split()]
        assert terms == sorted(terms)


@pytest.mark.parametrize("spec", ["arith:sums?terms=2-5&digits=1-3", "arith:linear"])
def test_negative_false_keeps_everything_at_or_above_zero(spec: str) -> None:
    for problem in problems(load_task(spec)):
        assert problem.solution is not None
        assert "= -" not in problem.solution
        assert not str(problem.facts["answer"]).startswith("-")


def test_negative_true_gives_negative_results() -> None:
    answers = [str(p.facts["answer"]) for p in problems(load_task("arith:sums?negative=true"))]
    assert any(answer.startswith("-") for answer in answers)


def test_knobs_bound_terms_and_digits() -> None:
    for problem in problems(load_task("arith:sums?terms=4&digits=2")):
        terms = problem.canonical_text.split()
        assert len(terms) == 4
        assert all(10 <= abs(int(term)) <= 99 for term in terms)


def test_hint_is_a_knob() -> None:
    assert problems(load_task("arith:sums?hint=false"), 1)[0].messages[0].content.endswith("= ?")
    assert "####" in problems(load_task("arith:sums"), 1)[0].messages[0].content
    assert "expression" in problems(load_task("arith:countdown"), 1)[0].messages[0].content


def test_countdown_verifier() -> None:
    task = load_task("arith:countdown")
    problem = problems(task, 1)[0].model_copy(
        update={"facts": {"answer": "(25 - 5) * 2", "target": 40, "numbers": [2, 5, 25]}}
    )
    grades = {
        "#### (25 - 5) * 2": "correct",
        "2 × (25 − 5) = 40": "correct",
        "(I used (25 - 5) * 2)": "correct",
        "#### 25 + 5 * 2": "wrong",
        "#### 25 + 25 - 5 - 5": "wrong",
        "#### 20 * 2": "wrong",
        "#### 40": "wrong",
        "#### 40 / (5 - 5)": "unparsed",
        "#### __import__('os')": "unparsed",
        "": "unparsed",
    }
    assert {text: task.grade(problem, text).status for text in grades} == grades


def test_number_verifier_compares_values() -> None:
    task = load_task("arith:sums")
    problem = problems(task, 1)[0].model_copy(update={"facts": {"answer": "-1234"}})
    assert task.grade(problem, "#### −1,234.0").status == "correct"
    assert task.grade(problem, "#### 1234").status == "wrong"
    assert task.grade(problem, "I cannot say").status == "unparsed"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("arith:sum", 'no kind "sum"'),
        ("arith:sums?term=2", 'no knob "term"'),
        ("arith:sums?terms=1", "terms must lie between 2 and 20"),
        ("arith:sums?digits=0-2", "digits must lie between"),
        ("arith:words?steps=3", "steps must be"),
        ("arith:linear?root=0", "must lie between"),
        ("arith:sums?hint=perhaps", 'knob "hint"=perhaps'),
    ],
)
def test_bad_specs(spec: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        load_task(spec)
    assert caught.value.hint


def test_knobs_that_admit_nothing_run_dry_instead_of_hanging() -> None:
    task = load_task("arith:countdown?numbers=2&value=1&target=90-100")
    with pytest.raises(TaskError, match="has only 0 problems"):
        problems(task, 1)


def test_countdown_checks_itself_without_gold_and_the_others_do_not() -> None:
    task = load_task("arith:countdown")
    (problem,) = problems(task, 1)
    blind = problem.model_copy(update={"facts": {**problem.facts, "answer": "1"}})
    assert task.self_check(blind, f"#### {problem.facts['answer']}") is True
    assert task.self_check(blind, "#### 1 + 1") is False
    assert task.self_check(blind, "I do not know") is False
    for name in KINDS[:-1]:
        other = load_task(name)
        (one,) = problems(other, 1)
        assert other.self_check(one, f"#### {one.facts['answer']}") is None
