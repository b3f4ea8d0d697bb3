from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from finished_run import SilentWatcher
from pipeline_parts import context_after, recipe_with, stage_at

from spiritsafe.pipeline.context import read_traces
from spiritsafe.pipeline.plan.known import faults_of
from spiritsafe.pipeline.stages.sets import TRACES_FILE, problems_of
from spiritsafe.pipeline.stages.source import chat_of
from spiritsafe.pipeline.stages.training import make_documents
from spiritsafe.pipeline.step import DataFacts, Forecast, step_of
from spiritsafe.pipeline.steps import sample
from spiritsafe.rollouts import FakeGenerator


def forecast(*, verifies: bool = True, **harvest: Any) -> Forecast:
    sets = {"field": DataFacts(task="t", num_problems=8, num_documents=0, verifies=verifies)}
    return Forecast(recipe=recipe_with(harvest=harvest), configs={}, device=torch.device("cpu"), sets=sets)


@pytest.mark.parametrize(
    ("verifies", "changes", "said"),
    [
        (True, {}, ""),
        (False, {"keep": "all"}, ""),
        (False, {}, 'harvest: keep = "verified", and none of field has a verifier: set "all"'),
        (True, {"keep": "rejected"}, ""),
        (False, {"keep": "rejected"}, 'harvest: keep = "rejected", and not all of field have a verifier'),
        (True, {"max_per_problem": 3}, "harvest: max_per_problem is 3, num_samples 2"),
    ],
)
def test_what_could_keep_nothing_is_told_before_it_is_drawn(verifies: bool, changes: dict[str, Any], said: str) -> None:
    found = [fault for fault in faults_of(forecast(verifies=verifies, **changes)) if fault.startswith("harvest")]
    assert found == ([said] if said else [])


def test_as_many_answers_are_expected_as_can_be_kept() -> None:
    for changes, count in (({"num_samples": 4}, 8), ({"num_samples": 4, "max_per_problem": 3}, 24)):
        known = forecast(**changes)
        node = known.recipe.node("harvest")
        facts = step_of(node).facts_of(node, known)
        assert facts is not None
        assert (facts.num_problems, facts.num_documents) == (8, count)


def test_a_set_of_answers_says_whose_they_are() -> None:
    recipe = recipe_with()
    origins = {node.name: step_of(node).words(node).origin for node in recipe.made if not node.makes_model}
    assert origins == {
        "sampled": "teacher’s attempts (sampled)",
        "signal": None,
        "harvest": "rl’s attempts (harvest)",
    }


def test_what_a_model_wrote_can_be_quoted(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    for name, model in (("sampled", "teacher"), ("harvest", "rl")):
        node = context.recipe.node(name)
        talks = step_of(node).talks(context, node)
        assert talks is not None
        assert talks.model == model
        assert {talk[0] for talk in talks.talks} <= {problem.id for problem in talks.problems}


@pytest.mark.parametrize(
    ("keep", "kept"), [("verified", {"right"}), ("rejected", {"wrong"}), ("all", {"right", "wrong"})]
)
def test_a_step_keeps_what_it_says(
    keep: str, kept: set[str], tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path, harvest={"keep": keep, "max_per_problem": 2})
    problems = problems_of(context, ("field",))
    texts = {problem.id: (str(problem.solution), "#### 31415") for problem in problems}
    generator = FakeGenerator(lambda name, index: texts[name][index])
    monkeypatch.setattr(sample, "open_answerer", lambda *_: generator)
    step, stage = step_of(context.recipe.node("harvest")), stage_at(tmp_path / "harvest")
    assert isinstance(step, sample.SampleStep)
    result = sample.sample_answers(step, context, stage, SilentWatcher())
    found = Counter((trace.problem.id, trace.text) for trace in read_traces(stage.path / TRACES_FILE))
    wanted = {"right": 0, "wrong": 1}
    assert found == Counter((problem.id, texts[problem.id][wanted[one]]) for problem in problems for one in kept)
    assert result["verified"] == len(problems) * len(kept)


def test_answers_that_a_stop_string_ended_are_learnt_with_an_end(tiny_run: Path, tmp_path: Path) -> None:
    sampling = {"temperature": 1.0, "max_tokens": 24, "stop": ["\n"]}
    context = context_after(tiny_run, tmp_path, harvest={"keep": "all", "sampling": sampling})
    step, stage = step_of(context.recipe.node("harvest")), stage_at(tmp_path / "harvest")
    assert isinstance(step, sample.SampleStep)
    sample.sample_answers(step, context, stage, SilentWatcher())
    traces = list(read_traces(stage.path / TRACES_FILE))
    chat = chat_of(context, "rl")
    documents = list(make_documents(chat, traces))
    assert documents
    assert not any("\n" in trace.text for trace in traces)
    assert {chat.spell([document.token_ids[-1]]) for document in documents} == {"<|im_end|>"}
    assert all(document.supervised[-1] for document in documents)
