from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.pipeline.recipe.graph import check_comparison, history_of, models_of, nodes_of, stage_of, start_of
from spiritsafe.pipeline.recipe.students import StudentRecipe
from spiritsafe.pipeline.steps.reinforce import ReinforceStep
from spiritsafe.pipeline.steps.sample import SampleStep
from spiritsafe.pipeline.steps.tune import TuneStep

TRAIN: dict[str, Any] = {"learning_rate": 1e-3, "tokens_per_step": 64, "micro_batch_tokens": 64}
CONFIG: dict[str, Any] = {
    "prompts_per_round": 4,
    "group_size": 2,
    "num_rounds": 3,
    "loss": {"method": "dapo"},
    "reward": {"overlong_buffer": 8},
}


def rl(name: str, start: str, **more: Any) -> ReinforceStep:
    given = {"name": name, "from": start, "problems": 8, "config": CONFIG, "train": TRAIN | {"max_steps": 3}}
    return ReinforceStep.model_validate(given | more)


def sample(name: str, start: str) -> SampleStep:
    return SampleStep.model_validate({"name": name, "from": start, "problems": 8, "sampling": {}})


def tune(name: str, start: str, *traces: str, **more: Any) -> TuneStep:
    given = {"name": name, "from": start, "traces": dict.fromkeys(traces, 8), "train": TRAIN | {"max_epochs": 1}}
    return TuneStep.model_validate(given | more)


def student(name: str, **more: Any) -> StudentRecipe:
    given: dict[str, Any] = {"name": name, "problems": 8, "traces": ["worked"], "train": TRAIN | {"max_epochs": 1}}
    return StudentRecipe.model_validate(given | ({} if "source" in more else {"share": 0.5}) | more)


STAIRCASE = [
    rl("rl", "teacher"),
    sample("harvest", "rl"),
    tune("tuned", "base", "harvest", "worked"),
    rl("all", "tuned"),
]


def test_the_staircase_of_r1_is_in_order() -> None:
    nodes = nodes_of([], STAIRCASE)
    assert [node.name for node in nodes] == ["rl", "harvest", "tuned", "all"]
    assert [node.made_of for node in nodes] == [("teacher",), ("rl",), ("base", "harvest", "worked"), ("tuned",)]
    assert [node.makes_model for node in nodes] == [True, False, True, True]
    assert history_of(nodes, "all") == ["base", "teacher", "rl", "harvest", "worked", "tuned", "all"]
    assert history_of(nodes, "sampled") == ["base", "teacher", "sampled"]


def test_students_come_last_unless_a_step_goes_on_from_one() -> None:
    steps = [rl("more", "small"), rl("rl", "teacher")]
    nodes = nodes_of([student("late"), student("small", teacher="rl")], steps)
    assert [node.name for node in nodes] == ["rl", "late", "small", "more"]


def test_controls_follow_each_seed_and_differ_in_one_thing() -> None:
    nodes = nodes_of([], [rl("rl", "teacher", repeat=2, controls=["random", "format", "rft"])])
    assert [node.name for node in nodes][:5] == ["rl-1", "rl-1-random", "rl-1-format", "rl-1-rft", "rl-2"]
    assert {node.entry for node in nodes} == {"rl"}
    real, *controls = [node.recipe for node in nodes[:4]]
    assert isinstance(real, ReinforceStep)
    for control, node in zip(controls, nodes[1:4], strict=True):
        assert isinstance(control, ReinforceStep)
        assert (node.control, node.twin) == (node.name.removeprefix("rl-1-"), "rl-1")
        changed = {key for key, value in control.config.to_json().items() if value != real.config.to_json()[key]}
        assert changed <= {"reward", "loss"}
        assert (control.train, control.problems, control.start) == (real.train, real.problems, real.start)
        assert (control.controls, control.repeat) == ((), 1)
    random, formal, rft = (control.config for control in controls if isinstance(control, ReinforceStep))
    assert (random.reward.kind, formal.reward.kind, rft.reward.kind) == ("random", "format", "verifier")
    assert formal.reward.overlong_buffer == 8
    assert (random.loss.method, formal.loss.method, rft.loss.method) == ("dapo", "dapo", "rft")


