from __future__ import annotations

from pathlib import Path
from typing import Any

from lineages import given
from pipeline_parts import context_after

from spiritsafe.core.records import Checkpoint
from spiritsafe.models import default_cache
from spiritsafe.pipeline.plan.known import forecast_of, forecast_of_run
from spiritsafe.pipeline.plan.lineage import given_lineage, parents_of, planned_lineage
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.stages.source import lineage_of


def model(name: str) -> Checkpoint:
    return given(name, "MIT")


def test_each_model_is_a_parent_once_with_all_that_was_used() -> None:
    uses = [
        (model("a"), ("weights",)),
        (model("b"), ()),
        (model("c"), ("outputs",)),
        (model("a"), ("logits", "weights")),
    ]
    parents = parents_of(uses)
    assert [(parent.name, parent.used_as) for parent in parents] == [("a", ("weights", "logits")), ("c", ("outputs",))]


def test_a_run_writes_the_lineages_that_were_planned(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    recipe = context.recipe
    planned = planned_lineage(recipe, forecast_of(recipe, cache=default_cache())[0].given)
    written = {node.name: lineage_of(context, node.name) for node in recipe.all_models}
    assert planned.keys() == written.keys()
    places = {one.digest: written[name].digest for name, one in planned.items()}
    for name, checkpoint in written.items():
        expected: dict[str, set[str]] = {}  # by digest: training that changed nothing leaves what it began with
        for parent in planned[name].parents:
            expected.setdefault(places[parent.digest], set()).update(parent.used_as)
        assert {parent.digest: set(parent.used_as) for parent in checkpoint.parents} == expected, name
        assert checkpoint.license == planned[name].license
    assert {used for one in written.values() for parent in one.parents for used in parent.used_as} >= {
        "weights",
        "outputs",
        "logits",
    }
    assert planned_lineage(recipe, forecast_of_run(context).given).keys() == written.keys()
    assert given_lineage(context, "base") == written["base"]


def test_who_speaks_is_the_endpoint_and_what_is_not_known_is_left_out() -> None:
    table: dict[str, Any] = {
        "name": "r",
        "models": {
            "both": {"source": "tiny:0", "endpoint": "http://127.0.0.1:9/v1", "model": "llama3.1:8b"},
            "lost": {"source": "/nowhere"},
        },
        "data": {"sums": {"task": "arith:sums", "problems": 8}},
        "steps": [
            {"kind": "sample", "name": "said", "from": "both", "on": ["sums"]},
            {"kind": "tune", "name": "student", "from": "both", "learns": ["said"]},
            {"kind": "tune", "name": "other", "from": "lost", "learns": ["said"]},
        ],
    }
    lineage = planned_lineage(recipe_of(table), {"both": given("tiny-0", "LicenseRef-llama3.1")})
    assert lineage.keys() == {"both", "student"}
    source, speaker = lineage["student"].parents
    assert (source.name, source.used_as) == ("tiny-0", ("weights",))
    assert (speaker.name, speaker.used_as, speaker.license) == ("llama3.1:8b", ("outputs",), "LicenseRef-llama3.1")
