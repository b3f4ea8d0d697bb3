"""Mixes: shares, names that survive, problems that stay in their split, verdicts of the parts."""

import importlib.util
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.tasks.exam_bucket import exam_problems
from spiritsafe.tasks.families.mix import MixTask
from spiritsafe.tasks.grading.audit import audit_task
from spiritsafe.tasks.grading.pool import GraderPool
from spiritsafe.tasks.registry import R1_MIX_SPEC, load_task
from spiritsafe.tasks.splits import bucket_of, split_of

SUMS, COUNTDOWN, WORDS = "arith:sums?terms=2", "arith:countdown", "arith:words"
SPEC = f"mix:{SUMS}|{COUNTDOWN}*2|{WORDS}"

needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="the extra gym is not installed"
)


def shares(problems: list[Problem]) -> dict[str, int]:
    return dict(Counter(problem.task for problem in problems))


def names(*specs: str) -> list[str]:
    return [load_task(spec).name for spec in specs]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_every_part_has_its_share_of_any_split(split: str) -> None:
    task = load_task(SPEC)
    problems = list(task.problems(split, seed=3, count=400))  # type: ignore[arg-type]  # one of two words
    sums, countdown, words = names(SUMS, COUNTDOWN, WORDS)
    assert shares(problems) == {sums: 100, countdown: 200, words: 100}
    for length in range(4, 400, 4):
        assert shares(problems[:length])[countdown] == length // 2
    assert {split_of(problem) for problem in problems} == {split}
    assert len({problem.id for problem in problems}) == 400


def test_problems_are_the_parts_own_and_set_by_the_seed() -> None:
    task = load_task(SPEC)
    problems = list(task.problems("train", seed=3, count=60))
    assert list(load_task(SPEC).problems("train", seed=3, count=40)) == problems[:40]
    assert list(task.problems("train", seed=4, count=60)) != problems
    order = [problem.task for problem in problems]
    assert order != sorted(order)
    assert order[:4] != order[4:8] or order[4:8] != order[8:12]  # blocks differ
    sums = load_task(SUMS)
    known = {problem.id: problem.facts for problem in sums.problems("train", seed=0, count=1500)}
    found = [problem for problem in problems if problem.id in known]
    assert len(found) > 5
    assert all(known[problem.id] == problem.facts for problem in found)


def test_a_part_draws_the_same_problems_whatever_it_is_mixed_with() -> None:
    def drawn(spec: str) -> list[Problem]:
        return [problem for problem in load_task(spec).problems("dev", seed=1, count=30) if "sums" in problem.task][:10]

    assert drawn(f"mix:{SUMS}|{COUNTDOWN}") == drawn(f"mix:{WORDS}|{SUMS}")


def test_no_exam_problem_is_ever_studied() -> None:
    task = load_task(f"mix:{SUMS}&digits=1|arith:products?digits=1")  # small enough to be drawn to the end
    exam: list[Problem] = []
    with pytest.raises(TaskError, match="a part of the mix"):
        exam.extend(exam_problems(task, seed=0, count=10_000))
    for seed in range(20):
        exam.extend(exam_problems(task, seed=seed, count=4))
    studied: list[Problem] = []
    with pytest.raises(TaskError, match="a part of the mix"):
        studied.extend(task.problems("train", seed=5, count=10_000))
    with pytest.raises(TaskError, match="a part of the mix"):
        studied.extend(task.problems("dev", seed=5, count=10_000))
    assert len(studied) > 50
    assert not {problem.id for problem in studied} & {problem.id for problem in exam}
    assert all(bucket_of(problem) >= 90 for problem in exam)


def test_the_share_holds_problem_by_problem_in_exams_that_draw_each_from_its_own_seed() -> None:
    task = load_task(f"mix:{SUMS}|{COUNTDOWN}*3")
    counts = shares([next(exam_problems(task, seed=seed, count=1)) for seed in range(400)])
    assert abs(counts[load_task(SUMS).name] - 100) < 4 * (400 * 3 / 16) ** 0.5  # four standard deviations


def test_verdict_gold_and_check_are_the_parts() -> None:
    task = load_task(SPEC)
    parts = {part.task.name: part.task for part in task.parts}  # type: ignore[attr-defined]  # a MixTask
    for problem in task.problems("train", seed=0, count=40):
        part = parts[problem.task]
        for text in (part.gold(problem), problem.solution or "", "#### 1", "", "1 + 1"):
            assert task.grade(problem, text) == part.grade(problem, text)
            assert task.self_check(problem, text) == part.self_check(problem, text)
        assert task.gold(problem) == part.gold(problem)
        assert task.grade(problem, task.gold(problem)).verifier == part.verifier.name
    stranger = next(load_task("arith:linear").problems("train", seed=0, count=1))
    assert task.grade(stranger, "1").status == "unscored"
    assert "no part arith:linear" in task.grade(stranger, "1").reason
    with pytest.raises(TaskError, match="no part"):
        task.gold(stranger)


