"""The ``programs`` family: published problems, asked in words or as beginnings, judged by their own tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from code_parts import usable
from code_problems import in_fence
from published_programs import (
    BODY,
    COBOL_BODY,
    COBOL_PROMPT,
    GOLD,
    PROMPT,
    cobol_eval,
    human_eval,
    mbpp,
    multipl_e,
    sanitized,
)
from table_parts import write_rows

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.tasks.code.languages import language as languages_module
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.families.programs.layouts import asked_of
from spiritsafe.tasks.families.programs.task import program_of
from spiritsafe.tasks.grading.audit import audit_task
from spiritsafe.tasks.grading.pool import GraderPool
from spiritsafe.tasks.registry import load_named, load_task
from spiritsafe.tasks.sandbox import layers
from spiritsafe.tasks.task import Task

Make = Callable[..., dict[str, Any]]


def task_of(
    folder: Path, make: Make = human_eval, knobs: str = "", *, count: int = 40, name: str = "own.jsonl"
) -> Task:
    write_rows(folder / name, [make(number) for number in range(count)])
    return load_task(f"programs:{folder / name}{knobs}")


@pytest.mark.parametrize("make", [human_eval, mbpp, sanitized])
@pytest.mark.parametrize("name", ["own.jsonl", "own.jsonl.gz", "own.parquet"])
def test_golds_are_right_in_every_layout_and_file(tmp_path: Path, make: Make, name: str) -> None:
    task = task_of(tmp_path, make, name=name)
    problems = list(task.problems("train", seed=0, count=2))
    for problem in problems:
        verdict = task.grade(problem, task.gold(problem))
        assert verdict.status == "correct", verdict.reason
        assert verdict.verifier == "code.programs"
        assert verdict.sandbox
    assert sum(task.sizes().values()) == 40


def test_multipl_e_and_cobol_eval_have_no_gold_and_are_judged(tmp_path: Path) -> None:
    task = task_of(tmp_path, multipl_e)
    (problem,) = task.problems("train", seed=0, count=1)
    assert (task.gold(problem), problem.solution) == ("", None)
    assert task.grade(problem, in_fence("def half_of(n):\n    return n // 2\n")).status == "correct"
    assert task.grade(problem, "    return number // 2\n").status == "correct"
    assert task.grade(problem, in_fence("def half_of(n):\n    return n // 3\n")).status == "wrong"
    usable("cobol")
    task = task_of(tmp_path, cobol_eval, name="cobol.jsonl")
    (problem,) = task.problems("train", seed=0, count=1)
    assert task.gold(problem) == ""
    for answer in (in_fence(COBOL_PROMPT + COBOL_BODY, "cobol"), COBOL_BODY, COBOL_PROMPT + COBOL_BODY):
        verdict = task.grade(problem, answer)
        assert verdict.status == "correct", verdict.reason
    assert task.grade(problem, "I cannot.").status == "unparsed"


WHOLE = "def half_of(number):\n    return number // 2\n"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (BODY, "correct"),
        ("\n" + BODY, "correct"),
        (in_fence(BODY), "correct"),
        (in_fence(WHOLE), "correct"),
        (WHOLE, "correct"),
        (in_fence(PROMPT + BODY), "correct"),
        (f"Sure!\n\n{in_fence(WHOLE)}\n\nThis halves it.", "correct"),
        (f"{in_fence('def half_of(n): return 0')}\n\nWrong. Rather:\n\n{in_fence(WHOLE)}", "correct"),
        (f"{in_fence(WHOLE)}\n\nTry it:\n\n{in_fence('print(half_of(4))')}", "correct"),
        (in_fence("def half_of(number):\n    return math.floor(number / 2)\n"), "correct"),  # the prompt imports it
        (BODY + "\n\ndef more():\n    pass\n\nhalf_of = None\n", "correct"),  # runs on behind the function
        (BODY + "\nprint(half_of(1))\nThis is not code\n", "correct"),
        (BODY + "\n# now a test\nassert half_of(1) == 5\n", "correct"),
        (f'    """It\'s\nhalf.\n"""\n{BODY}\nIt\'s that.\n', "correct"),  # a text of several lines begins anywhere
        (f"    # It's\n    sign = '\"' '\\'\"' '#'\n    long = '''\nA \\'''\n'''\n{BODY}half_of = None\n", "correct"),
        ("    return number // 3\n", "wrong"),
        (in_fence("def other(number):\n    return number // 2\n"), "wrong"),
        (in_fence("int half_of(int n) { return n / 2; }", "c"), "unparsed"),
        ("It is half of the number.", "unparsed"),
        ("", "unparsed"),
        (" \n", "unparsed"),
    ],
)
def test_answers_as_models_give_them(tmp_path: Path, answer: str, status: str) -> None:
    task = task_of(tmp_path)
    (problem,) = task.problems("train", seed=0, count=1)
    verdict = task.grade(problem, answer)
    assert verdict.status == status, (verdict.reason, verdict.answer)


