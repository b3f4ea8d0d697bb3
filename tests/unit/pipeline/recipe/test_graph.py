from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from spiritsafe.pipeline.recipe.graph import (
    Node,
    RecipeFaults,
    comparison_faults,
    history_of,
    models_of,
    nodes_of,
    siblings_of,
    uses_of,
    weights_of,
)
from spiritsafe.pipeline.steps.capture import CaptureStep
from spiritsafe.pipeline.steps.cut import CutStep
from spiritsafe.pipeline.steps.distil import DistilStep
from spiritsafe.pipeline.steps.inputs.data import Data
from spiritsafe.pipeline.steps.inputs.given import GivenModel
from spiritsafe.pipeline.steps.reinforce import ReinforceStep
from spiritsafe.pipeline.steps.sample import SampleStep
from spiritsafe.pipeline.steps.tune import TuneStep

CONFIG: dict[str, Any] = {
    "prompts_per_round": 4,
    "group_size": 2,
    "num_rounds": 3,
    "loss": {"method": "dapo"},
    "reward": {"overlong_buffer": 8},
}
KINDS: dict[str, Any] = {
    "capture": CaptureStep, "cut": CutStep, "distil": DistilStep, "reinforce": ReinforceStep, "sample": SampleStep,
    "tune": TuneStep,
}  # fmt: skip
MODELS = {"base": GivenModel(source="tiny:0")}
DATA = {name: Data(task="arith:sums", problems=8) for name in ("lessons", "pool")}


def step(kind: str, name: str, origin: str, **more: Any) -> Any:
    given: dict[str, Any] = {"name": name, "from": origin}
    if kind == "reinforce":
        given |= {"on": ["pool"], "config": CONFIG}
    if kind in ("tune", "distil", "capture"):
        given |= {"learns": ["lessons"]}
    if kind == "sample":
        given |= {"on": ["pool"]}
    if kind == "cut":
        given |= {"share": 0.5, "calibrate": ["lessons"]}
    return KINDS[kind].model_validate(given | more)


def graph(*steps: Any, models: dict[str, Any] = MODELS, data: dict[str, Any] = DATA) -> list[Node]:
    return nodes_of(models, data, steps)


def names(nodes: Sequence[Node]) -> list[str]:
    return [node.name for node in nodes]


STAIRCASE = [
    step("tune", "teacher", "base"),
    step("reinforce", "rl", "teacher"),
    step("sample", "harvest", "rl"),
    step("tune", "tuned", "base", learns=["harvest", "lessons"]),
    step("reinforce", "all", "tuned"),
]


def faults_of(*steps: Any, **more: Any) -> tuple[str, ...]:
    with pytest.raises(RecipeFaults) as caught:
        graph(*steps, **more)
    return caught.value.faults


def test_the_staircase_of_r1_is_in_order() -> None:
    nodes = graph(*STAIRCASE)
    assert names(nodes) == ["base", "lessons", "pool", "teacher", "rl", "harvest", "tuned", "all"]
    made = {node.name: node.made_of for node in nodes}
    assert made["rl"] == ("teacher", "pool")
    assert made["tuned"] == ("base", "harvest", "lessons")
    assert [node.makes_model for node in nodes] == [True, False, False, True, True, False, True, True]
    assert history_of(nodes, "all") == ["base", "lessons", "teacher", "pool", "rl", "harvest", "tuned", "all"]
    assert history_of(nodes, "teacher") == ["base", "lessons", "teacher"]
    assert weights_of(nodes, "all") == ["all", "tuned", "base"]
    assert weights_of(nodes, "harvest") == ["harvest"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::7])
def test_the_order_in_the_file_does_not_matter(order: tuple[int, ...]) -> None:
    """Everything comes after what it needs, and is made of the same things."""
    nodes = graph(*(STAIRCASE[place] for place in order))
    assert {node.name: node.made_of for node in nodes} == {node.name: node.made_of for node in graph(*STAIRCASE)}
    for place, node in enumerate(nodes):
        assert set(node.needs) <= set(names(nodes[:place]))


