from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import pytest
from finished_run import SilentWatcher
from pipeline_parts import context_after

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem
from spiritsafe.pipeline.context import RunContext, read_traces
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run.stages import stages_of
from spiritsafe.pipeline.run_directory import RunDirectory
from spiritsafe.pipeline.stages.sets import (
    chosen_traces,
    cut_to_answers,
    joint_task,
    problems_of,
    set_traces,
    task_of,
)
from spiritsafe.tasks import Draft, Task, ValueVerifier, build_task, load_task, split_of

SUMS = "arith:sums?terms=2&digits=1-2"
SETS = ("lessons", "practice", "review", "pool", "field")


def recipe_over(data: dict[str, Any], *, seed: int = 0) -> Recipe:
    exam = {"task": SUMS, "problems": 4}
    return recipe_of({"name": "r", "seed": seed, "models": {"m": {"source": "tiny:0"}}, "data": data, "exams": [exam]})


def drawn(root: Path, data: dict[str, Any], *, seed: int = 0) -> RunContext:
    """A run whose data stages alone were made; those that are done and have the same inputs are not made again."""
    recipe = recipe_over(data, seed=seed)
    run = RunDirectory(root, "r", {})
    context = RunContext(recipe=recipe, run=run, watcher=SilentWatcher(), cache=root, done={})
    for number, spec in enumerate(stages_of(recipe), start=1):
        if spec.name in data:
            after = {name: context.stage(name).output_digest() for name in spec.after}
            stage = run.stage(number, spec.name, {"settings": spec.settings, "after": after})
            if not stage.is_done():
                stage.begin()
                stage.finish(spec.work(context, stage, context.watcher))
            context.done[spec.name] = stage
    return context


def texts(context: RunContext, name: str) -> list[str]:
    return [problem.canonical_text for problem in problems_of(context, (name,))]


@pytest.fixture
def questions(tmp_path: Path) -> Callable[..., str]:
    def write(count: int, *, first: int = 0, name: str = "q.jsonl") -> str:
        rows = [
            json.dumps({"question": f"What is {n} + 1?", "answer": f"{n + 1}"}) for n in range(first, first + count)
        ]
        (tmp_path / name).write_text("\n".join(rows) + "\n")
        return f"math:{tmp_path / name}"

    return write


