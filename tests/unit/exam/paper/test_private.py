from __future__ import annotations

import json
import stat

import pytest

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.exam.paper.private import PrivateRow, PrivateTask, count_signoffs, load_private, sign_off
from spiritsafe.ledger import KeyPair

ROWS = [
    {"family": "math", "question": "What is 6 times 7?", "answer": "42", "stratum": "easy"},
    {"family": "math", "question": "Half of 3?", "answer": "\\frac{3}{2}", "solution": "3/2.\n#### \\frac{3}{2}"},
    {"family": "choice", "question": "Which is a prime?", "choices": ["4", "7"], "answer": "B", "stratum": "easy"},
    {"family": "number", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}],
     "answer": "4"},
    {"family": "arith:countdown", "question": "Make 9 from 4, 5.", "answer": "4 + 5",
     "facts": {"target": 9, "numbers": [4, 5]}},
]  # fmt: skip


def write(path, rows=ROWS):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


@pytest.fixture
def task(tmp_path) -> PrivateTask:
    return load_private(write(tmp_path / "bank.jsonl"), name="office")


def test_each_problem_keeps_its_familys_verifier(task):
    graded = {
        0: {"#### 42": "correct", "#### 41": "wrong"},
        1: {"#### 1.5": "correct", "#### 1.4": "wrong"},
        2: {"#### B": "correct", "#### A": "wrong", "well": "unparsed"},
        3: {"#### 4.0": "correct"},
        4: {"#### 5 + 4": "correct", "#### 9": "wrong"},
    }
    for number, texts in graded.items():
        problem = task.problem(task.rows[number])
        for text, status in texts.items():
            assert task.grade(problem, text).status == status, (number, text)


def test_problems_show_the_question_and_never_the_answer(task):
    choice = task.problem(task.rows[2])
    assert choice.messages[0].content == "Which is a prime?\nA) 4\nB) 7\nEnd with #### and the letter."
    assert task.problem(task.rows[3]).messages[0].role == "system"
    assert all("42" not in m.content for m in task.problem(task.rows[0]).messages)
    assert task.name == "private:office"
    assert {task.problem(row).task for row in task.rows} == {
        "private:office?family=arith:countdown",
        "private:office?family=choice",
        "private:office?family=math",
        "private:office?family=number",
    }
    assert [task.stratum(row) for row in task.rows[:3]] == ["easy/math", "math", "easy/choice"]


def test_the_order_of_choices_is_no_other_problem(task):
    row = task.rows[2]
    turned = row.model_copy(update={"choices": ("7", "4"), "answer": "A"})
    assert task.problem(turned).id == task.problem(row).id


def test_grading_needs_no_file(task):
    again = PrivateTask.for_grading(task.name, sorted({task.problem(row).task for row in task.rows}))
    assert (again.name, again.version, again.verifier.version) == (task.name, task.version, task.verifier.version)
    assert again.grade(task.problem(task.rows[0]), "#### 42").status == "correct"


def test_it_is_not_for_study(task):
    with pytest.raises(TaskError, match="not for study"):
        list(task.problems("train", seed=1, count=1))


SECRET_WORDS = "unguessable words"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"family": "math", "question": SECRET_WORDS}, "line 2.*answer"),
        ({"family": "math", "question": SECRET_WORDS, "answer": "1", "extra": 1}, "line 2.*extra"),
        ({"family": "math", "question": SECRET_WORDS, "answer": "1", "messages": [{"role": "user", "content": "x"}]},
         "either a question or messages"),
        ({"family": "choice", "question": SECRET_WORDS, "answer": "A"}, "has choices"),
        ({"family": "choice", "question": SECRET_WORDS, "choices": ["x", "y"], "answer": "C"}, "is its letter"),
        ({"family": "essay", "question": SECRET_WORDS, "answer": "1"}, "without a verifier"),
        ({"family": "number", "question": SECRET_WORDS, "answer": "7", "solution": "so #### 8"}, "problem 2.*solution"),
        ({"family": "arith:countdown", "question": SECRET_WORDS, "answer": "1 + 1",
          "facts": {"target": 3, "numbers": [1, 2]}}, "problem 2.*gold"),
        ({**ROWS[0], "solution": f"{SECRET_WORDS} #### 42"}, "problems 1 and 2 are the same"),
    ],
)  # fmt: skip
def test_bad_lines_are_named_and_not_shown(tmp_path, row, message):
    path = write(tmp_path / "bank.jsonl", [ROWS[0], row])
    with pytest.raises(TaskError, match=message) as caught:
        load_private(path, name="office")
    shown = f"{caught.value} {caught.value.hint} {caught.value.__cause__} {caught.value.__context__}"
    assert SECRET_WORDS not in shown or caught.value.__suppress_context__


