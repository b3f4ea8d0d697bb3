from __future__ import annotations

import json

import pytest
from exam_parts import ToyTask
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import NullSink
from spiritsafe.exam.paper.bank import apportion, draw_bank, draw_controls, draw_twins
from spiritsafe.exam.paper.private import load_private
from spiritsafe.tasks import load_task, split_of

SECRET = "ab" * 32


@given(st.integers(0, 500), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_shares_sum_and_are_within_one_of_exact(count, weights):
    shares = apportion(count, weights)
    assert sum(shares) == count
    assert all(abs(share - count * w / sum(weights)) < 1 for share, w in zip(shares, weights, strict=True))


def test_a_plain_task_is_one_stratum_of_exam_problems():
    bank = draw_bank(ToyTask(), secret=SECRET, count=12, events=NullSink())
    (stratum,) = bank.strata
    assert stratum.name == ""
    assert len({problem.id for problem in bank.problems}) == 12
    assert all(split_of(problem) == "exam" for problem in bank.problems)
    assert draw_bank(ToyTask(), secret=SECRET, count=20, events=NullSink()).problems[:12] == bank.problems
    other = draw_bank(ToyTask(), secret="cd" * 32, count=12, events=NullSink())
    assert not {p.id for p in other.problems} & {p.id for p in bank.problems}


def test_a_mix_is_drawn_by_its_shares():
    mix = load_task("mix:arith:sums|arith:products*2")
    bank = draw_bank(mix, secret=SECRET, count=10, events=NullSink())
    assert {stratum.name.partition("?")[0]: len(stratum.problems) for stratum in bank.strata} == {
        "arith:products": 7,
        "arith:sums": 3,
    }
    for stratum in bank.strata:
        assert {problem.task for problem in stratum.problems} == {stratum.name}
        assert all(split_of(problem) == "exam" for problem in stratum.problems)


@pytest.fixture
def private(tmp_path):
    path = tmp_path / "bank.jsonl"
    rows = [
        {"family": "number", "question": f"{k} + {k}?", "answer": str(2 * k), "stratum": "hard" if k % 3 else "easy"}
        for k in range(30)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return load_private(path, name="office")


def test_a_private_file_is_drawn_in_proportion_and_by_secret_lot(private):
    bank = draw_bank(private, secret=SECRET, count=12, events=NullSink())
    assert {stratum.name: len(stratum.problems) for stratum in bank.strata} == {"easy/number": 4, "hard/number": 8}
    other = draw_bank(private, secret="cd" * 32, count=12, events=NullSink())
    assert {p.id for p in other.problems} != {p.id for p in bank.problems}
    whole = draw_bank(private, secret=SECRET, count=30, events=NullSink())
    assert {p.id for p in whole.problems} == {private.problem(row).id for row in private.rows}
    with pytest.raises(TaskError, match="30 problems; 31"):
        draw_bank(private, secret=SECRET, count=31, events=NullSink())


@pytest.mark.parametrize("spec", ["arith:words", "mix:arith:sums?digits=2|arith:linear"])
def test_twins_are_new_exam_problems_of_the_same_template(spec):
    bank = draw_bank(load_task(spec), secret=SECRET, count=8, events=NullSink())
    twins = draw_twins(bank, secret=SECRET, events=NullSink())
    assert len(twins) == 8
    assert len({p.id for p in (*bank.problems, *twins)}) == 16
    for original, twin in zip(bank.problems, twins, strict=True):
        assert twin.task == original.task
        assert split_of(twin) == "exam"
    assert twins == draw_twins(bank, secret=SECRET, events=NullSink())


def test_tasks_without_twins_say_so(private):
    for task in (ToyTask(), private):
        bank = draw_bank(task, secret=SECRET, count=4, events=NullSink())
        with pytest.raises(TaskError, match="twins of a problem"):
            draw_twins(bank, secret=SECRET, events=NullSink())


def test_a_family_that_is_used_up_has_no_twins():
    task = load_task("arith:sums?terms=2&digits=1")
    task.patience = 2_000
    size = 0
    for size in range(30, 2, -1):
        try:
            bank = draw_bank(task, secret=SECRET, count=size, events=NullSink())
            break
        except TaskError:
            continue
    assert size > 3
    with pytest.raises(TaskError, match="twins"):
        draw_twins(bank, secret=SECRET, events=NullSink())


def test_controls_are_of_the_exam_bucket_and_not_on_the_paper():
    task = load_task("mix:arith:sums|arith:products*2")
    bank = draw_bank(task, secret=SECRET, count=30, events=NullSink())
    taken = {problem.id for problem in bank.problems}
    strata = [(stratum.name, len(stratum.problems)) for stratum in bank.strata]
    controls = draw_controls(task, strata, secret=SECRET, taken=taken)
    assert [(stratum.name, len(stratum.problems)) for stratum in controls.strata] == strata
    assert {split_of(problem) for problem in controls.problems} == {"exam"}
    assert not taken & {problem.id for problem in controls.problems}
    assert len({problem.id for problem in controls.problems}) == 30
    again = draw_controls(task, strata, secret=SECRET, taken=taken)
    assert again == controls


def test_a_family_that_is_nearly_used_up_gives_fewer_controls():
    task = ToyTask(limit=20)  # 400 problems, some 40 of them for exams
    bank = draw_bank(task, secret=SECRET, count=30, events=NullSink())
    taken = {problem.id for problem in bank.problems}
    controls = draw_controls(task, [("", 30)], secret=SECRET, taken=taken)
    assert 0 < len(controls.problems) < 30
    assert not taken & {problem.id for problem in controls.problems}
