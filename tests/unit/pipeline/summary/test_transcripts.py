from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from pipeline_parts import context_after

from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.sets import problems_of
from spiritsafe.pipeline.summary.transcripts import transcripts
from spiritsafe.tasks import load_task, split_of


def test_each_model_that_answered_is_quoted_on_training_problems(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    talks = transcripts(context)
    assert {talk.model for talk in talks} == {"teacher", "rl"}
    for model in ("teacher", "rl"):
        assert 1 <= sum(talk.model == model for talk in talks) <= 12  # rl also wrote the harvest
    task = load_task(str(context.stage("practice").result()["task"]))
    problems = {p.messages: p for p in problems_of(context, list(context.recipe.data))}
    for talk in talks:
        problem = problems[talk.messages]
        assert split_of(problem) == "train"
        assert talk.verdict is not None
        assert task.grade(problem, talk.text).status == talk.verdict.status


def test_damaged_and_missing_rounds_are_passed_over(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    copy = tmp_path / "08-rl"
    shutil.copytree(context.stage("rl").path, copy)
    context = replace(context, done=context.done | {"rl": StageDirectory(copy, {})})
    whole = transcripts(context)
    last = copy / "training" / "rounds" / "round-00001.jsonl"
    last.write_bytes(last.read_bytes()[:-10])
    earlier = transcripts(context)
    assert len(earlier) == len(whole)
    assert earlier != whole
    shutil.rmtree(copy / "training")
    assert len(transcripts(context)) < len(whole)