def test_a_whole_function_leans_on_what_the_prompt_has_and_replaces_it() -> None:
    asked = asked_of(human_eval(), "x")
    program = program_of(asked, in_fence(WHOLE))
    assert program is not None
    space: dict[str, Any] = {}
    exec(program, space)
    assert space["half_of"](9) == 4
    assert "math" in space
    assert program_of(asked_of(mbpp(), "x"), in_fence(GOLD)) == GOLD
    assert program_of(asked_of(mbpp(), "x"), "no code") is None


def test_prompts_in_words_and_without(tmp_path: Path) -> None:
    asking, plain = task_of(tmp_path), task_of(tmp_path, knobs="?ask=false")
    (one,), (other,) = (task.problems("train", seed=0, count=1) for task in (asking, plain))
    start = str(one.facts["start"])
    assert "Complete this Python function" in one.messages[0].content
    assert f"```python\n{start.rstrip()}\n```" in one.messages[0].content
    assert other.messages[0].content in {human_eval(number)["prompt"] for number in range(40)}
    (words,) = task_of(tmp_path, mbpp, name="m.jsonl").problems("train", seed=0, count=1)
    assert "Answer with the whole function `thrice` in one block of Python code." in words.messages[0].content
    assert "challenge" not in words.messages[0].content
    assert "10 ** 20" not in words.messages[0].content


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    rows = [human_eval(number) for number in range(6)] + [mbpp(test_list=["assert ("])]
    write_rows(tmp_path / "own.jsonl", rows)
    with pytest.raises(TaskError, match=r"row 7.* is broken: SyntaxError"):
        list(load_task(f"programs:{tmp_path / 'own.jsonl'}").problems("train", seed=0, count=None))
    write_rows(tmp_path / "other.jsonl", [{"question": "?", "answer": "!"}])
    with pytest.raises(TaskError, match=r"row 1.* is no problem of programming that can be read") as caught:
        next(load_task(f"programs:{tmp_path / 'other.jsonl'}").problems("train", seed=0, count=1))
    assert "HumanEval" in caught.value.hint


def test_exam_and_study_are_apart_and_the_place_of_a_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    task, moved = task_of(tmp_path, count=120), task_of(tmp_path / "a", count=120, knobs="?ask=false")
    exam = {problem.canonical_text for problem in exam_problems(task, seed=1, count=4)}
    for one in (task, moved):
        for split in ("train", "dev"):
            assert not exam & {problem.canonical_text for problem in one.problems(split, seed=2, count=None)}  # type: ignore[arg-type]  # both are splits
    order = [problem.id for problem in task.problems("train", seed=0, count=9)]
    assert order == [problem.id for problem in task.problems("train", seed=0, count=9)]
    assert order != [problem.id for problem in task.problems("train", seed=1, count=9)]


def test_a_paper_is_graded_without_the_file(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    problems = [Problem.from_json(one.to_json()) for one in task.problems("train", seed=0, count=2)]
    golds = [task.gold(problem) for problem in problems]
    (tmp_path / "own.jsonl").unlink()
    named = load_named(task.name)
    assert [named.grade(*pair).status for pair in zip(problems, golds, strict=True)] == ["correct"] * 2
    assert named.grade(problems[0], "    return 1\n").status == "wrong"


def test_labelled_answers(tmp_path: Path) -> None:
    task = task_of(tmp_path, mbpp)
    (problem,) = task.problems("train", seed=0, count=1)
    found = {one.kind: one for one in task.labelled_answers(problem)}
    assert set(found) == {"gold among words", "gold in a plain fence", "gold in other words", "hacks"}
    for one in found.values():
        for text in one.texts:
            verdict = task.grade(problem, text)
            assert (verdict.status == "correct") == one.is_right, (one.kind, text, verdict.reason)
    bare = task_of(tmp_path, multipl_e, name="m.jsonl")
    (problem,) = bare.problems("train", seed=0, count=1)
    assert {one.kind for one in bare.labelled_answers(problem)} == {"hacks"}  # no gold is known


def test_the_audit(tmp_path: Path) -> None:
    report = audit_task(task_of(tmp_path), count=3)
    assert report.passed, report.reasons
    assert report.right_rejected[0] == report.wrong_accepted[0] == 0
    assert report.right_rejected[1] == 3 * (1 + 1 + 2 + 2 + 1)
    assert report.wrong_accepted[1] == 3 * (2 + 4)
    wrong = task_of(tmp_path, lambda n: human_eval(n, canonical_solution="    return 5\n"), name="w.jsonl")
    report = audit_task(wrong, count=3)
    assert not report.passed
    assert report.right_rejected == (21, 21)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cobol = dataclasses.replace(languages_module.language_named("cobol"), why_not=lambda: "cobc is missing")
    known = {**languages_module.languages(), "cobol": cobol}
    task = task_of(tmp_path, cobol_eval)
    (problem,) = task.problems("train", seed=0, count=1)
    with monkeypatch.context() as patch:
        patch.setattr(languages_module, "languages", lambda: known)
        verdict = task.grade(problem, in_fence("x", "cobol"))
    assert verdict.status == "unscored"
    assert "COBOL code cannot be run here: cobc is missing" in verdict.reason
    monkeypatch.setattr(layers, "why_no_layer", lambda name: f"no {name}")
    for attempt in (lambda: GraderPool(task), lambda: audit_task(task, count=1)):
        with pytest.raises(TaskError, match="There is no sandbox here"):
            attempt()
