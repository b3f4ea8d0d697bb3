from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline import load_recipe, packaged_recipes
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe

LEAST: dict[str, Any] = {
    "name": "least",
    "models": {"base": {"source": "tiny:0"}},
    "data": {"lessons": {"task": "arith:sums", "problems": 8}},
    "steps": [{"kind": "tune", "name": "t", "from": "base", "learns": ["lessons"]}],
}
TUNE: dict[str, Any] = LEAST["steps"][0]


def refusal(**changes: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        recipe_of({**LEAST, **changes})
    assert caught.value.hint
    return caught.value


def of_tiny(name: str, *overrides: str) -> Any:
    recipe, _ = load_recipe("tiny", overrides)
    return recipe.node(name).recipe


def test_packaged_recipes_load_and_are_named_like_their_files() -> None:
    names = packaged_recipes()
    assert {"tiny", "quickstart"} <= set(names)
    for name, summary in names.items():
        recipe, _ = load_recipe(name)
        assert recipe.name == name
        assert summary


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_a_resolved_recipe_is_a_recipe(name: str) -> None:
    recipe, _ = load_recipe(name)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", ("exams.exam.problms=3",))
    assert "exams.0.problms" in caught.value.message
    assert "'problems'" in caught.value.hint


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("steps.small.shar=0.5", "'share'"),
        ("steps.teacher.train.learning_rat=1", "'learning_rate'"),
        ("steps.student.techer=1", "'teacher'"),
        ("stepz=1", "'steps'"),
        ("models.base.sorce=1", "'source'"),
        ("data.lessons.problms=1", "'problems'"),
        ("engine.max_bach=1", "'max_batch'"),
        ("exams.exam.sampling.temprature=1", "'temperature'"),
        ("steps.rl.config.loss.clip_hi=0.2", "'clip_high'"),
        ("defaults.tune.trian={}", "'train'"),
        ("defaults.tun={}", "'tune'"),
    ],
)
def test_unknown_keys_are_found_at_every_depth(override: str, where: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", (override,))
    assert f"Did you mean {where}?" in caught.value.hint


def test_overrides_change_the_name_of_the_run() -> None:
    before, _ = load_recipe("tiny")
    after, _ = load_recipe("tiny", ("exams.exam.problems=44",))
    assert after.exams[0].problems == 44
    assert digest(before.resolved()) != digest(after.resolved())


def test_steps_exams_and_data_are_named_on_the_command_line() -> None:
    assert of_tiny("student", "steps.student.ce_share=0.25").ce_share == 0.25
    assert of_tiny("student", "steps.7.ce_share=0.25").ce_share == 0.25
    assert of_tiny("lessons", "data.lessons.problems=5").problems == 5
    assert of_tiny("base", 'models.base.source="tiny:3"').source == "tiny:3"
    assert of_tiny("small", "defaults.cut.calibration=3").calibration == 3
    assert of_tiny("teacher", "steps.teacher.train.max_steps=3").train.max_steps == 3


@pytest.mark.parametrize(
    "override",
    [
        "exams",
        "=3",
        "steps.17.share=1",
        "steps.nothing.share=1",
        "steps.²=1",
        "steps.٣٣.name=x",
        "exams.exam.problems=1",
        "exams.other.problems=10",
        "steps.student.objective=gan",
        "steps.teacher.train.learning_rate=-1",
        "steps.teacher.name.first=x",
        "name.x.y=1",
        "steps=5",
        "defaults=5",
        "defaults.tune=5",
    ],
)
def test_impossible_overrides_are_refused(override: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", (override,))
    assert caught.value.hint


def test_a_recipe_may_extend_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "tiny"\nname = "mine"\n[data.lessons]\nproblems = 20\n[defaults.cut]\ncalibration = 2\n')
    recipe, text = load_recipe(str(path))
    tiny, _ = load_recipe("tiny")
    assert (recipe.name, recipe.node("lessons").recipe.problems) == ("mine", 20)  # type: ignore[attr-defined]
    assert recipe.node("small").recipe.calibration == 2  # type: ignore[attr-defined]
    assert recipe.exams == tiny.exams
    assert recipe.data["practice"] == tiny.data["practice"]
    assert "extends" in text


def test_steps_of_a_recipe_that_extends_another_replace_all_of_its(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "tiny"\n[[steps]]\nkind = "tune"\nname = "only"\nfrom = "base"\nlearns = ["lessons"]\n')
    recipe, _ = load_recipe(str(path))
    assert [step.name for step in recipe.steps] == ["only"]
    assert recipe.steps[0].train.learning_rate == 3e-3  # type: ignore[attr-defined]  # of tiny's defaults


def test_recipes_that_extend_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.toml"
    path.write_text(f'extends = "{path}"\n')
    with pytest.raises(RecipeError, match="circle"):
        load_recipe(str(path))


def test_defaults_lie_under_steps_of_their_kind_alone() -> None:
    other = {**TUNE, "name": "u", "train": {"max_steps": 7}}
    answers = {"kind": "sample", "name": "s", "from": "t", "on": ["lessons"]}
    train = {"learning_rate": 0.5, "max_steps": 3}
    recipe = recipe_of({**LEAST, "steps": [TUNE, other, answers], "defaults": {"tune": {"train": train, "repeat": 1}}})
    first, second, third = recipe.steps
    assert (first.train.learning_rate, first.train.max_steps) == (0.5, 3)  # type: ignore[attr-defined]
    assert (second.train.learning_rate, second.train.max_steps) == (0.5, 7)  # type: ignore[attr-defined]
    assert third == recipe_of({**LEAST, "steps": [TUNE, answers]}).steps[1]
    assert "defaults" not in recipe.to_json()


def test_defaults_that_could_be_of_nothing_are_refused_all_at_once() -> None:
    error = refusal(defaults={"tun": {}, "tune": {"lern": 1, "repaet": 2}, "cut": 5})
    for said in ("4 faults", "'defaults.tun'", "'defaults.tune.lern'", "Did you mean 'repeat'?", "defaults.cut is no"):
        assert said in error.message


def test_all_faults_are_told_in_one_error() -> None:
    error = refusal(
        steps=[
            {"kind": "tune", "nme": "a", "from": "base", "learns": ["lessons"]},
            {"kind": "tun", "name": "b"},
            {"kind": "cut", "name": "c", "from": "base", "share": 3, "quantisation": "x", "calibrate": ["lessons"]},
        ],
        exams=[{"task": "arith:sums", "problems": 0}],
    )
    assert error.message.startswith("6 faults in the recipe:\n")
    wanted = ["'steps.0.name' is missing", "Did you mean 'name'?", "steps.1: there is no step", "Did you mean 'tune'?"]
    for said in (*wanted, "steps.2.share", "steps.2.quantisation", "exams.0.problems"):
        assert said in error.message


def test_faults_of_names_are_told_in_one_error() -> None:
    error = refusal(
        steps=[
            {**TUNE, "from": "bse", "learns": ["lesons"]},
            {"kind": "sample", "name": "s", "from": "lessons", "on": ["t"]},
        ],
    )
    assert error.message.startswith("4 faults in the recipe:\n")
    for said in ("did you mean 'base'", "did you mean 'lessons'", "a model is wanted", "a data set is wanted"):
        assert said in error.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learns": ["Bad Name"]}, "steps.0.learns.0: String should match"),
        ({"learns": [["lessons"]]}, "steps.0.learns.0: Input should be a valid string"),
        ({"learns": {"lessons": 0}}, "steps.0.learns.lessons: Input should be greater"),
        ({"learns": []}, "steps.0.learns: name at least one set"),
        ({"learns": {}}, "steps.0.learns: name at least one set"),
        ({"learns": 3}, "steps.0.learns: Input should be a valid"),
        ({"kind": "distil", "teacher": 4}, "steps.0.teacher: Input should be a valid string"),
        ({"kind": "distil", "teacher": {"lessons": "B"}}, "steps.0.teacher.lessons: String should match"),
        ({"kind": "distill", "name": "d"}, "Did you mean 'distil'?"),
        ({"kind": []}, "no step of this kind"),
        ({"kind": {"a": 1}}, "no step of this kind"),
        ({"kind": None}, "no step of this kind"),
        ({"name": []}, "steps.0.name"),
        ({"train": 5}, "steps.0.train"),
    ],
)
def test_one_fault_is_told_once_and_where_it_is(changes: dict[str, Any], said: str) -> None:
    error = refusal(steps=[{**TUNE, **changes}])
    assert "faults" not in error.message
    assert said in error.diagnostics()


@pytest.mark.parametrize(
    "tables",
    [
        {"steps": {"a": 1}},
        {"steps": [1, "x", []]},
        {"models": [1]},
        {"models": {"base": 1}},
        {"models": {"Base X": {"source": "tiny:0"}}},
        {"data": {"lessons": []}},
        {"exams": {"task": "arith:sums"}},
        {"compare": [{}]},
        {"engine": 5},
        {"name": 5},
        {"steps": [{"kind": "cut", "name": "c", "from": "base", "share": 0.5}, {**TUNE, "from": "c", "learns": 5}]},
        {
            "steps": [
                {"kind": "cut", "name": "c", "from": "base", "share": 0.5},
                {**TUNE, "from": "c", "learns": [[{}]]},
            ]
        },
        {"steps": [{"kind": "cut", "name": {}, "from": [], "share": 0.5}, {**TUNE, "from": {}}]},
    ],
)
def test_tables_of_another_form_are_refused_in_words(tables: dict[str, Any]) -> None:
    assert "Traceback" not in refusal(**tables).message


def test_no_change_of_one_value_ends_in_anything_but_a_recipe_or_words() -> None:
    """Every place of a recipe with each kind of value in it."""
    rng = random.Random(5)
    recipe, _ = load_recipe("tiny")
    whole: dict[str, Any] = recipe.to_json()
    values: list[Any] = [None, 0, -1, 2.5, "", "x", "base", [], [[]], {}, {"a": {}}, [{}], True]

    def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path for key, one in inner for path in ((*at, key), *places(one, (*at, key)))]

    for path in rng.sample(places(whole), 150):
        changed: Any = recipe.to_json()
        target = changed
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = rng.choice(values)
        with contextlib.suppress(RecipeError):
            recipe_of(changed)


def test_missing_and_broken_recipes_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("no-such-recipe")
    assert "tiny" in caught.value.hint
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(str(broken))


@pytest.mark.timeout(60)
def test_a_recipe_that_is_no_text_or_has_no_end_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("a = " + "[" * 50_000)
    with pytest.raises(RecipeError, match="nested too deep"):
        load_recipe(str(tmp_path / "deep.toml"))
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe.toml", "zero.toml", "a\0b.toml"):
        with pytest.raises(RecipeError, match="There is no recipe"):
            load_recipe(str(tmp_path / name))
    with pytest.raises(RecipeError):
        load_recipe("tiny", ("seed=" + "[" * 50_000,))