def test_rows_of_a_data_set_are_taken_as_they_are(tmp_path):
    """As ``math`` and ``choice`` read them: GSM8K's, MMLU's; what they hold besides is left out."""
    rows = [
        {"question": "Ann has 3 jars and buys 2?", "answer": "3 + 2 = <<3+2=5>>5\n#### 5", "id": "x-1"},
        {"question": "What is half of 7?", "answer": 3.5, "level": 2},
        {"question": "Which is a prime?", "choices": ["4", "7"], "answer": 1, "subject": "maths"},
        {"question": "Which is an animal?", "choices": ["rock", "frog"], "answer": "frog", "stratum": "easy"},
        {"question": "Which is a letter?", "choices": ["B", "1"], "answer": "A"},
    ]
    task = load_private(write(tmp_path / "rows.jsonl", rows), name="office")
    assert [(row.family, row.answer) for row in task.rows] == [
        ("math", "5"), ("math", "3.5"), ("choice", "B"), ("choice", "B"), ("choice", "A"),
    ]  # fmt: skip
    assert task.rows[0].solution == "3 + 2 = 5\n#### 5"
    assert task.stratum(task.rows[3]) == "easy/choice"
    signed = tmp_path / "signed.jsonl"
    assert sign_off(tmp_path / "rows.jsonl", name="office", reviewer=KeyPair.generate("Ada"), output=signed) == 5
    assert [row.family for row in load_private(signed, name="office").rows] == [row.family for row in task.rows]
    with pytest.raises(TaskError, match="line 1"):
        load_private(write(tmp_path / "no.jsonl", [{"question": "q", "choices": ["a", "b"], "answer": 2}]), name="x")
    with pytest.raises(TaskError, match="line 1"):
        load_private(write(tmp_path / "no.jsonl", [{"question": "q", "choices": ["a", "b"], "answer": True}]), name="x")


def test_bad_files(tmp_path):
    with pytest.raises(SourceError):
        load_private(tmp_path / "none.jsonl", name="office")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(TaskError, match="no problems"):
        load_private(tmp_path / "empty.jsonl", name="office")
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(TaskError, match="line 1 is not JSON"):
        load_private(tmp_path / "bad.jsonl", name="office")


def test_reviewers_sign_what_they_read(tmp_path, task):
    first, second = KeyPair.generate("Ann"), KeyPair.generate("Bob")
    path, once, twice = tmp_path / "bank.jsonl", tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    assert sign_off(path, name="office", reviewer=first, output=once) == 5
    assert sign_off(once, name="office", reviewer=second, output=twice) == 5
    assert sign_off(twice, name="office", reviewer=second, output=twice) == 5  # again: nothing is added
    assert stat.S_IMODE(twice.stat().st_mode) == 0o600
    reviewers = [first.public, second.public]
    signed = load_private(twice, name="office")
    for row in signed.rows:
        assert len(row.signoffs) == 2
        assert count_signoffs(signed.problem(row), row.signoffs, reviewers) == 2
        assert count_signoffs(signed.problem(row), row.signoffs, [second.public]) == 1
        assert count_signoffs(signed.problem(row), (row.signoffs[0],) * 3, reviewers) == 1  # one voice, however often
    row = signed.rows[0]
    changed = row.model_copy(update={"answer": "43"})
    assert count_signoffs(signed.problem(changed), row.signoffs, reviewers) == 0
    other = load_private(twice, name="elsewhere")  # the bank's name is part of what was signed
    assert count_signoffs(other.problem(row), row.signoffs, reviewers) == 0


def test_a_row_is_strict():
    with pytest.raises(ValueError, match="question or messages"):
        PrivateRow(family="math", answer="1")