def test_name_and_versions_cover_the_parts_in_any_order() -> None:
    task = load_task(SPEC)
    sums, countdown, words = names(SUMS, COUNTDOWN, WORDS)
    assert task.name == f"mix:{countdown}*2|{sums}|{words}"
    assert load_task(task.name).name == task.name
    assert load_task(f"mix:\n  {WORDS} *2\n| {COUNTDOWN} * 4\n| {SUMS}*2\n").name == task.name
    assert task.verifier.name == "mix"
    assert task.verifier.version == "1:arith.countdown/2,arith.number/2"
    assert task.version == "1:1,1,1"
    assert not task.verifier.isolated


@pytest.mark.parametrize("name", ["data*2", "a|b.jsonl"])
def test_a_value_that_looks_like_a_share_or_a_separator(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("".join(f'{{"question": "What is {i} + 1?", "answer": "{i + 1}"}}\n' for i in range(50)))
    data = load_task(f"math:{path}".replace("|", "%7C"))
    for share in (1, 3):
        task = load_task(f"mix:math:{path}".replace("|", "%7C") + f"*{share}|{SUMS}")
        assert isinstance(task, MixTask)
        assert {part.task.name: part.share for part in task.parts} == {data.name: share, load_task(SUMS).name: 1}
        assert load_task(task.name).name == task.name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mix:", "is no part of a mix"),
        (f"mix:{SUMS}", "at least two"),
        (f"mix:{SUMS}||{WORDS}", "is no part of a mix"),
        (f"mix:{SUMS}*0|{WORDS}", "is no part of a mix"),
        (f"mix:{SUMS}|*2", "is no part of a mix"),
        (f"mix:{SUMS}|arith:sums?digits=1-2&terms=2", "twice"),
        (f"mix:{SUMS}|mix:{WORDS}", "cannot be a part"),
        (f"mix:{SUMS}|arith:wordz", 'no kind "wordz"'),
        (f"mix:{SUMS}|words", "is not a task spec"),
        (f"mix:{SUMS}*1.5|{WORDS}", "not a task spec|not key=value|terms"),
    ],
)
def test_bad_mixes(spec: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        load_task(spec)
    assert caught.value.hint


def test_a_part_that_runs_dry_is_named() -> None:
    task = load_task(f"mix:{COUNTDOWN}|{SUMS}&digits=1")
    drawn: list[Problem] = []
    with pytest.raises(TaskError, match=r"arith:sums.*a part of the mix, has no further problem"):
        drawn.extend(task.problems("train", seed=0, count=1000))
    alone = load_task(f"{SUMS}&digits=1")
    with pytest.raises(TaskError) as caught:
        list(alone.problems("train", seed=0, count=1000))
    assert f"only {shares(drawn)[alone.name]} problems" in caught.value.message


def test_the_audit_takes_a_mix() -> None:
    report = audit_task(load_task(SPEC), count=60)
    assert report.passed, report.reasons
    assert report.solution_accepted == 1.0
    assert report.share_new > 0.8


def test_a_mix_is_graded_in_worker_processes() -> None:
    task = load_task(SPEC)
    problems = list(task.problems("train", seed=0, count=12))
    pairs = [(problem, text) for problem in problems for text in (task.gold(problem), "0")]
    with GraderPool(task, num_workers=1) as pool:
        assert pool.grade_many(pairs) == [task.grade(problem, text) for problem, text in pairs]


@needs_gym
def test_the_mix_of_r1_is_sound() -> None:
    """Its parts pass the audit, and the verifier accepts each worked solution, which none is without."""
    task = load_task(R1_MIX_SPEC)
    assert isinstance(task, MixTask)
    assert [part.task.name.partition("?")[0] for part in task.parts] == [
        "gym:chain_sum",
        "gym:countdown",
        "gym:gsm_symbolic",
        "gym:mini_sudoku",
        "gym:spell_backward",
    ]
    assert [part.share for part in task.parts] == [2, 2, 1, 2, 2]
    for part in task.parts:
        report = audit_task(part.task, count=60)
        assert report.passed, (report.task, report.reasons)
        assert report.solution_accepted == 1.0
        assert report.floor_score < 0.1
    problems = list(islice(task.problems("train", seed=0, count=200), 200))
    assert all(problem.solution for problem in problems)
    assert max(len(problem.solution or "") for problem in problems if "gsm" not in problem.task) < 120
