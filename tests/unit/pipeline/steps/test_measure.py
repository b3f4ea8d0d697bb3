from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bpe_parts import write_bpe_model

from spiritsafe.core.errors import RecipeError
from spiritsafe.models import ChatFormat, read_model_config, resolve_source
from spiritsafe.pipeline.plan.stage_cost import DocumentSize
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import DataFacts, Forecast, step_of
from spiritsafe.pipeline.steps.measure import MeasureStep

SUMS = "arith:sums?terms=2&digits=1-2"


def recipe(models: dict[str, Any] | None = None, steps: tuple[dict[str, Any], ...] = (), **step: Any) -> Recipe:
    values = {
        "name": "measuring",
        "models": {"first": {"source": "tiny:1"}, "second": {"source": "tiny:2"}, **(models or {})},
        "data": {
            "chats": {"task": "talk_task:talks"},
            "few": {"task": "talk_task:few_talks"},
            "silent": {"task": "talk_task:silent_talks"},
            "sums": {"task": SUMS, "problems": 12},
            "tight": {"task": "arith:sums?terms=2&digits=1", "problems": 12},
        },
        "steps": [*steps, {"kind": "measure", "name": "found", "from": ["first", "second"], "on": ["chats"], **step}],
    }
    return recipe_of(values)


def faults(wanted: Recipe, places: dict[str, Path] | None = None) -> list[str]:
    node = wanted.node("found")
    chats = {name: ChatFormat(place) for name, place in (places or {}).items()}
    forecast = Forecast(recipe=wanted, configs={}, device=torch.device("cpu"), chats=chats)
    return step_of(node).faults(node, forecast)


def test_it_is_made_after_models_and_all_data_and_makes_no_model() -> None:
    wanted = recipe(what=["nll", "kl:second"])
    node = wanted.node("found")
    assert not node.makes_model
    assert wanted.made == (node,)
    (stage,) = step_of(node).stages(node, wanted)
    assert set(stage.after) == {"first", "second", "chats", "few", "silent", "sums", "tight"}
    assert stage.scratch == ("attempts",)
    assert step_of(node).words(node).line == "found: nll, kl:second of first, second on chats"


def test_a_resolved_recipe_is_a_recipe() -> None:
    wanted = recipe(what=["kl:second"], problems=7)
    again = recipe_of(wanted.to_json())
    assert again.to_json() == wanted.to_json()
    assert wanted.to_json()["steps"][0]["from"] == ["first", "second"]


