from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from talk_task import run_steps, talks

from spiritsafe.core.errors import IntegrityError, TaskError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.seeds import derive_seed
from spiritsafe.distil import HeldOut, held_out, held_out_difference, held_out_estimates
from spiritsafe.models import load_model, preferred_dtype
from spiritsafe.pipeline.recipe.data import text_key
from spiritsafe.pipeline.stages.measuring import measure
from spiritsafe.pipeline.stages.measuring.measure import Measures, held_out_problems, measures_of
from spiritsafe.pipeline.stages.sets import read_problems
from spiritsafe.pipeline.stages.source import model_directory
from spiritsafe.pipeline.step import step_of
from spiritsafe.rollouts import read_attempts
from spiritsafe.stats import paired_difference, score_interval
from spiritsafe.tasks import load_task, split_of

SUMS = "arith:sums?terms=2&digits=1-2"


def recipe(**step: Any) -> dict[str, Any]:
    return {
        "name": "measuring",
        "seed": 3,
        "models": {name: {"source": f"tiny:{seed}?hidden=32"} for name, seed in (("first", 1), ("second", 2))},
        "data": {"chats": {"task": "talk_task:talks"}, "sums": {"task": SUMS, "problems": 12}},
        "steps": [{"kind": "measure", "name": "found", "from": ["first", "second"], "on": ["chats"], **step}],
    }


def test_sums_are_of_the_held_out_replies_and_differences_are_paired(tmp_path: Path) -> None:
    context = run_steps(recipe(what=["nll", "kl:first"], problems=9), tmp_path)
    found = measures_of(context.stage("found"))
    task = talks()
    held = list(task.problems("dev", seed=derive_seed(3, "measure"), count=9))
    trained_on = {problem.id for problem in read_problems(context, "chats")}
    assert trained_on
    assert not trained_on & {problem.id for problem in held}
    sums = {}
    for name in ("first", "second"):
        loaded = load_model(model_directory(context, name), dtype=preferred_dtype("cpu"))  # as a run reads models
        teacher = load_model(model_directory(context, "first"), dtype=preferred_dtype("cpu"))
        documents = [loaded.chat.document(problem.messages, problem.solution or "") for problem in held]
        texts = [len((problem.solution or "").encode()) for problem in held]
        sums[name] = held_out(loaded, documents, teacher=teacher, num_bytes=texts)
        kept = HeldOut.from_json(read_json(context.stage("found").path / "sums" / name / "chats.json"))
        assert kept == sums[name]
    first, second = found.rows
    assert (first.model, first.data, first.num_problems, first.against) == ("first", "chats", 9, None)
    assert first.held_out == held_out_estimates(sums["first"])
    assert first.held_out_change is None
    assert (second.model, second.against) == ("second", "first")
    assert second.held_out == held_out_estimates(sums["second"])
    assert second.held_out_change == held_out_difference(sums["second"], sums["first"])
    assert first.held_out is not None
    assert first.held_out.kl_per_token is not None
    assert first.held_out.kl_per_token.value == 0.0
    assert second.teacher == "first"
    assert found.num_trained_on == {"chats": 0}
    assert "not a certificate" in found.statement


def test_accuracy_is_over_dev_problems_and_paired_too(tmp_path: Path) -> None:
    sampling = {"temperature": 1.0, "max_tokens": 3}
    wanted = recipe(what=["accuracy", "curve"], on=["sums"], problems=6, num_samples=2, sampling=sampling)
    context = run_steps(wanted, tmp_path)
    stage = context.stage("found")
    found = measures_of(stage)
    right: dict[str, dict[str, int]] = {}
    by_id = {p.id: p for p in load_task(SUMS).problems("dev", seed=derive_seed(3, "measure"), count=6)}
    for name in ("first", "second"):
        right[name] = dict.fromkeys(by_id, 0)
        for attempt, verdict in read_attempts(stage.path / "attempts" / name / "sums" / "samples"):
            right[name][attempt.problem_id] += verdict.status == "correct"
        assert right[name].keys() == by_id.keys()
    assert all(split_of(problem) == "dev" for problem in by_id.values())
    first, second = found.rows
    counts = [list(right[name].values()) for name in ("first", "second")]
    assert first.accuracy == score_interval(counts[0], trials=2)
    assert second.accuracy == score_interval(counts[1], trials=2)
    assert second.accuracy_change == paired_difference(counts[1], counts[0], trials=2)
    assert (first.held_out, second.held_out_change) == (None, None)
    curve = found.curves["sums"]
    assert [model.name for model in curve.models] == ["first", "second"]
    assert (curve.num_problems, curve.num_samples) == (6, 2)
    summary = str(stage.result()["summary"])
    assert summary == found.line()
    assert "sums: first 0 right, second 0 (+0 [" in summary


