from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import RecipeError
from spiritsafe.distil import DIVERGENCES
from spiritsafe.pipeline.recipe.graph import nodes_of
from spiritsafe.pipeline import load_recipe, packaged_recipes
from spiritsafe.pipeline.recipe.students import StudentRecipe, objectives

TRAIN = {"learning_rate": 1e-3, "tokens_per_step": 64, "micro_batch_tokens": 64, "max_epochs": 1}
STEPS = {name: value for name, value in TRAIN.items() if name != "max_epochs"} | {"max_steps": 6}
ON_POLICY = {"prompts_per_round": 4, "steps_per_round": 2, "num_rounds": 3}


def make(**changes: object) -> StudentRecipe:
    return StudentRecipe.model_validate({"name": "s", "share": 0.5, "problems": 8, "train": TRAIN} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": None}, "share or max_bytes"),
        ({"max_bytes": 10}, "not both"),
        ({"candidates": 3}, "race"),
        ({"beta": 0.3}, "jsd"),
        ({"objective": "traces", "hidden": {}}, "hidden"),
        ({"objective": "traces", "signal": "cached"}, "signal"),
        ({"signal": "cached", "objective": "jsd"}, "forward_kl"),
        ({"signal": "cached", "temperature": 2.0}, "temperature 1"),
        ({"signal": "cached", "hidden": {}}, "live teacher"),
        ({"signal": "cached", "vocabulary": "seen"}, "whole vocabulary"),
        ({"objective": "across"}, "source"),
        ({"source": "tiny:1"}, "share"),
        ({"share": None, "source": "tiny:1", "start": "random"}, "start"),
        ({"share": None, "source": "tiny:1", "objective": "across", "hidden": {}}, "hidden"),
        (
            {"share": None, "source": "tiny:1", "objective": "across", "on_policy": ON_POLICY, "train": STEPS},
            "on_policy",
        ),
        ({"on_policy": ON_POLICY}, "max_steps to 6"),
        ({"on_policy": ON_POLICY, "train": TRAIN | {"max_steps": 6}}, "max_epochs"),
        ({"on_policy": ON_POLICY | {"seed": 3}, "train": STEPS}, "seed"),
        ({"on_policy": ON_POLICY | {"share": 1.0, "weights": {"correct": 0.0}}, "train": STEPS}, "share below 1"),
        ({"train": TRAIN | {"seed": 3}}, "seed"),
        ({"cut_kv_heads": True}, "race"),
        ({"share": None, "source": "tiny:1", "hidden": {"method": "index"}}, "procrustes"),
        ({"share": None, "source": "tiny:1", "calibration": 3}, "calibration"),
        ({"start": "random", "hidden": {"method": "index"}}, "procrustes"),
        ({"traces": []}, "at least 1"),
        ({"signal": "cached", "teacher": "rl"}, "taught teacher"),
        ({"signal": "cached", "traces": ["harvest"]}, "taught teacher"),
        ({"on_policy": ON_POLICY, "train": STEPS, "budget": {"of": "rl"}}, "rounds long"),
    ],
)
def test_what_could_not_take_effect_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_the_mix_is_the_objective_and_the_share_of_cross_entropy() -> None:
    mix = make(objective="jsd", beta=0.3, ce_share=0.25, temperature=2.0).mix
    assert (mix.divergences, mix.ce, mix.jsd_beta, mix.temperature) == ((("jsd", 0.75),), 0.25, 0.3, 2.0)


def test_each_objective_has_words_for_the_report() -> None:
    """A student across tokenizers ended in a KeyError after training and exam."""
    assert list(objectives()) == ["traces", *DIVERGENCES, "across"]
    assert objectives()["across"] == "divergence of chunk likelihoods"
    assert [objectives()[name] for name in ("forward_kl", "jsd")] == ["forward KL", "Jensen–Shannon divergence"]


def test_a_divergence_that_only_this_test_knows_is_an_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="'skew_reverse_kl' or 'across'"):
        make(objective="strangers_own")
    row = dataclasses.replace(DIVERGENCES["reverse_kl"], label="the test's own", measure="strangers_own")
    monkeypatch.setitem(DIVERGENCES, "strangers_own", row)
    student = make(objective="strangers_own", ce_share=0.25)
    assert student.mix.divergences == (("strangers_own", 0.75),)
    assert objectives()[student.objective] == "the test's own"
    with pytest.raises(ValidationError, match='serves objective "forward_kl" at'):
        make(objective="strangers_own", signal="cached")


def test_repetitions_have_names_of_their_own_and_the_same_cut() -> None:
    copies = [node.recipe for node in nodes_of([make(repeat=3)], [])]
    assert [copy.name for copy in copies if isinstance(copy, StudentRecipe)] == ["s-1", "s-2", "s-3"]
    assert len({copy.cut for copy in copies if isinstance(copy, StudentRecipe)}) == 1
    assert [node.recipe for node in nodes_of([make()], [])] == [make()]
    assert make(share=0.5).cut != make(share=0.6).cut
    assert make().cut.to_json()["share"] == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('students.0.name="exam"', "names of their own"),
        ('students.0.name="cut-x"', "cut-"),
        ('students.0.name="on-policy"', "names of their own"),
        ('students.0.signal="live"', "leave the"),
        ("cache.seed=3", "seed"),
        ("teach.train.seed=3", "seed"),
    ],
)
def test_students_fit_into_their_recipe(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("tiny", (override,))


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_a_resolved_recipe_is_a_recipe(name: str) -> None:
    recipe, _ = load_recipe(name)
    assert type(recipe).from_json(recipe.to_json()) == recipe


def test_copies_have_an_end() -> None:
    """Each is a node of the plan: a number without end would be a plan without end."""
    assert len(nodes_of([make(repeat=100)], [])) == 100
    with pytest.raises(ValidationError, match="less than or equal to 100"):
        make(repeat=123456789012)
