"""Runs of any kind in one form: what a file is, is seen from it, and how each try ended is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from places import ROOT, TESTS

from spiritsafe.core.errors import CompatibilityError, RecipeError, SourceError
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.exam import load_certificate, read_inspect_log, right_answers, write_practice
from spiritsafe.exam.interop.graded_runs import GradedRun, read_run
from spiritsafe.exam.interop.paired_runs import compare_runs
from spiritsafe.exam.interop.practice import question_digest
from spiritsafe.rollouts import FakeGenerator, collect
from spiritsafe.tasks import load_task

FOREIGN = TESTS / "golden" / "foreign"
CERTIFICATES = ROOT / "experiments" / "quickstart"
SUMS = "arith:sums?terms=2&digits=1"


def attempts(folder: Path, *, right: Sequence[int], spec: str = SUMS, count: int = 6) -> GradedRun:
    """A pool as ``sample`` makes it, in which only some of the dev problems are answered right."""
    task = load_task(spec)
    problems = list(task.problems("dev", seed=4, count=None if task.finite else count))
    replies = {problems[place].id: f"#### {task.gold(problems[place])}" for place in right}
    generator = FakeGenerator.from_table(replies, default="#### 777777")
    collect(task, problems, generator, Sampling(), num_samples=1, seed=4, directory=folder)
    return read_run(folder)


def test_every_kind_is_known_by_its_content(tmp_path: Path) -> None:
    practice = tmp_path / "renamed.jsonl"
    write_practice(practice, read_inspect_log(FOREIGN / "sums-a.json"))
    log, again = read_run(FOREIGN / "sums-a.json"), read_run(practice)
    assert (log.tries, log.asked, log.texts(), log.names) == (again.tries, again.asked, again.texts(), again.names)
    assert list(log.tries.values()) == [
        ("correct",), ("correct",), ("wrong",), ("unparsed",), ("refused",), ("truncated",), ("error",),
    ]  # fmt: skip
    harness = read_run(FOREIGN / "lm-eval-b", filter_name="strict")  # its folder, with just one sample file
    assert list(harness.tries.values()).count(("correct",)) == 5
    pool = attempts(tmp_path / "pool", right=[0, 2])
    assert [found == ("correct",) for found in pool.tries.values()] == [True, False, True, False, False, False]
    assert pool.is_practice
    assert "arith.number/" in pool.scorer


def test_of_a_certificate_the_sealed_half_counts() -> None:
    path = CERTIFICATES / "student.certificate.json"
    run = read_run(path)
    outcomes = load_certificate(path).result.outcomes
    assert [found.count("correct") for found in run.tries.values()] == right_answers(outcomes, "sealed")
    assert not run.is_practice


def test_a_sitting_that_ended_early_is_refused() -> None:
    path = next(
        path for path in sorted((TESTS / "golden" / "certificates").rglob("*.json"))
        if b'"not_asked"' in path.read_bytes() and b'"spiritsafe.certificate/' in path.read_bytes()
    )  # fmt: skip
    with pytest.raises(CompatibilityError, match="was not asked its whole paper"):
        read_run(path)


@pytest.mark.parametrize("name", ["README.md", "make_foreign.py"])
def test_what_is_no_run_is_refused(name: str) -> None:
    with pytest.raises(SourceError) as refused:
        read_run(FOREIGN / name)
    assert "samples_<task>_<time>.jsonl" in refused.value.hint


def test_folders_without_a_run_and_with_two(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        read_run(tmp_path)
    for name in ("lm-eval-a", "lm-eval-b"):
        shutil.copytree(FOREIGN / name, tmp_path / name)
    with pytest.raises(RecipeError, match="2 sample files"):
        read_run(tmp_path)


def test_the_questions_text_is_one_in_every_tool(tmp_path: Path) -> None:
    inspect, harness = read_run(FOREIGN / "sums-a.json"), read_run(FOREIGN / "lm-eval-a", filter_name="loose")
    (first, *_), (theirs, *_) = inspect.texts().values(), harness.texts().values()
    assert set(first) & set(theirs)
    rows = [{"question": f"What is {n} + {n}?", "answer": f"#### {2 * n}"} for n in range(60)]
    data = tmp_path / "own.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    pool = attempts(tmp_path / "pool", right=[0], spec=f"math:{data}")
    texts = pool.texts()
    assert set(texts) == set(pool.tries)
    task = load_task(f"math:{data}")
    problems: dict[str, Problem] = {problem.id: problem for problem in task.problems("dev", seed=0, count=None)}
    assert all(question_digest(problems[name].canonical_text) in found for name, found in texts.items())
    data.unlink()
    assert read_run(tmp_path / "pool").texts() == {}  # the data are gone: its ids still pair


def test_two_pools_pair_by_the_ids_of_their_problems(tmp_path: Path) -> None:
    one, other = attempts(tmp_path / "a", right=[0, 1]), attempts(tmp_path / "b", right=[1, 2, 3], count=8)
    found, _ = compare_runs(one, other)
    assert found.paired_by == {"id": 6}
    assert (found.a.num_left_over, found.b.num_left_over) == (0, 2)
    assert (found.counted_wrong.num_b_better, found.counted_wrong.num_a_better) == (2, 1)