def test_the_line_tells_the_change_by_the_token_or_where_tokens_differ_by_the_byte(tmp_path: Path) -> None:
    found = measures_of(run_steps(recipe(problems=5), tmp_path).stage("found"))
    assert found.line().startswith("chats: first 5.")
    assert "nats a token" in found.line()
    assert "second" in found.line()
    first, second = found.rows
    assert second.held_out_change is not None
    other = second.held_out_change.model_copy(update={"nats_per_token": None})
    across = Measures(rows=(first, second.model_copy(update={"held_out_change": other})), num_trained_on={})
    assert "bits a byte" in across.line()
    assert "nats a token" not in across.line()


def test_the_report_gets_every_number_with_its_unit_and_what_it_is_held_against(tmp_path: Path) -> None:
    context = run_steps(recipe(what=["nll", "kl:first", "accuracy"], on=["sums"], problems=5), tmp_path)
    node = context.recipe.node("found")
    numbers, curves = step_of(node).measured(context, node)
    assert curves == []
    assert [(one.model, one.what, one.unit, one.counted, one.against) for one in numbers] == [
        ("first", "nll", "nats a token", "tokens", None),
        ("first", "nll", "bits a byte", "tokens", None),
        ("first", "kl:first", "nats a token", "tokens", None),
        ("first", "accuracy", "share", "problems", None),
        ("second", "nll", "nats a token", "tokens", "first"),
        ("second", "nll", "bits a byte", "tokens", "first"),
        ("second", "kl:first", "nats a token", "tokens", "first"),
        ("second", "accuracy", "share", "problems", "first"),
    ]
    assert {(one.step, one.data) for one in numbers} == {("found", "sums")}
    assert all((one.difference is None) == (one.model == "first") for one in numbers)
    assert {one.count for one in numbers if one.what == "accuracy"} == {5}
    assert step_of(context.recipe.node("first")).measured(context, context.recipe.node("first")) == ([], [])


def test_a_users_own_chats_are_held_out_by_prompt(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is the {n}th word?", "completion": f"The {n}th word is “straße”."} for n in range(80)]
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    wanted = recipe(on=["own"])
    wanted["data"]["own"] = {"files": [str(tmp_path / "chats.jsonl")]}
    context = run_steps(wanted, tmp_path / "run")
    (first, second) = measures_of(context.stage("found")).rows
    trained_on = [problem.messages[-1].content for problem in read_problems(context, "own")]
    assert first.held_out is not None
    assert second.held_out_change is not None
    held = {row["prompt"]: row["completion"] for row in rows if row["prompt"] not in trained_on}
    assert 2 <= first.num_problems < len(held)  # exams' rows are neither
    assert second.held_out_change.num_documents == first.num_problems
    assert first.held_out.num_bytes < sum(len(text.encode()) for text in held.values())


def test_a_killed_measurement_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(what=["nll", "accuracy"], on=["sums"], problems=4, sampling={"temperature": 0.0, "max_tokens": 2})
    whole = run_steps(wanted, tmp_path / "whole").stage("found").path
    real, count = measure.held_out, 0

    def killed(*args: Any, **options: Any) -> HeldOut:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(measure, "held_out", killed)
    with pytest.raises(KeyboardInterrupt):
        run_steps(wanted, tmp_path / "cut")
    stage = run_steps(wanted, tmp_path / "cut").stage("found").path
    assert count == 3  # the first model's sums were there
    for name in ("measures.json", "sums/first/sums.json", "sums/second/sums.json"):
        assert (stage / name).read_bytes() == (whole / name).read_bytes()


def test_what_another_set_trains_on_is_no_held_out_problem() -> None:
    task = talks()
    held = list(task.problems("dev", seed=0, count=None))
    trained_on = {text_key(problem) for problem in held[:3]}
    found, num_left_out = held_out_problems(task, 1000, trained_on, seed=0)
    assert found == held[3:]
    assert num_left_out == 3
    assert held_out_problems(task, 2, trained_on, seed=0)[0] == held[3:5]


def test_a_task_without_end_gives_as_many_as_are_asked_for_or_says_how_many_it_has() -> None:
    found, _ = held_out_problems(load_task(SUMS), 7, set(), seed=1)
    assert len({problem.id for problem in found}) == 7
    with pytest.raises(TaskError, match="has only"):
        held_out_problems(load_task("arith:sums?terms=2&digits=1"), 100, set(), seed=1)


def test_too_little_is_refused(tmp_path: Path) -> None:
    wanted = recipe(problems=2)
    wanted["data"]["chats"]["task"] = "talk_task:few_talks"
    with pytest.raises(TaskError, match=r"chats holds out \d problems"):
        run_steps(wanted, tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    stage = run_steps(recipe(problems=3), tmp_path).stage("found")
    write_json(stage.path / "measures.json", {"format": "spiritsafe.measures/1", "rows": 7})
    with pytest.raises(IntegrityError, match="Measures"):
        measures_of(stage)
