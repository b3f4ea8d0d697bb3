from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline.recipe.load import load_recipe, recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe

SUMS = "arith:sums?terms=2&digits=1-2"
MODELS: dict[str, Any] = {"base": {"source": "tiny:0"}}
SERVED: dict[str, Any] = {"teacher": {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}}
DATA: dict[str, Any] = {"lessons": {"task": SUMS, "problems": 8}}
TUNE: dict[str, Any] = {"kind": "tune", "name": "t", "from": "base", "learns": ["lessons"]}
CUT: dict[str, Any] = {"kind": "cut", "name": "c", "from": "t", "share": 0.5, "calibrate": ["lessons"]}
EXAM: dict[str, Any] = {"task": SUMS, "problems": 4}


def make(**tables: Any) -> Recipe:
    return recipe_of({"name": "r", "models": MODELS, "data": DATA, **tables})


def refused(**tables: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        make(**tables)
    return caught.value.message


def test_one_step_alone_is_a_recipe() -> None:
    recipe = make(steps=[TUNE])
    assert ([node.name for node in recipe.nodes], recipe.exams) == (["base", "lessons", "t"], ())
    assert [node.name for node in recipe.made] == ["t"]
    assert recipe.confidence == 0.95


def test_one_exam_alone_is_a_recipe_and_given_models_sit_it() -> None:
    recipe = recipe_of({"name": "r", "models": {**MODELS, "other": {"source": "tiny:1"}}, "exams": [EXAM]})
    assert recipe.made == ()
    assert recipe.examinees(recipe.exams[0]) == ["base", "other"]


def test_nothing_to_do_is_no_recipe() -> None:
    assert "nothing is to be done" in refused()
    assert "nothing is to be done" in refused(steps=[], exams=[])


def test_every_model_sits_but_cuts_that_are_healed_and_endpoints() -> None:
    heal = {"kind": "distil", "name": "s", "from": "c", "teacher": "t", "learns": ["lessons"]}
    steps = [
        TUNE,
        CUT,
        {**CUT, "name": "raw"},
        heal,
        {"kind": "sample", "name": "a", "from": "teacher", "on": ["lessons"]},
    ]
    recipe = make(models={**MODELS, **SERVED}, steps=steps, exams=[EXAM])
    assert recipe.examinees(recipe.exams[0]) == ["base", "t", "raw", "s"]
    named = make(models={**MODELS, **SERVED}, steps=steps, exams=[{**EXAM, "sits": ["s", "c", "teacher"]}])
    assert named.examinees(named.exams[0]) == ["teacher", "c", "s"]  # in order of making


def test_a_name_stands_for_all_its_repetitions_and_no_control() -> None:
    config = {"prompts_per_round": 2, "group_size": 2, "num_rounds": 1, "loss": {"method": "dapo"}}
    learn = {"kind": "reinforce", "name": "rl", "from": "base", "on": ["lessons"], "config": config, "repeat": 2,
             "controls": ["random"]}  # fmt: skip
    for sits, wanted in ((["rl"], ["rl-1", "rl-2"]), (["rl-2-random", "base"], ["base", "rl-2-random"])):
        recipe = make(steps=[learn], exams=[{**EXAM, "sits": sits}])
        assert recipe.examinees(recipe.exams[0]) == wanted


def test_several_exams_have_names_and_stages_of_their_own() -> None:
    recipe = make(steps=[TUNE], exams=[EXAM, {**EXAM, "name": "long", "task": "arith:sums?terms=3", "sits": ["t"]}])
    assert [exam.stage for exam in recipe.exams] == ["exam", "exam-long"]
    assert [exam.seal_stage for exam in recipe.exams] == ["seal", "seal-long"]
    assert [recipe.examinees(exam) for exam in recipe.exams] == [["base", "t"], ["t"]]
    assert "'exam' is the name of several exams" in refused(steps=[TUNE], exams=[EXAM, EXAM])


@pytest.mark.parametrize(
    ("exam", "said"),
    [
        ({"sits": ["bse"]}, "exam 'exam': sits names 'bse', which nothing is called: did you mean 'base'?"),
        ({"sits": ["lessons"]}, "exam 'exam': sits names 'lessons', which is a data set: a model is wanted there"),
        ({"sits": []}, "exam 'exam': nobody sits it"),
        ({"name": "final", "sits": ["tt"]}, "exam 'final': sits names 'tt'"),
        ({"problems": 1}, "exams.0.problems"),
        ({"task": None}, "exams.0.task"),
    ],
)
def test_who_cannot_sit_is_told(exam: dict[str, Any], said: str) -> None:
    assert said in refused(steps=[TUNE], exams=[{**EXAM, **exam}])


def test_an_exam_that_only_an_endpoint_could_sit_must_name_it() -> None:
    with pytest.raises(RecipeError, match="nobody sits it"):
        recipe_of({"name": "r", "models": SERVED, "exams": [EXAM]})
    recipe = recipe_of({"name": "r", "models": SERVED, "exams": [{**EXAM, "sits": ["teacher"]}]})
    assert recipe.examinees(recipe.exams[0]) == ["teacher"]


def test_what_an_exam_would_not_do_is_refused() -> None:
    plain = make(exams=[{**EXAM, "sampling": {"temperature": 0.5, "max_tokens": 9}}]).exams[0].sampling
    assert (plain.temperature, plain.max_tokens) == (0.5, 9)
    for more in ({"stop": ["\n"]}, {"top_p": 0.9}, {"top_k": 3, "temperature": 1.0}):
        assert f"{next(iter(more))}: no effect on an exam" in refused(exams=[{**EXAM, "sampling": more}])
    assert make(exams=[{**EXAM, "sampling": {"stop": [], "top_p": 1.0}}]).exams  # what changes nothing may be said


def test_a_comparison_names_models_that_sit_an_exam() -> None:
    recipe = make(steps=[TUNE], exams=[EXAM], compare=[{"first": "t", "second": "base"}])
    assert [(pair.first, pair.second) for pair in recipe.compare] == [("t", "base")]
    assert "did you mean 'base'" in refused(steps=[TUNE], exams=[EXAM], compare=[{"first": "bsae", "second": "t"}])
    assert "add [[exams]]" in refused(steps=[TUNE], compare=[{"first": "t", "second": "base"}])


def test_the_order_of_tables_changes_no_node() -> None:
    steps = [CUT, {**TUNE, "name": "u", "from": "c"}, TUNE]
    one, other = make(steps=steps), make(steps=steps[::-1])
    assert [node.name for node in one.made] == [node.name for node in other.made] == ["t", "c", "u"]
    assert {node.name: node.recipe for node in one.nodes} == {node.name: node.recipe for node in other.nodes}


def test_the_tiny_recipe_has_one_of_everything() -> None:
    recipe, _ = load_recipe("tiny")
    assert [node.name for node in recipe.made] == [
        *("teacher", "sampled", "rl", "rl-random", "rl-format", "rl-rft", "harvest", "tuned", "signal", "small"),
        *("student", "on-policy"),
    ]
    sets = {"lessons", "practice", "review", "pool", "field", "sampled", "harvest", "signal"}
    assert [node.name for node in recipe.all_models] == [n.name for n in recipe.nodes if n.name not in sets]


@pytest.mark.parametrize("name", ["r1", "r1-tiny"])
def test_the_staircase_is_r1s(name: str) -> None:
    """Cold start, reinforcement, rejection sampling, the base on what was kept, reinforcement over all tasks."""
    recipe, _ = load_recipe(name)
    made = [node for node in recipe.made if node.control is None]
    assert [(node.name, node.made_of) for node in made] == [
        ("teacher", ("base", "lessons")),
        ("reasoner", ("teacher", "narrow")),
        ("harvest", ("reasoner", "field")),
        ("tuned", ("base", "harvest", "worked")),
        ("final", ("tuned", "wide")),
    ]
    tasks = {key: recipe.data[key].spec() for key in ("narrow", "wide", "lessons")}  # type: ignore[attr-defined]
    assert tasks["narrow"] != tasks["wide"] == tasks["lessons"] == recipe.exams[0].task


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (
            """
name = "r1-distil"
[models.teacher]
endpoint = "http://gpu-box:8000/v1"
model = "deepseek-r1"
licence = "MIT"
[models.llama]
source = "hf:meta-llama/Llama-3.2-1B-Instruct"
[data.maths]
task = "gsm8k"
problems = 2000
[data.chats]
files = ["chats.jsonl"]
[[steps]]
kind = "sample"
name = "traces"
from = "teacher"
on = ["maths", "chats"]
num_samples = 4
keep = "verified"
[[steps]]
kind = "tune"
name = "student"
from = "llama"
learns = ["traces"]
lora = { rank = 16 }
[[exams]]
task = "gsm8k"
problems = 400
sits = ["llama", "student"]
""",
            {"traces": ("teacher", "maths", "chats"), "student": ("llama", "traces")},
        ),
        (
            """
name = "specialists"
[models.base]
source = "hf:Qwen/Qwen3-0.6B"
[data.python]
task = "gym:chain_sum"
problems = 1000
[data.fortran]
task = "gym:countdown"
problems = 400
[[steps]]
kind = "distil"
name = "generalist"
from = "base"
teacher = { python = "py", fortran = "f90" }
learns = ["python", "fortran"]
[[steps]]
kind = "tune"
name = "py"
from = "base"
learns = ["python"]
[[steps]]
kind = "tune"
name = "f90"
from = "base"
learns = ["fortran"]
""",
            {"py": ("base", "python"), "f90": ("base", "fortran"),
             "generalist": ("base", "py", "f90", "python", "fortran")},
        ),
    ],
    ids=["r1-distil", "specialists"],
)  # fmt: skip
def test_the_recipes_of_the_design_are_recipes(tmp_path: Path, text: str, made: dict[str, tuple[str, ...]]) -> None:
    (tmp_path / "mine.toml").write_text(text)
    recipe, _ = load_recipe(str(tmp_path / "mine.toml"))
    assert {node.name: node.made_of for node in recipe.made} == made
