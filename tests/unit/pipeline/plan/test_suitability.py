from __future__ import annotations

import json
from pathlib import Path

import pytest
import templates_parts
from finished_run import SMALLER, SilentWatcher
from spiritsafe.pipeline.plan.suitability import check_models, foreign_models
from stranger_models import write_mixtral, write_stray_llama

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.models import default_cache, resolve_source
from spiritsafe.pipeline import load_recipe, plan_recipe, run_recipe
from spiritsafe.pipeline.recipe.schema import Recipe

TRAIN = {"learning_rate": 1e-3, "tokens_per_step": 2048, "micro_batch_tokens": 2048, "max_epochs": 1}
CACHED = {"name": "student", "source": "tiny:0", "problems": 16, "signal": "cached", "train": TRAIN}
ON_POLICY = {
    "name": "on-policy",
    "source": "base",
    "problems": 16,
    "objective": "jsd",
    "hidden": {"pairs": 1},
    "on_policy": {"prompts_per_round": 2, "steps_per_round": 1, "num_rounds": 2, "sampling": {"max_tokens": 8}},
    "train": {**TRAIN, "max_epochs": None, "max_steps": 2},
}


class Hearing(SilentWatcher):
    """Remembers warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        if kind == "warning":
            self.warnings.append(str(values["message"]))


def tiny_from(source: Path, *overrides: str, students: list[dict[str, object]] | None = None) -> Recipe:
    recipe, _ = load_recipe("tiny", (*SMALLER, f'source.model="{source}"', *overrides))
    if students is None:
        return recipe
    return Recipe.model_validate({**recipe.model_dump(exclude={"students"}), "students": students})


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixtral(tmp_path_factory.mktemp("mixtral"))


def test_what_needs_the_decoder_stops_plan_and_run_before_anything_else(mixtral: Path, tmp_path: Path) -> None:
    recipe = tiny_from(mixtral)
    with pytest.raises(RecipeError) as caught:
        plan_recipe(recipe, cache=default_cache())
    assert "student cannot be cut from teacher" in caught.value.message
    assert "on-policy cannot be cut from teacher" in caught.value.message
    assert "mixtral" in caught.value.message
    assert "`source` of its own" in caught.value.hint
    watcher = SilentWatcher()
    with pytest.raises(RecipeError, match="student cannot be cut"):
        run_recipe(recipe, "", root=tmp_path, cache=default_cache(), watcher=watcher)
    assert watcher.began == ["source"]


def test_adapters_are_refused_on_what_takes_none(mixtral: Path) -> None:
    recipe = tiny_from(mixtral, "steps.2.lora={ rank = 4 }", students=[CACHED])
    with pytest.raises(RecipeError, match="tuned cannot put adapters on base"):
        check_models(recipe, mixtral, cache=default_cache())


def test_a_student_with_other_tokens_than_its_teachers_stops_the_plan(tmp_path: Path) -> None:
    other = templates_parts.qwen3(tmp_path / "other")
    base = resolve_source("tiny:0", cache=default_cache())
    student = {"name": "other", "source": str(other), "problems": 16, "train": TRAIN}
    for objective in ("forward_kl", "jsd"):
        recipe = tiny_from(base, students=[CACHED, {**student, "objective": objective}])
        with pytest.raises(CompatibilityError, match="different vocabularies"):
            plan_recipe(recipe, cache=tmp_path / "cache")
        follows_a_step = tiny_from(base, students=[CACHED, {**student, "objective": objective, "teacher": "rl"}])
        with pytest.raises(CompatibilityError, match="different vocabularies"):
            check_models(follows_a_step, base, cache=tmp_path / "cache")
    for fine in ({"objective": "traces"}, {"objective": "across"}, {"objective": "jsd", "source": "tiny:1"}):
        check_models(tiny_from(base, students=[CACHED, {**student, **fine}]), base, cache=tmp_path / "cache")


def test_what_is_made_of_a_model_runs_as_it_does(mixtral: Path) -> None:
    recipe = tiny_from(mixtral, students=[CACHED, ON_POLICY])
    found = foreign_models(recipe, {"base"})
    assert found == {"base", "teacher", "rl", "rl-random", "rl-format", "rl-rft", "tuned", "on-policy"}
    assert foreign_models(recipe, {"tiny:0"}) == {"tiny:0", "student"}
    assert foreign_models(recipe, set()) == set()


def test_a_students_own_source_is_told_by_its_name(mixtral: Path) -> None:
    own = {"name": "student", "source": str(mixtral), "problems": 16, "train": TRAIN}
    recipe, _ = load_recipe("tiny", SMALLER)
    recipe = Recipe.model_validate({**recipe.model_dump(exclude={"students", "cache"}), "students": [own]})
    base = resolve_source("tiny:0", cache=default_cache())
    (note,) = check_models(recipe, base, cache=default_cache())
    assert note.startswith(f"{mixtral}: ")
    assert "mixtral" in note
    text = plan_recipe(recipe, cache=default_cache())
    assert "transformers' own code" in text
    assert "activations not predicted" in text
    assert "not predicted:" not in text


def test_the_plan_of_a_mixture_is_whole_and_says_what_it_leaves_out(mixtral: Path) -> None:
    text = plan_recipe(tiny_from(mixtral, students=[CACHED, ON_POLICY]), cache=default_cache())
    for word in ("transformers' own code", "activations not predicted", "disk", "total", "capture"):
        assert word in text
    assert "not predicted:" not in text


def test_a_stray_key_is_told_and_changes_nothing_of_the_plan(tmp_path: Path) -> None:
    plain = tiny_from(write_stray_llama(tmp_path / "unsloth"))
    assert check_models(plain, tmp_path / "unsloth", cache=default_cache()) == []
    odd = tiny_from(write_stray_llama(tmp_path / "odd", my_note="mine"))
    (note,) = check_models(odd, tmp_path / "odd", cache=default_cache())
    assert "my_note" in note
    assert "my_note" in plan_recipe(odd, cache=default_cache())


@pytest.mark.slow
def test_a_mixture_of_experts_goes_through_every_stage(mixtral: Path, tmp_path: Path) -> None:
    recipe = tiny_from(
        mixtral,
        "teach.problems=16",
        "steps.0.controls=[]",
        "steps.0.config.loss={ method = 'dapo', kl_weight = 0.01 }",
        "exam.problems=8",
        "exam.sampling.max_tokens=4",
        students=[CACHED, ON_POLICY],
    )
    watcher = Hearing()
    outcome = run_recipe(recipe, "", root=tmp_path, cache=default_cache(), watcher=watcher)
    made = ["teach", "sample", "capture", "before-rl", "rl", "after-rl", "harvest", "tuned", "student", "on-policy"]
    assert [name for name in watcher.began if name in made] == made
    assert outcome.report.is_file()
    assert any("mixtral" in warning for warning in watcher.warnings)
    report = json.loads(next(outcome.directory.glob("stages/*-report/report.json")).read_text("utf-8"))
    rows = {row["what"]: row for row in report["memory"]}
    assert all(row["predicted_bytes"] for row in rows.values())
    assert "activations" in rows["teach"]["note"]
    teach = json.loads(next(outcome.directory.glob("stages/*-teach/done.json")).read_text("utf-8"))["result"]
    idle = 2 * 2 * 3 * 64 * 96  # layers × experts that are not chosen × their three matrices
    base = json.loads(next(outcome.directory.glob("stages/*-source/lineage.json")).read_text("utf-8"))
    assert teach["compute"]["flops"] == 6 * teach["tokens"] * (base["num_parameters"] - idle)