def test_what_does_not_depend_on_each_other_stays_as_written() -> None:
    assert names(graph(step("tune", "b", "base"), step("tune", "a", "base")))[-2:] == ["b", "a"]


def test_controls_follow_each_seed_and_differ_in_one_thing() -> None:
    nodes = graph(step("reinforce", "rl", "base", repeat=2, controls=["random", "format", "rft"]))[3:]
    assert names(nodes)[:5] == ["rl-1", "rl-1-random", "rl-1-format", "rl-1-rft", "rl-2"]
    assert {node.entry for node in nodes} == {"rl"}
    assert [names(one) for one in siblings_of(nodes)] == [names(nodes)]
    real, *controls = [node.recipe for node in nodes[:4]]
    assert isinstance(real, ReinforceStep)
    for control, node in zip(controls, nodes[1:4], strict=True):
        assert isinstance(control, ReinforceStep)
        assert (node.control, node.twin) == (node.name.removeprefix("rl-1-"), "rl-1")
        changed = {key for key, value in control.config.to_json().items() if value != real.config.to_json()[key]}
        assert changed <= {"reward", "loss"}
        assert (control.train, control.on, control.origin) == (real.train, real.on, real.origin)
        assert (control.controls, control.repeat) == ((), 1)
    random, formal, rft = (control.config for control in controls if isinstance(control, ReinforceStep))
    assert (random.reward.kind, formal.reward.kind, rft.reward.kind) == ("random", "format", "verifier")
    assert formal.reward.overlong_buffer == 8
    assert (random.loss.method, formal.loss.method, rft.loss.method) == ("dapo", "dapo", "rft")


def test_seeds_go_on_from_seeds_of_their_number() -> None:
    steps = [
        step("tune", "small", "base", repeat=3),
        step("reinforce", "more", "small", repeat=3),
        step("reinforce", "one", "small-2"),
        step("tune", "t", "base", budget={"of": "one"}),
        step("distil", "d", "small", teacher="more", repeat=3),
    ]
    nodes = {node.name: node for node in graph(*steps)}
    assert [nodes[f"more-{n}"].made_of[0] for n in (1, 2, 3)] == ["small-1", "small-2", "small-3"]
    assert [nodes[f"d-{n}"].made_of[:2] for n in (1, 2, 3)] == [(f"small-{n}", f"more-{n}") for n in (1, 2, 3)]
    assert nodes["one"].made_of[0] == "small-2"
    assert nodes["t"].recipe.needs.waits_for == ("one",)
    assert nodes["t"].needs == ("base", "lessons", "one")
    assert "one" not in history_of(nodes.values(), "t")  # a measure, no material


def test_a_random_start_is_drawn_anew_for_each_repetition() -> None:
    nodes = {
        node.name: node
        for node in graph(
            step("cut", "noise", "base", start="random", repeat=2),
            step("distil", "s", "noise", teacher="base", repeat=2),
        )
    }
    assert [nodes[f"s-{n}"].recipe.needs.weights for n in (1, 2)] == ["noise-1", "noise-2"]
    assert [nodes[f"noise-{n}"].recipe.times for n in (1, 2)] == [1, 1]


def test_a_student_of_several_teachers_is_made_of_each() -> None:
    teachers = {"lessons": "t", "pool": "u"}
    nodes = graph(
        step("distil", "s", "base", teacher=teachers, learns=["lessons", "pool"]),
        step("tune", "t", "base"),
        step("tune", "u", "base"),
    )
    assert nodes[-1].made_of == ("base", "t", "u", "lessons", "pool")