def test_one_of_several_models_alike_is_named(tmp_path: Path) -> None:
    twins = {"kind": "tune", "name": "twin", "from": "first", "learns": ["chats"], "repeat": 2}
    with pytest.raises(RecipeError, match="twin-1"):
        recipe(steps=(twins,), **{"from": ["first", "twin"]})
    wanted = recipe(steps=(twins,), what=["kl:twin-2"], **{"from": ["first", "twin-1", "twin-2"]})
    assert set(wanted.node("found").needs) == {"first", "twin-1", "twin-2", "chats"}


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"from": ["first", "first"]}, "from names one thing twice"),
        ({"on": ["chats", "chats"]}, "on names one thing twice"),
        ({"what": ["nll", "nll"]}, "what names one thing twice"),
        ({"what": ["kl:first", "kl:second"]}, "two teachers"),
        ({"what": ["perplexity"]}, "what"),
        ({"what": []}, "what"),
        ({"what": ["kl:"]}, "what"),
        ({"what": ["kl:third"]}, "third"),
        ({"from": ["third"]}, "third"),
        ({"on": ["first"]}, "first"),
        ({"num_samples": 4}, "num_samples: no effect"),
        ({"sampling": {"max_tokens": 9}}, "sampling: no effect"),
        ({"what": ["accuracy"], "num_samples": 4}, "all answers are one"),
        ({"what": ["curve"], "sampling": {"temperature": 0.7}}, "a curve needs several answers"),
        ({"problems": 1}, "problems"),
        ({"wat": 1}, "wat"),
    ],
)
def test_what_cannot_take_effect_is_refused(step: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        recipe(**step)


def test_what_cannot_work_is_told_before_anything_is_made() -> None:
    assert faults(recipe(what=["nll"])) == []
    assert faults(recipe(what=["nll", "accuracy"], on=["sums"])) == []
    assert faults(recipe(what=["accuracy"])) == [
        'found: chats has no verifier, so its answers cannot be graded: measure "nll"'
    ]
    assert faults(recipe(on=["few"])) == ["found: few holds out 0 problems, and 2 are needed: give it more rows"]
    assert faults(recipe(on=["silent"])) == [
        'found: silent has no answers to be read: measure "accuracy", or on a set with answers'
    ]
    (said,) = faults(recipe(what=["accuracy"], on=["tight"], problems=60))
    assert said.startswith("found: arith:sums")
    assert said.endswith("Set problems to fewer")
    assert len(faults(recipe(what=["accuracy"], on=["chats", "few"]))) == 3


def test_a_model_behind_an_endpoint_answers_and_is_not_read() -> None:
    served = {"served": {"endpoint": "http://127.0.0.1:9/v1", "model": "big"}}
    models = ["first", "served"]
    assert faults(recipe(models=served, what=["accuracy"], on=["sums"], **{"from": models})) == []
    for what, names in ((["nll"], models), (["kl:served"], ["first"])):
        (said,) = faults(recipe(models=served, what=what, **{"from": names}))
        assert "served is behind an endpoint" in said
        assert "[models.served]" in said
    both = {"served": {**served["served"], "source": "tiny:3"}}
    assert faults(recipe(models=both, what=["nll"], **{"from": models})) == []


def test_a_teacher_of_other_tokens_is_told_with_what_would_be_right(tmp_path: Path) -> None:
    places = {
        "first": resolve_source("tiny:1", cache=tmp_path),
        "second": resolve_source("tiny:2", cache=tmp_path),
        "other": write_bpe_model(tmp_path / "bpe"),
    }
    other = {"other": {"source": str(places["other"])}}
    assert faults(recipe(what=["kl:second"]), places) == []
    assert faults(recipe(models=other, what=["nll"], **{"from": ["first", "other"]}), places) == []
    (said,) = faults(recipe(models=other, what=["kl:other"], **{"from": ["first", "other"]}), places)
    assert said.startswith("found: other and first have other tokens")
    assert 'measure "nll", whose bits a byte' in said
    tuned = {"kind": "tune", "name": "tuned", "from": "other", "learns": ["chats"]}
    (said,) = faults(recipe(models=other, steps=(tuned,), what=["kl:first"], **{"from": ["tuned"]}), places)
    assert "first and tuned" in said


def test_a_cut_that_drops_tokens_has_tokens_of_its_own() -> None:
    cut = {"kind": "cut", "name": "small", "from": "first", "share": 0.9, "vocabulary": "seen", "calibrate": ["chats"]}
    on = {"kind": "tune", "name": "healed", "from": "small", "learns": ["chats"]}
    (said,) = faults(recipe(steps=(cut, on), what=["kl:first"], **{"from": ["first", "healed"]}))
    assert "first and healed have other tokens (a cut dropped some of them)" in said
    assert faults(recipe(steps=(cut, on), what=["kl:small"], **{"from": ["healed"]})) == []
    whole = {**cut, "vocabulary": "full"}
    assert faults(recipe(steps=(whole, on), what=["kl:first"], **{"from": ["healed"]})) == []


def test_reading_and_answering_are_in_the_plan(tmp_path: Path) -> None:
    config = read_model_config(resolve_source("tiny:1", cache=tmp_path))
    sampling = {"temperature": 0.7, "max_tokens": 8}
    both = recipe(what=["nll", "kl:second", "curve"], on=["sums"], problems=10, num_samples=3, sampling=sampling)
    node = both.node("found")
    assert isinstance(node.recipe, MeasureStep)
    size = DocumentSize(prompt_tokens=30, answer_tokens=9)
    facts = DataFacts(task=SUMS, num_problems=12, num_documents=12, size=size)
    forecast = Forecast(
        recipe=both,
        configs={"first": config, "second": config},
        device=torch.device("cpu"),
        sets={"sums": facts},
    )
    (cost,) = node.recipe.costs(node, forecast)
    assert cost.name == "found"
    assert cost.read_tokens == 2 * 2 * 10 * 39  # each model, with the teacher beside it
    assert cost.sampled_tokens == 2 * 10 * (3 + 1) * 8  # one of them greedy
    assert cost.work.flops > 0
    peak = node.recipe.peak(node, forecast)
    alone = recipe(problems=10).node("found")
    assert isinstance(alone.recipe, MeasureStep)
    without = alone.recipe.peak(alone, forecast)
    assert peak is not None
    assert without is not None
    assert peak > without > 0
    unknown = Forecast(recipe=both, configs={}, device=torch.device("cpu"))
    assert node.recipe.costs(node, unknown) == []
    assert node.recipe.peak(node, unknown) is None
