from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pipeline_parts import context_after, recipe_with, stage_at

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.distil import document_key
from spiritsafe.models import ChatFormat, resolve_source
from spiritsafe.pipeline.context import Trace
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.stages.distil import objective as objective_module
from spiritsafe.pipeline.stages.distil.stage import distil_model
from spiritsafe.pipeline.stages.sets import set_traces
from spiritsafe.tasks import build_task


def test_what_the_student_writes_is_read_by_the_teacher_of_the_problems_set(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = {"review": "teacher", "lessons": "tuned"}
    policy = {
        "prompts_per_round": 6,
        "steps_per_round": 1,
        "num_rounds": 2,
        "share": 1.0,
        "sampling": {"max_tokens": 4},
    }
    changes = {
        "signal": None,
        "teacher": teachers,
        "learns": list(teachers),
        "objective": "reverse_kl",
        "ce_share": 0.0,
        "on_policy": policy,
        "train": {},
    }
    context = context_after(tiny_run, tmp_path, small={"calibrate": ["review"]}, student=changes)
    prompts: dict[str, str] = {}
    read: list[str] = []
    original = objective_module.TeachersByDocument

    class Watched:
        def __init__(self, signals: Any, named: dict[str, str], **more: Any) -> None:
            prompts.update(more["prompts"])
            self.inner = original(signals, {}, **more)  # so that only prompts can say whose a document is
            self.shares_prefixes, self.vocab_size = self.inner.shares_prefixes, self.inner.vocab_size

        def describe(self) -> Any:
            return self.inner.describe()

        def read(self, batch: Any, rows_R: Any, **more: Any) -> Any:
            read.extend(self.inner._owners(batch))
            return self.inner.read(batch, rows_R, **more)

    monkeypatch.setattr(objective_module, "TeachersByDocument", Watched)
    step = context.recipe.node("student").recipe
    assert isinstance(step, DistilRecipe)
    stage = stage_at(tmp_path / "21-student")
    distil_model(step, context, stage, NullSink())
    chat = ChatFormat(stage.path / "model")
    expected = {
        document_key(chat.prompt_ids(trace.problem.messages)): owner
        for name, owner in teachers.items()
        for trace in set_traces(context, name)
    }
    assert prompts == expected
    assert len(read) == 12
    assert set(read) == {"teacher", "tuned"}


def test_a_problem_of_two_teachers_cannot_be_answered_on_policy() -> None:
    """Two sets of answers to one problem."""
    teachers = {"sampled": "teacher", "harvest": "tuned"}
    changes = {"signal": None, "teacher": teachers, "learns": list(teachers), "train": {}, "ce_share": 0.0}
    policy = {"prompts_per_round": 2, "steps_per_round": 1, "num_rounds": 1, "sampling": {"max_tokens": 4}}
    step = recipe_with(student={**changes, "on_policy": policy}).node("student").recipe
    assert isinstance(step, DistilRecipe)
    first, second = (
        Trace(problem=problem, text="#### 4")
        for problem in build_task("arith:sums?terms=2").problems("train", seed=0, count=2)
    )
    parts: Any = SimpleNamespace(
        sets={"sampled": [first, second], "harvest": [replace(second, text="#### 5")]},
        traces=[first, second, second],
        student=SimpleNamespace(chat=ChatFormat(resolve_source("tiny:0"))),
    )
    with pytest.raises(RecipeError, match="in sets of two teachers, teacher and tuned"):
        objective_module._by_set(step, parts)


def test_each_set_is_read_by_the_teacher_that_is_named_for_it(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as following each teacher alone, document by document."""
    teachers = {"review": "teacher", "sampled": "tuned"}
    changes = {"signal": None, "teacher": teachers, "objective": "reverse_kl", "ce_share": 0.0}
    context = context_after(tiny_run, tmp_path, small={"calibrate": ["review"]}, student=changes)
    owners: dict[str, str] = {}
    original = objective_module.TeachersByDocument

    def watched(signals: Any, named: dict[str, str], **more: Any) -> Any:
        owners.update(named)
        return original(signals, named, **more)

    monkeypatch.setattr(objective_module, "TeachersByDocument", watched)
    stage = stage_at(tmp_path / "21-student")
    step = context.recipe.node("student").recipe
    assert isinstance(step, DistilRecipe)
    result = dict(distil_model(step, context, stage, NullSink()))
    counts = {name: len(set_traces(context, name)) for name in teachers}
    assert result["documents"] == counts
    assert list(owners.values()).count("teacher") == counts["review"]
    assert list(owners.values()).count("tuned") == counts["sampled"]
    lineage = read_json(stage.path / "model" / "lineage.json")
    used = {parent["name"]: parent["used_as"] for parent in lineage["parents"]}
    assert used["tiny-tuned"] == ["logits"]
    assert "logits" in used["tiny-teacher"]
