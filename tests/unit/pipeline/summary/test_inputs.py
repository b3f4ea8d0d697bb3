from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from talk_task import run_steps

from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.summary.inputs import inputs_of
from spiritsafe.pipeline.summary.ladder import rungs
from spiritsafe.report import Inputs
from spiritsafe.tasks import load_task

SUMS = "arith:sums?terms=2&digits=1-2"
SERVED = {"endpoint": "http://127.0.0.1:9/v1", "model": "r1", "licence": "MIT"}


def given(root: Path, files: Path | None = None) -> RunContext:
    data: dict[str, Any] = {
        "sums": {"task": SUMS, "problems": 12},
        "talks": {"task": "talk_task:talks", "problems": 5},
        "silent": {"task": "talk_task:silent_talks", "problems": 4},
    }
    if files is not None:
        data["own"] = {"files": [str(files)]}
    tune = {"kind": "tune", "name": "t", "from": "base", "learns": ["sums"]}
    models = {"base": {"source": "tiny:0"}, "far": SERVED, "both": {"source": "tiny:1", **SERVED}}
    context = run_steps({"name": "given", "models": models, "data": data, "steps": []} | {"steps": [tune]}, root)
    return replace(context, done={name: stage for name, stage in context.done.items() if name != "t"})


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return given(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def found(context: RunContext) -> Inputs:
    return inputs_of(context)


def test_given_models_and_what_is_known_of_served_ones(found: Inputs) -> None:
    base, far, both = found.sources
    assert (base.name, base.spec, base.endpoint) == ("base", "tiny:0", None)
    assert base.digest is not None
    assert base.num_parameters
    assert (far.name, far.spec, far.served_as, far.license) == ("far", None, "r1", "MIT")
    assert (far.digest, far.num_parameters, far.weight_bytes) == (None, None, None)
    assert (both.spec, both.served_as) == ("tiny:1", "r1")
    assert both.weight_bytes


def test_a_served_model_has_no_size_in_the_ladder(context: RunContext) -> None:
    recipe = context.recipe
    steps = tuple(step for step in recipe.steps if step.name != "t")
    alone = replace(context, recipe=recipe.model_copy(update={"steps": steps}))
    base, far, both = rungs(alone)
    assert base.weight_bytes
    assert both.weight_bytes
    assert (far.num_parameters, far.weight_bytes) == (None, None)


def test_data_with_and_without_verifier_and_solutions(found: Inputs) -> None:
    sums, talks, silent = found.data
    task = load_task(SUMS)
    assert (sums.name, sums.num_problems, sums.num_solutions) == ("sums", 12, 12)
    assert (sums.verifier, sums.version) == (task.verifier.name, task.verifier.version)
    assert sums.origin.startswith("arith:sums")
    assert sums.example is not None
    assert (talks.verifier, talks.num_problems, talks.num_solutions) == (None, 5, 5)
    assert (silent.verifier, silent.num_problems, silent.num_solutions) == (None, 4, None)


def test_only_what_can_be_learnt_from_is_counted_as_traces(found: Inputs) -> None:
    assert [(row.origin, row.num_asked, row.num_verified) for row in found.traces] == [
        ("solutions (sums)", 12, 12),
        ("solutions (talks)", 5, 5),
    ]


def test_a_file_that_was_moved_since_costs_no_report(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Say {n}"}, {"role": "assistant", "content": "Yes."}]} for n in
            [*range(40), 7]]  # fmt: skip
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    context = given(tmp_path / "run", path)
    *_, own = inputs_of(context).data
    assert own.origin == str(path)
    assert own.about["left out"].startswith("1 with a prompt that was there before")
    path.unlink()
    *_, own = inputs_of(context).data
    assert (own.verifier, own.about) == (None, {})
    assert own.num_problems
