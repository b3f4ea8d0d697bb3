from __future__ import annotations

from typing import Any

from spiritsafe.pipeline import load_recipe
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.summary.ladder import role_of, root_of, start_of, teachers_of

SUMS = "arith:sums?terms=2&digits=1-2"
SERVED = {"endpoint": "http://127.0.0.1:9/v1", "model": "r1", "licence": "MIT"}


def recipe(models: dict[str, Any], *steps: dict[str, Any]) -> Recipe:
    data = {"sums": {"task": SUMS, "problems": 8}}
    exams = [] if steps else [{"task": SUMS, "problems": 4}]
    return recipe_of({"name": "roles", "models": models, "data": data, "steps": list(steps), "exams": exams})


def roles(wanted: Recipe) -> dict[str, str]:
    return {node.name: role_of(wanted, node) for node in wanted.all_models}


def test_roles_of_the_packaged_quickstart() -> None:
    wanted, _ = load_recipe("quickstart", ())
    files = {"student-q8": "quantised", "student-q4": "quantised"}
    assert roles(wanted) == {"base": "base", "teacher": "teacher", "small": "cut", "student": "student", **files}
    assert {node.name: root_of(wanted, node.name) for node in wanted.all_models} == {
        "base": None, "teacher": "base", "small": "base", "student": "base", **dict.fromkeys(files, "base"),
    }  # fmt: skip
    assert start_of(wanted.node("student")) == "small"


def test_who_is_followed_through_a_captured_signal_is_the_teacher() -> None:
    wanted, _ = load_recipe("tiny", ())
    found = roles(wanted)
    assert (found["teacher"], found["rl"], found["rl-random"], found["student"]) == (
        "teacher", "reinforced", "control", "student",
    )  # fmt: skip
    assert wanted.node("student").recipe.needs.signals == ("signal",)
    assert teachers_of(wanted, wanted.node("student")) == ("teacher",)
    assert teachers_of(wanted, wanted.node("on-policy")) == ("teacher",)  # it goes on from its own teacher
    assert teachers_of(wanted, wanted.node("tuned")) == ()


def test_a_served_teacher_and_a_student_of_another_family() -> None:
    wanted = recipe(
        {"r1": SERVED, "llama": {"source": "tiny:0"}, "other": {"source": "tiny:1"}},
        {"kind": "sample", "name": "traces", "from": "r1", "on": ["sums"]},
        {"kind": "tune", "name": "student", "from": "llama", "learns": ["traces"]},
    )
    assert roles(wanted) == {"r1": "teacher", "llama": "base", "other": "given", "student": "tuned"}
    assert root_of(wanted, "student") == "llama"


def test_a_given_teacher_whose_cut_is_healed_is_the_teacher_and_the_root() -> None:
    wanted = recipe(
        {"big": {"source": "tiny:0"}},
        {"kind": "cut", "name": "small", "from": "big", "share": 0.85, "calibrate": ["sums"]},
        {"kind": "distil", "name": "student", "from": "small", "teacher": "big", "learns": ["sums"]},
    )
    assert roles(wanted) == {"big": "teacher", "small": "cut", "student": "student"}
    assert root_of(wanted, "student") == "big"


def test_students_of_two_roots_are_each_held_against_their_own() -> None:
    wanted = recipe(
        {"big": {"source": "tiny:0"}, "little": {"source": "tiny:1"}},
        {"kind": "tune", "name": "taught", "from": "big", "learns": ["sums"]},
        {"kind": "distil", "name": "student", "from": "little", "teacher": "taught", "learns": ["sums"]},
    )
    assert roles(wanted) == {"big": "base", "little": "base", "taught": "teacher", "student": "student"}
    assert (root_of(wanted, "taught"), root_of(wanted, "student")) == ("big", "little")


def test_models_that_nothing_is_made_of_are_just_given() -> None:
    assert roles(recipe({"a": {"source": "tiny:0"}, "b": {"source": "tiny:1"}})) == {"a": "given", "b": "given"}


def test_models_that_are_merged_are_no_teachers() -> None:
    wanted, _ = load_recipe("specialists", ())
    found = roles(wanted)
    assert {name for name, role in found.items() if role == "merged"} == {"mean", "elected", "thinned"}
    assert {name for name, role in found.items() if role == "routed"} == {"routed"}
    assert (found["base"], found["common"], found["adder"]) == ("base", "tuned", "teacher")  # of the pupil
    for name in ("mean", "elected", "thinned", "routed"):
        assert teachers_of(wanted, wanted.node(name)) == ()
        assert root_of(wanted, name) == "base"
    assert (start_of(wanted.node("mean")), start_of(wanted.node("elected"))) == ("adder", "common")
    assert start_of(wanted.node("routed")) == "adder"
    taught = recipe(
        {"a": {"source": "tiny:0"}, "b": {"source": "tiny:1"}},
        {"kind": "merge", "name": "both", "from": ["a", "b"], "method": "linear"},
        {"kind": "distil", "name": "student", "from": "a", "teacher": "both", "learns": ["sums"]},
    )
    assert roles(taught) == {"a": "base", "b": "given", "both": "teacher", "student": "student"}