def test_seeds_go_on_from_seeds_of_their_number() -> None:
    students = [student("small", source="tiny:1", repeat=3)]
    steps = [rl("more", "small", repeat=3), rl("one", "small-2"), tune("t", "base", "worked", budget={"of": "one"})]
    nodes = {node.name: node for node in nodes_of(students, steps)}
    assert [nodes[f"more-{n}"].made_of for n in (1, 2, 3)] == [("small-1",), ("small-2",), ("small-3",)]
    assert nodes["one"].made_of == ("small-2",)
    assert nodes["t"].waits_for == ("one",)
    assert nodes["t"].needs == ("base", "worked", "one")


def test_a_source_that_is_a_name_of_the_run_is_that_model() -> None:
    nodes = nodes_of([student("a", source="tiny:1"), student("b", source="rl", teacher="a")], [rl("rl", "a")])
    assert [(node.name, node.made_of) for node in nodes] == [
        ("a", ("teacher", "worked")),
        ("rl", ("a",)),
        ("b", ("a", "worked", "rl")),
    ]


def test_a_student_that_follows_no_teacher_is_not_made_of_one() -> None:
    own = student("own", source="tiny:1", objective="traces")
    (node,) = nodes_of([own], [])
    assert node.made_of == ("worked",)
    assert node.needs == ("worked", "teacher")  # its chat format is held against the teacher's
    assert history_of([node], "own") == ["worked", "own"]
    assert start_of(node) is None


def test_a_model_goes_on_from_weights() -> None:
    nodes = nodes_of([student("a"), student("b", source="rl", objective="traces")], STAIRCASE)
    starts = {node.name: start_of(node) for node in nodes}
    assert starts == {"rl": "teacher", "harvest": None, "tuned": "base", "all": "tuned", "a": "teacher", "b": "rl"}


def test_comparisons_name_as_many_models_on_either_side() -> None:
    nodes = nodes_of(
        [student("s", repeat=2)], [rl("rl", "teacher", repeat=2, controls=["random"]), sample("harvest", "rl-1")]
    )
    assert models_of(nodes, "rl") == ["rl-1", "rl-2"]
    assert models_of(nodes, "base") == ["base"]
    check_comparison(nodes, "rl", "s")
    check_comparison(nodes, "rl", "teacher")
    for pair, message in (
        (("rl", "ss"), "did you mean 's'"),
        (("harvest", "s"), "'harvest', which is no model"),
        (("rl", "rl-1"), "did you mean 'rl'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_comparison(nodes, *pair)
    more = nodes_of([student("s", repeat=3)], [rl("rl", "teacher", repeat=2)])
    with pytest.raises(ValueError, match="stands for 2 models"):
        check_comparison(more, "rl", "s")


@pytest.mark.parametrize(
    ("students", "steps", "message"),
    [
        ([], [rl("rl", "teachr")], "did you mean 'teacher'"),
        ([student("s", teacher="ghost")], [rl("rl", "teacher")], "'s' names 'ghost', a model that nothing makes"),
        ([], [tune("t", "base", "harvst"), sample("harvest", "teacher")], "did you mean 'harvest'"),
        ([], [sample("s", "teacher"), rl("rl", "s")], "'s', which is no model"),
        ([], [rl("rl", "teacher"), tune("t", "base", "rl")], "'rl', which is no set of answers"),
        ([], [rl("b", "a"), rl("a", "teacher")], "listed after it"),
        ([student("s", teacher="rl")], [rl("rl", "s")], "each is made of another"),
        ([student("x")], [rl("x", "teacher")], "names of their own"),
        ([], [rl("worked", "teacher")], "names of their own"),
        ([], [rl("after-rl", "teacher")], "belong to stages"),
        ([], [rl("rl", "teacher", controls=["random"]), rl("rl-random", "teacher")], "names of their own"),
        ([], [rl("rl", "teacher", repeat=2), rl("on", "rl")], "stands for 2 models"),
        ([], [rl("rl", "teacher", repeat=2), rl("on", "rl", repeat=3)], "repeat = 2"),
        ([], [tune("t", "base", "worked", budget={"of": "u"})], "'t' names 'u'"),
    ],
)
def test_names_that_do_not_fit_are_refused(students: list[Any], steps: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nodes_of(students, steps)


def test_stages_have_the_names_of_what_they_make() -> None:
    made = ("base", "teacher", "worked", "sampled", "rl")
    assert [stage_of(name) for name in made] == ["source", "teach", "traces", "sample", "rl"]