def test_comparisons_name_as_many_models_on_either_side() -> None:
    nodes = graph(
        step("tune", "s", "base", repeat=2),
        step("tune", "alone", "base"),
        step("reinforce", "rl", "base", repeat=2, controls=["random"]),
        step("sample", "harvest", "rl-1"),
        step("tune", "thrice", "base", repeat=3),
    )
    assert models_of(nodes, "rl") == ["rl-1", "rl-2"]
    assert models_of(nodes, "base") == ["base"]
    assert comparison_faults(nodes, [("rl", "s"), ("rl", "alone")]) == []
    for pair, message in (
        (("rl", "ss"), "did you mean 's'"),
        (("harvest", "s"), "'harvest', which is a set of answers: a model is wanted there"),
        (("rl", "lessons"), "'lessons', which is a data set"),
        (("rl", "rl-1"), "did you mean 'rl'"),
        (("thrice", "rl"), "'thrice' stands for 3 models, 'rl' for 2"),
    ):
        (fault,) = comparison_faults(nodes, [pair])
        assert message in fault


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([step("tune", "teacher", "base"), step("reinforce", "rl", "teachr")], "did you mean 'teacher'"),
        ([step("distil", "s", "base", teacher="ghost")], "'s' names 'ghost', which nothing is called"),
        ([step("tune", "t", "base", learns=["harvst"]), step("sample", "harvest", "base")], "did you mean 'harvest'"),
        ([step("sample", "s", "base"), step("reinforce", "rl", "s")], "'s', which is a set of answers: a model"),
        ([step("tune", "t", "base", learns=["base"])], "'base', which is a model: a data set or set of answers"),
        ([step("sample", "s", "base", on=["base"])], "'base', which is a model: a data set is wanted"),
        (
            [step("sample", "a", "base"), step("sample", "s", "base", on=["a"])],
            "'a', which is a set of answers: a data",
        ),
        ([step("reinforce", "rl", "base", on=["poool"])], "did you mean 'pool'"),
        ([step("distil", "s", "base", signal="lessons")], "'lessons', which is a data set: a captured signal"),
        ([step("distil", "s", "base", signal="none")], "'none', which nothing is called. Known: nothing"),
        ([step("capture", "sig", "base"), step("tune", "t", "sig")], "'sig', which is a captured signal: a model"),
        ([step("tune", "t", "base", budget={"of": "lessons"})], "'lessons', which is a data set"),
        ([step("tune", "t", "base", budget={"of": "u"})], "'t' names 'u'"),
        ([step("tune", "base", "base")], "'base' is the name of 2 things"),
        ([step("tune", "lessons", "base")], "'lessons' is the name of 2 things"),
        ([step("tune", "x", "base"), step("sample", "x", "base")], "'x' is the name of 2 things"),
        ([step("tune", "exam", "base")], "'exam' is the name of a stage"),
        ([step("tune", "after-rl", "base")], "'after-rl': names that begin with before-"),
        ([step("tune", "seal-x", "base")], "belong to stages"),
        (
            [step("reinforce", "rl", "base", controls=["random"]), step("tune", "rl-random", "base")],
            "'rl-random' is the name of 2 things",
        ),
        ([step("tune", "a", "base", repeat=2), step("tune", "a-1", "base")], "'a-1' is the name of 2 things"),
        ([step("tune", "a", "base", repeat=2), step("tune", "b", "a")], r"name one of them (a-1), or set repeat = 2"),
        ([step("tune", "a", "base", repeat=2), step("tune", "b", "a", repeat=3)], "set repeat = 2"),
    ],
)
def test_names_that_do_not_fit_are_refused(steps: list[Any], message: str) -> None:
    (fault,) = faults_of(*steps)
    assert message in fault


def test_what_cannot_repeat_is_not_told_to() -> None:
    for kind in ("sample", "capture"):
        (fault,) = faults_of(step("tune", "a", "base", repeat=3), step(kind, "b", "a"))
        assert fault == "'b' names 'a', which stands for 3 models: name one of them (a-1)"


