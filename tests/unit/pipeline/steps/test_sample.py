from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from finished_run import make_context
from pipeline_parts import context_after, stage_at

from spiritsafe.core.events import NullSink
from spiritsafe.pipeline.context import read_traces
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.step import step_of
from spiritsafe.pipeline.steps.sample import SampleStep, sample_for


def test_a_step_cuts_its_share_of_worked_solutions(tmp_path: Path) -> None:
    step = SampleStep.model_validate({"name": "starts", "from": "worked", "problems": 10, "direct_share": 0.6})
    plain = make_context(tmp_path)
    context = replace(plain, recipe=plain.recipe.model_copy(update={"steps": (step,)}))
    stage = stage_at(tmp_path / "stage")
    sample_for(step, context, stage, NullSink())
    lengths = [len(trace.text.splitlines()) for trace in read_traces(stage.path / "traces.jsonl")]
    assert (len(lengths), lengths.count(1)) == (10, 6)


def test_a_set_of_answers_says_whose_they_are() -> None:
    recipe, _ = load_recipe("tiny")
    origins = {node.name: step_of(node).words(node).origin for node in recipe.made if not node.makes_model}
    assert origins == {"sampled": "teacher's attempts", "capture": None, "harvest": "rl’s attempts (harvest)"}


def test_what_a_model_wrote_can_be_quoted_and_worked_solutions_cannot(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    nodes = {node.name: node for node in context.recipe.made}
    for name, model in (("sampled", "teacher"), ("harvest", "rl")):
        talks = step_of(nodes[name]).talks(context, nodes[name])
        assert talks is not None
        assert talks.model == model
        assert {talk[0] for talk in talks.talks} <= {problem.id for problem in talks.problems}
    worked = SampleStep.model_validate({"name": "w", "from": "worked", "problems": 4})
    assert worked.talks(context, nodes["harvest"]) is None
    assert worked.needs.models == ()
