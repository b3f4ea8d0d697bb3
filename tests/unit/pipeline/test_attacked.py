"""What a user may bring and do to a whole recipe: odd files, odd names, tables in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finished_run import SilentWatcher

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import RecipeError, TaskError
from spiritsafe.core.files.digests import digest_file
from spiritsafe.models import default_cache
from spiritsafe.pipeline.plan.costs import stage_costs
from spiritsafe.pipeline.plan.known import forecast_of
from spiritsafe.pipeline.recipe.load import load_recipe, recipe_of
from spiritsafe.pipeline.run.run import run_recipe
from spiritsafe.tasks import build_task

TUNE: dict[str, Any] = {"kind": "tune", "name": "t", "from": "base", "learns": ["sums"], "train": {"max_steps": 1}}
LEAST: dict[str, Any] = {
    "name": "least",
    "models": {"base": {"source": "tiny:0"}, "flat": {"source": "tiny:1?layers=1"}},
    "data": {"sums": {"task": "arith:sums?terms=2&digits=1-2", "problems": 8}},
}
DISTIL: dict[str, Any] = {"kind": "distil", "name": "d", "from": "base", "teacher": "base", "learns": ["sums"]}
LEAST_TEXT = """name = "least"
[models.base]
source = "tiny:0"
[data.sums]
task = "arith:sums"
problems = 8
[[steps]]
kind = "tune"
name = "t"
from = "base"
learns = ["sums"]
"""


def refusal(*steps: dict[str, Any], **tables: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_of({**LEAST, **tables, "steps": list(steps)})
    return caught.value.diagnostics()


def weights(root: Path, *steps: dict[str, Any]) -> dict[str, str]:
    """Digests of what a run's models weigh, by their names."""
    recipe = recipe_of({**LEAST, "steps": list(steps)})
    outcome = run_recipe(recipe, "", root=root, cache=default_cache(), watcher=SilentWatcher())
    return {name: digest_file(place / "model.safetensors") for name, place in outcome.models.items()}


def test_a_model_is_the_same_wherever_its_table_stands(tmp_path: Path) -> None:
    """Seeds are made of names: a step that is put in front of another changes nothing of it."""
    mixed = {**TUNE, "train": {"max_steps": 2, "tokens_per_step": 256}}
    race = {
        "kind": "cut", "name": "r", "from": "base", "share": 0.9, "shape": "race", "candidates": 2, "race_steps": 1,
        "calibrate": ["sums"],
    }  # fmt: skip
    alone = weights(tmp_path / "alone", mixed, race)
    behind = weights(tmp_path / "behind", {**TUNE, "name": "a"}, race, mixed)
    assert behind["t"] == alone["t"]
    assert behind["r"] == alone["r"]


def test_names_that_are_no_names_of_folders_are_refused() -> None:
    long = "a" * 101
    assert "steps.0.name" in refusal({**TUNE, "name": long})
    assert "name: String should match" in refusal(TUNE, name=long)
    recipe_of({**LEAST, "steps": [{**TUNE, "name": long[:100]}]})


def test_a_set_is_named_once() -> None:
    sample = {"kind": "sample", "name": "s", "from": "base", "on": ["sums", "sums"]}
    cut = {"kind": "cut", "name": "c", "from": "base", "share": 0.9, "calibrate": ["sums", "sums"]}
    told = refusal({**TUNE, "learns": ["sums", "sums"]}, sample, cut)
    for where in ("steps.0.learns", "steps.1.on", "steps.2.calibrate"):
        assert f"{where}: sums: named twice" in told


def test_a_source_that_says_nothing_is_not_the_folder_that_one_stands_in() -> None:
    assert "models.base.source" in refusal(TUNE, models={"base": {"source": ""}})


def test_the_place_of_a_fault_is_written_as_a_recipe_writes_it() -> None:
    assert refusal({**DISTIL, "signal": "s"}).startswith("steps.0: give teacher")  # not steps.0.distil
    assert "steps: Input should be a valid list" in refusal_of_steps("x")
    assert "models.base: Input should be a valid table" in refusal(TUNE, models={"base": "tiny:0"})
    wrong = {"kind": "measure", "name": "m", "from": ["base"], "on": ["sums"], "what": ["foo"]}
    assert "faults" not in refusal(wrong)  # a list whose one entry is wrong is not too short as well
    served = {"endpoint": "not a url", "model": "m"}
    assert ".." not in refusal(TUNE, models={"base": served})


def refusal_of_steps(steps: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_of({**LEAST, "steps": steps})
    return caught.value.diagnostics()


def test_a_mark_at_the_beginning_of_a_file_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST_TEXT.replace("\n", "\r\n").encode())
    assert load_recipe(str(path))[0].name == "least"


def test_a_file_in_another_encoding_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes('summary = "é"\n'.encode("latin-1") + LEAST_TEXT.encode())
    with pytest.raises(RecipeError, match="is not UTF-8"):
        load_recipe(str(path))


@pytest.mark.parametrize(("start", "teacher"), [("flat", "base"), ("base", "flat")])
def test_hidden_states_of_a_single_layer_are_refused_in_the_plan(start: str, teacher: str) -> None:
    step = {**DISTIL, "from": start, "teacher": teacher, "hidden": {}}
    *_, faults = forecast_of(recipe_of({**LEAST, "steps": [step]}), cache=default_cache())
    assert faults == ["d: flat has one layer alone, so no hidden state is matched: leave hidden out"]


def test_an_import_that_makes_no_task_is_told_so() -> None:
    with pytest.raises(TaskError, match="not a Task"):
        build_task("os:path")


def test_nothing_of_a_recipe_hangs_on_how_its_tables_are_ordered() -> None:
    turned = {key: LEAST[key] for key in reversed(LEAST)}
    assert digest(recipe_of({**turned, "steps": [TUNE]}).identity()) == digest(
        recipe_of({**LEAST, "steps": [TUNE]}).identity()
    )


def test_a_plan_takes_what_a_signal_costs_from_a_budget() -> None:
    """As the run does: equal compute counts the teacher's reading, whoever reads and whenever."""
    capture = {"kind": "capture", "name": "sig", "from": "base", "learns": ["sums"]}
    rival = {**TUNE, "name": "rival", "train": {"max_epochs": 4}}
    train = {"max_epochs": 1000}
    live = {**DISTIL, "name": "live", "budget": {"of": "rival"}, "train": train}
    cached = {**live, "name": "cached", "signal": "sig", "teacher": None}
    forecast, _, faults = forecast_of(
        recipe_of({**LEAST, "steps": [capture, rival, live, cached]}), cache=default_cache()
    )
    assert not faults
    tokens = {cost.name: cost.trained_tokens for cost in stage_costs(forecast)}
    # 4 epochs at 6 operations a parameter and token: 8 with a teacher that reads along, 6 after one reading of 2
    epoch = tokens["rival"] / 4
    assert tokens["live"] == pytest.approx(24 / 8 * epoch, rel=0.02)
    assert tokens["cached"] == pytest.approx((24 - 2) / 6 * epoch, rel=0.02)


@pytest.mark.parametrize("name", ["tiny", "r1-tiny", "r1-distil", "rl-cpu", "distil-vs-rl"])
def test_a_packaged_recipe_that_needs_nothing_from_elsewhere_has_no_fault(name: str) -> None:
    *_, faults = forecast_of(load_recipe(name)[0], cache=default_cache())
    assert faults == []