def test_all_faults_are_told_at_once() -> None:
    found = faults_of(
        step("tune", "a", "bas", learns=["lesons", "base"]),
        step("sample", "s", "lessons", on=["pol"]),
        step("distil", "d", "base", teacher="aa"),
    )
    assert [fault.split(",")[0] for fault in found] == [
        "'a' names 'bas'",
        "'a' names 'lesons'",
        "'a' names 'base'",
        "'s' names 'lessons'",
        "'s' names 'pol'",
        "'d' names 'aa'",
    ]
    twice = faults_of(step("tune", "base", "base"), step("tune", "exam", "base"), step("tune", "seal-me", "base"))
    assert len(twice) == 3


@pytest.mark.parametrize(
    ("steps", "circle"),
    [
        ([step("tune", "a", "a")], {"a"}),
        ([step("tune", "a", "b"), step("tune", "b", "a"), step("tune", "late", "a")], {"a", "b"}),
        ([step("sample", "s", "t"), step("tune", "t", "base", learns=["s"])], {"s", "t"}),
        ([step("tune", "t", "base", budget={"of": "u"}), step("tune", "u", "base", budget={"of": "t"})], {"t", "u"}),
        (
            [step("tune", "late", "c"), step("tune", "a", "c"), step("tune", "b", "a"), step("tune", "c", "b")],
            {"a", "b", "c"},
        ),
    ],
)
def test_a_circle_is_told_link_by_link(steps: list[Any], circle: set[str]) -> None:
    (fault,) = faults_of(*steps)
    chain = fault.removesuffix(": that is a circle").split(" needs ")
    assert (set(chain), chain[0], len(chain)) == (circle, chain[-1], len(circle) + 1)
    needs = {one.name: one.needs.made_of + one.needs.waits_for for one in steps}
    assert all(after in needs[before] for before, after in itertools.pairwise(chain))


def test_copies_have_an_end() -> None:
    """Each is a node of the plan: a number without end would be a plan without end."""
    assert len(graph(step("tune", "s", "base", repeat=100))) == 103
    with pytest.raises(ValueError, match="less than or equal to 100"):
        step("tune", "s", "base", repeat=123456789012)


def test_uses_are_those_of_what_is_held_said_and_followed() -> None:
    models = {"base": GivenModel(source="tiny:0"), "big": GivenModel(source="tiny:1")}
    nodes = graph(
        step("sample", "said", "big"),
        step("cut", "shape", "base"),
        step("cut", "blank", "base", start="random"),
        step("cut", "raced", "base", shape="race", calibrate=["said"]),
        step("capture", "signal", "big", learns=["said"]),
        step("tune", "tuned", "shape", learns=["said", "lessons"]),
        step("distil", "followed", "shape", teacher="big", learns=["lessons"], hidden={}),
        step("distil", "fresh", "blank", teacher="tuned", learns=["said"]),
        step("distil", "cached", "shape", signal="signal", learns=["said"]),
        step("distil", "across", "base", teacher="big", objective="across", learns=["lessons"]),
        step("reinforce", "rewarded", "tuned"),
        models=models,
    )
    found = {node.name: [tuple(use) for use in uses_of(nodes, node.name)] for node in nodes if node.makes_model}
    assert found == {
        "base": [],
        "big": [],
        "shape": [("base", ("weights",), False)],
        "blank": [],  # what was drawn and learnt nothing is nobody's
        "raced": [("base", ("weights",), False)],  # the shape that heals best is kept, as it was cut
        "tuned": [("shape", ("weights",), False), ("big", ("outputs",), True)],
        "followed": [("shape", ("weights",), False), ("big", ("logits", "hidden_states"), False)],
        "fresh": [("tuned", ("logits",), False), ("big", ("outputs",), True)],
        "cached": [("shape", ("weights",), False), ("big", ("logits",), True), ("big", ("outputs",), True)],
        "across": [("base", ("weights",), False), ("big", ("logits",), False)],
        "rewarded": [("tuned", ("weights",), False)],
    }
