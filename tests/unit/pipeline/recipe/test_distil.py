from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.distil import DIVERGENCES
from spiritsafe.pipeline.recipe.distil import DistilRecipe, objectives

ON_POLICY: dict[str, Any] = {"prompts_per_round": 4, "steps_per_round": 2, "num_rounds": 3}


def make(**changes: Any) -> DistilRecipe:
    given: dict[str, Any] = {"name": "s", "from": "small", "teacher": "t", "learns": ["lessons"]}
    return DistilRecipe.model_validate({key: one for key, one in (given | changes).items() if one is not None})


SIGNAL: dict[str, Any] = {"teacher": None, "signal": "sig"}
TWO: dict[str, Any] = {"teacher": {"a": "t", "b": "u"}, "learns": ["a", "b"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, "give teacher"),
        ({"signal": "sig"}, "give teacher"),
        ({"beta": 0.3}, "jsd"),
        ({"objective": "traces"}, "'forward_kl'"),
        (SIGNAL | {"objective": "jsd"}, "forward_kl"),
        (SIGNAL | {"temperature": 2.0}, "temperature 1"),
        (SIGNAL | {"hidden": {}}, "live teacher"),
        (SIGNAL | {"on_policy": ON_POLICY}, "live teacher"),
        ({"objective": "across", "hidden": {}}, "hidden: no effect"),
        ({"objective": "across", "on_policy": ON_POLICY}, "on_policy: no effect"),
        ({"objective": "across", "temperature": 2.0}, "temperature: no effect"),
        (SIGNAL | {"objective": "across"}, "signal: no effect"),
        ({"on_policy": ON_POLICY, "train": {"max_steps": 6}}, "rounds long"),
        ({"on_policy": ON_POLICY, "train": {"max_epochs": 1}}, "rounds long"),
        ({"on_policy": ON_POLICY | {"seed": 3}}, "seed"),
        ({"on_policy": ON_POLICY | {"share": 1.0, "weights": {"correct": 0.0}}}, "share below 1"),
        ({"on_policy": ON_POLICY, "budget": {"of": "rl"}}, "rounds long"),
        ({"train": {"seed": 3}}, "seed"),
        ({"learns": []}, "at least one"),
        (TWO | {"learns": ["a"]}, "teacher names sets a, b, learns a"),
        (TWO | {"learns": ["a", "b", "c"]}, "learns a, b, c"),
        (TWO | {"hidden": {}}, "several teachers"),
        (TWO | {"objective": "across"}, "several teachers"),
        ({"share": 0.5}, "share"),
        ({"source": "tiny:1"}, "source"),
    ],
)
def test_what_could_not_take_effect_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_the_mix_is_the_objective_and_the_share_of_cross_entropy() -> None:
    mix = make(objective="jsd", beta=0.3, ce_share=0.25, temperature=2.0).mix
    assert (mix.divergences, mix.ce, mix.jsd_beta, mix.temperature) == ((("jsd", 0.75),), 0.25, 0.3, 2.0)


def test_each_objective_has_words_for_the_report() -> None:
    """A student across tokenizers ended in a KeyError after training and exam."""
    assert list(objectives()) == [*DIVERGENCES, "across"]
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
        make(**SIGNAL, objective="strangers_own")


def test_it_needs_whom_it_follows_and_what_it_reads() -> None:
    needs = make(**TWO).needs
    assert (needs.models, needs.follows, needs.weights) == (("small", "t", "u"), ("t", "u"), "small")
    assert needs.sets == ("a", "b")
    across = make(objective="across").needs
    assert (across.follows, across.reads) == ((), ("small", "t"))
    captured = make(**SIGNAL).needs
    assert (captured.signals, captured.models, captured.reads) == (("sig",), ("small",), ("small",))


def test_teachers_named_twice_read_once() -> None:
    assert make(teacher={"a": "t", "b": "t"}, learns=["a", "b"]).teachers == ("t",)
    one = make(**TWO).one_of("s-2", lambda name: f"{name}-2")
    assert (one.teacher, one.origin) == ({"a": "t-2", "b": "u-2"}, "small-2")