def test_no_two_sets_share_a_problem(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    ids = [problem.id for problem in problems_of(context, SETS)]
    assert len(ids) == len(set(ids)) == 48 + 8 + 24 + 16 + 8
    assert {split_of(problem) for problem in problems_of(context, SETS)} == {"train"}


def test_only_verified_answers_are_kept(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    for name in (*SETS, "sampled", "harvest"):
        for trace in set_traces(context, name):
            assert load_task(trace.problem.task).grade(trace.problem, trace.text).status == "correct"


@pytest.mark.parametrize(
    "data",
    [
        {"a": {"task": SUMS, "problems": 40}, "b": {"task": SUMS, "problems": 40}},
        {
            "a": {"task": "arith:sums?terms=2&digits=1", "problems": 40},
            "b": {"task": "arith:sums?terms=2&digits=1-2", "problems": 200},
            "c": {"task": "arith:sums?terms=2-3&digits=1", "problems": 200},
        },
        {
            "a": {"task": f"mix:{SUMS}|arith:countdown", "problems": 60},
            "b": {"task": SUMS, "problems": 60},
            "c": {"task": "arith:countdown", "problems": 60},
        },
    ],
    ids=["the same task", "overlapping tasks", "a mix and its parts"],
)
def test_sets_never_share_a_problem_however_they_are_asked_for(tmp_path: Path, data: dict[str, Any]) -> None:
    context = drawn(tmp_path, data)
    found = [text for name in data for text in texts(context, name)]
    assert len(found) == len(set(found)) == sum(table["problems"] for table in data.values())


def test_sets_of_one_file_share_no_row_and_say_when_it_is_used_up(
    tmp_path: Path, questions: Callable[..., str]
) -> None:
    spec = questions(60)
    context = drawn(tmp_path / "a", {"a": {"task": spec, "problems": 20}, "b": {"task": spec}})
    assert not set(texts(context, "a")) & set(texts(context, "b"))
    whole = drawn(tmp_path / "b", {"a": {"task": spec}})
    assert sorted(texts(whole, "a")) == sorted(texts(context, "a") + texts(context, "b"))
    with pytest.raises(TaskError, match=r"has only \d+ problems to train on that no other set .* 40 were asked for"):
        drawn(tmp_path / "c", {"a": {"task": spec, "problems": 20}, "b": {"task": spec, "problems": 40}})
    with pytest.raises(TaskError, match="no problem to train on that no other set"):
        drawn(tmp_path / "d", {"a": {"task": spec}, "b": {"task": spec}})


def test_a_small_file_after_a_large_set_has_all_its_rows(tmp_path: Path, questions: Callable[..., str]) -> None:
    context = drawn(tmp_path, {"a": {"task": SUMS, "problems": 500}, "b": {"task": questions(60), "problems": 30}})
    assert len(texts(context, "b")) == 30


def test_more_problems_extend_a_set_and_another_seed_changes_it(tmp_path: Path) -> None:
    few, many = (drawn(tmp_path / str(n), {"a": {"task": SUMS, "problems": n}}) for n in (5, 9))
    assert texts(few, "a") == texts(many, "a")[:5]
    assert texts(drawn(tmp_path / "other", {"a": {"task": SUMS, "problems": 5}}, seed=1), "a") != texts(few, "a")


def test_an_edited_file_makes_its_set_again_and_those_after_it(tmp_path: Path, questions: Callable[..., str]) -> None:
    spec = questions(60)
    data = {
        "before": {"task": SUMS, "problems": 5},
        "a": {"task": spec, "problems": 10},
        "after": {"task": SUMS, "problems": 5},
    }

    def made() -> dict[str, int]:
        paths = {name: next(tmp_path.glob(f"r-*/stages/*-{name}/done.json")) for name in data}
        return {name: path.stat().st_mtime_ns for name, path in paths.items()}

    first = drawn(tmp_path, data)
    rows, times = texts(first, "a"), made()
    assert texts(drawn(tmp_path, data), "a") == rows
    assert made() == times
    questions(60, first=1000)
    assert not set(texts(drawn(tmp_path, data), "a")) & set(rows)
    again = made()
    assert [name for name in data if again[name] != times[name]] == ["a", "after"]


@final
class Doubling(Task):
    """A stranger's own task, of no family."""

    def __init__(self) -> None:
        super().__init__(name="doubling", version="1", verifier=ValueVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for number in range(seed % 1000, seed % 1000 + 500):
            yield Draft(f"2*{number}", lambda n=number: self._problem(n))  # type: ignore[misc]

    def _problem(self, number: int) -> Problem:
        question = (Message(role="user", content=f"Twice {number}?"),)
        facts = {"answer": str(2 * number)}
        return Problem(task=self.name, canonical_text=f"2*{number}", messages=question, facts=facts)


def test_a_task_of_ones_own_is_drawn_and_grades_beside_others(tmp_path: Path) -> None:
    data = {"own": {"task": f"{__name__}:Doubling", "problems": 6}, "sums": {"task": SUMS, "problems": 6}}
    context = drawn(tmp_path, data)
    for names in (("own",), ("own", "sums")):
        task = task_of(context, names)
        for problem in problems_of(context, names):
            gold = build_task(data[names[0]]["task"] if problem.task == "doubling" else SUMS).gold(problem)  # type: ignore[arg-type]
            assert task.grade(problem, f"#### {gold}").status == "correct"
            assert task.grade(problem, "#### 123456").status == "wrong"


@pytest.mark.parametrize(
    ("specs", "parts"),
    [
        (["arith:sums", "arith:sums"], 1),
        (["arith:sums?terms=2", "arith:sums?terms=2-2"], 1),
        (["arith:sums", "arith:countdown"], 2),
        (["mix:arith:sums|arith:countdown*3", "arith:sums"], 2),
        (["mix:arith:sums|arith:countdown*3", "mix:arith:sums|arith:linear"], 3),
    ],
)
def test_one_task_grades_the_problems_of_several(specs: list[str], parts: int) -> None:
    task = joint_task(specs)
    assert task.name.count("|") == parts - 1
    for spec in specs:
        for problem in load_task(spec).problems("train", seed=1, count=4):
            assert task.grade(problem, load_task(spec).gold(problem)).status == "correct"


def test_who_wants_fewer_gets_a_part_of_what_another_gets(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    few, many, whole = (
        chosen_traces(context, learns)["lessons"] for learns in ({"lessons": 3}, {"lessons": 9}, ("lessons",))
    )
    assert list(few) == list(many)[:3] == list(whole)[:3]
    assert len(chosen_traces(context, {"lessons": 10**6})["lessons"]) == len(whole) == 48


def test_a_share_of_the_solutions_can_be_cut_to_the_answer_alone(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    whole, task = set_traces(context, "lessons"), task_of(context, ("lessons",))
    some, same, other = (list(cut_to_answers(task, whole, 0.25, seed=seed)) for seed in (1, 1, 2))
    assert some == same != other
    changed = [(before, after) for before, after in zip(whole, some, strict=True) if before != after]
    assert len(changed) == round(0.25 * len(whole))
    for before, after in changed:
        assert (after.problem, after.text) == (before.problem, f"#### {task.gold(before.problem)}")
        assert task.grade(after.problem, after.text).status == "correct"


def test_a_set_cuts_its_share_of_solutions(tmp_path: Path) -> None:
    context = drawn(tmp_path, {"a": {"task": SUMS, "problems": 10, "direct_share": 0.6}})
    lengths = [len(trace.text.splitlines()) for trace in read_traces(context.stage("a").path / "traces.jsonl")]
    assert (len(lengths), lengths.count(1)) == (10, 6)
