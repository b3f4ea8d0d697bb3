"""The choice family."""

import json
from pathlib import Path

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.tasks.families.choice import LetterVerifier
from spiritsafe.tasks.registry import load_task

ROWS = [
    {"question": f"What is {n}+1?", "choices": [str(n + 2), str(n + 1), str(n)], "answer": 1} for n in range(100, 140)
]


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_grades_letters_and_wordings(tmp_path: Path) -> None:
    task = load_task(f"choice:{write(tmp_path / 'a.jsonl', ROWS)}")
    for problem in task.problems("train", seed=0, count=20):
        assert "\nB) " in problem.messages[0].content
        assert task.gold(problem) == "B"
        wording = problem.facts["choices"][1]  # type: ignore[index]  # a list of texts
        for text in ("B", "(b)", "#### B", f"The answer is {wording}."):
            assert task.grade(problem, text).status == "correct", text
        assert task.grade(problem, "A").status == "wrong"
        assert task.grade(problem, "dunno").status == "unparsed"
        assert task.grade(problem, problem.messages[0].content).status != "correct"


def test_answers_as_index_letter_or_wording(tmp_path: Path) -> None:
    rows = [
        {**row, "answer": answer}
        for row, answer in zip(ROWS, [1, "B", "b"] + [r["choices"][1] for r in ROWS[3:]], strict=True)
    ]  # type: ignore[index]  # as above
    task = load_task(f"choice:{write(tmp_path / 'a.jsonl', rows)}")
    assert {task.gold(p) for p in task.problems("train", seed=0, count=25)} == {"B"}


def test_order_of_choices_is_not_part_of_the_problem(tmp_path: Path) -> None:
    left = load_task(f"choice:{write(tmp_path / 'a.jsonl', ROWS)}")
    turned = [{**row, "choices": row["choices"][::-1]} for row in ROWS]  # type: ignore[index]  # as above
    right = load_task(f"choice:{write(tmp_path / 'b.jsonl', turned)}")
    texts = [sorted(p.canonical_text for p in task.problems("train", seed=0, count=25)) for task in (left, right)]
    assert len(set(texts[0]) & set(texts[1])) > 10


@pytest.mark.parametrize(
    ("row", "knobs", "gold"),
    [
        ({"question": "q", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answer": "1"}, "", "A"),
        ({"question": "q", "choices": {"text": ["x", "y", "z"], "label": ["B", "C", "A"]}, "answer": "A"}, "", "C"),
        ({"question": "q", "choices": ["x", "y", "z"], "answer": "2"}, "", "C"),  # an index, as CSV has it
        ({"question": "q", "choices": ["2", "1", "0"], "answer": "2"}, "", "A"),  # a wording before an index
        ({"question": "q", "choices": ["b", "a", "c"], "answer": "a"}, "", "B"),  # a wording before a small letter
        ({"q": "q", "options": ["x", "y"], "key": "B"}, "question=q&choices=options&answer=key", "B"),
        ({"question": "q", "A": "x", "B": "y", "C": "z", "answer": "C"}, "choices=A,B,C", "C"),
        ({"question": "q", "choices": ["x", "y", "z"], "answer": 0}, "", "A"),
    ],
)
def test_every_form_of_choices_and_answers(tmp_path: Path, row: dict[str, object], knobs: str, gold: str) -> None:
    rows = [{key: f"{n}?" if value == "q" else value for key, value in row.items()} for n in range(20)]
    task = load_task(f"choice:{write(tmp_path / 'a.jsonl', rows)}{'?' if knobs else ''}{knobs}")
    assert {task.gold(problem) for problem in task.problems("train", seed=0, count=8)} == {gold}


def test_right_and_wrong_answers_apart(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "right": "r", "wrong": ["x", "y", "z"]} for n in range(40)]
    task = load_task(f"choice:{write(tmp_path / 'a.jsonl', rows)}?answer=right&wrong=wrong")
    problems = list(task.problems("train", seed=0, count=25))
    assert all(p.facts["choices"]["ABCD".index(str(p.facts["answer"]))] == "r" for p in problems)  # type: ignore[index, call-overload]  # a list
    assert len({p.facts["answer"] for p in problems}) == 4
    bad = [{"question": "q", "right": "x", "wrong": ["X ", "y"]}]
    with pytest.raises(TaskError, match="two letters are right"):
        list(load_task(f"choice:{write(tmp_path / 'b.jsonl', bad)}?answer=right&wrong=wrong").problems(
            "train", seed=0, count=1))  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answer": "A"},
        {"question": "q", "choices": [["a"], ["b"]], "answer": 0},
        {"question": "q", "choices": ["a", "b"], "answer": "²"},
        {"question": "q", "choices": ["a", "b"], "answer": 1.0},
        {"choices": ["a", "b"], "answer": 0},
        {"question": "q", "choices": ["a"], "answer": 0},
        {"question": "q", "choices": ["a", "b"], "answer": 2},
        {"question": "q", "choices": ["a", "b"], "answer": True},
        {"question": "q", "choices": ["a", "b"]},
        {"question": "q", "choices": ["a", "A ", "b"], "answer": 0},
    ],
)
def test_bad_rows(tmp_path: Path, row: dict[str, object]) -> None:
    with pytest.raises(TaskError, match="row 1"):
        next(load_task(f"choice:{write(tmp_path / 'a.jsonl', [row])}").problems("train", seed=0, count=1))


def test_two_choices_of_one_wording_are_named_by_their_letters_only() -> None:
    facts = {"answer": "C", "choices": ["same", "same", "other"]}
    problem = Problem(task="choice:x", canonical_text="q", messages=(), facts=facts)
    verifier = LetterVerifier()
    assert verifier.judge(problem, "#### same").status == "unparsed"
    assert verifier.judge(problem, "#### other").status == "correct"
    assert verifier.judge(problem, "#### B").status == "wrong"
