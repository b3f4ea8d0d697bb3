from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finished_run import SilentWatcher

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline import plan_recipe, run_recipe
from spiritsafe.pipeline.plan.duties import duty_faults, duty_lines, planned_duties
from spiritsafe.pipeline.plan.known import forecast_of
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import Forecast
from spiritsafe.release import NOT_LEGAL_ADVICE

CHATS = '{"prompt": "What is number 1?"}\n{"prompt": "What is number 2?"}\n'


def recipe(folder: Path, teacher: dict[str, Any], **base: Any) -> Recipe:
    """A student of what a teacher answers, and a student of that student's distributions."""
    (folder / "chats.jsonl").write_text(CHATS, "utf-8")
    return recipe_of(
        {
            "name": "r",
            "models": {"far": teacher, "base": {"source": "tiny:0?layers=1", **base}},
            "data": {"chats": {"files": [str(folder / "chats.jsonl")]}},
            "steps": [
                {"kind": "sample", "name": "said", "from": "far", "on": ["chats"], "keep": "all"},
                {"kind": "tune", "name": "child", "from": "base", "learns": ["said"], "train": {"max_steps": 1}},
                {
                    "kind": "distil",
                    "name": "grandchild",
                    "from": "base",
                    "teacher": "child",
                    "learns": ["said"],
                    "train": {"max_steps": 1},
                },
            ],
        }
    )


def forecast(made: Recipe, tmp_path: Path) -> tuple[Forecast, list[str]]:
    found, _, faults = forecast_of(made, cache=tmp_path / "cache")
    return found, faults


OPENAI = {"endpoint": "https://api.openai.com/v1", "model": "gpt-4o"}


def test_a_closed_teacher_is_a_fault_before_anything_is_asked(tmp_path: Path) -> None:
    made = recipe(tmp_path, OPENAI)
    found, faults = forecast(made, tmp_path)
    assert faults == duty_faults(found)
    (fault,) = faults
    assert fault.startswith("child, grandchild: gpt-4o (outputs): ")
    assert "OpenAI Services Agreement, 3.3(e)" in fault
    assert "use Output to develop artificial intelligence models that compete" in fault
    assert "[models.far] licence_granted" in fault
    text, told, _ = plan_recipe(made, cache=tmp_path / "cache")
    assert "cannot run: 1 fault" in text
    assert {duty["kind"] for duty in told["duties"]["child"]["duties"]} >= {"blocked", "copy"}  # type: ignore[call-overload,index]
    with pytest.raises(RecipeError, match=r"OpenAI Services Agreement, 3\.3\(e\)"):
        run_recipe(made, "", root=tmp_path / "runs", cache=tmp_path / "cache", watcher=SilentWatcher())
    assert not list(tmp_path.glob("runs/*/stages/*-said/attempts"))


def test_who_has_permission_says_so_and_it_is_kept(tmp_path: Path) -> None:
    granted = "contract 7 of 1 May 2026, OpenAI"
    made = recipe(tmp_path, {**OPENAI, "licence_granted": granted})
    found, faults = forecast(made, tmp_path)
    assert faults == []
    for duties in planned_duties(found).values():
        assert [duty.text for duty in duties.of("granted")] == [granted]
    plain = recipe(tmp_path, OPENAI)
    assert "licence_granted" not in plain.to_json()["models"]["far"]  # older recipes keep their names
    assert plain.resolved() != made.resolved()


@pytest.mark.parametrize(
    ("teacher", "blocked"),
    [
        ({"endpoint": "http://127.0.0.1:9/v1", "model": "m", "licence": "llama2"}, True),
        ({"endpoint": "http://127.0.0.1:9/v1", "model": "anthropic/claude-opus-4.1"}, True),
        ({"endpoint": "https://api.anthropic.com/v1", "model": "m", "licence": "MIT"}, False),
        ({"endpoint": "http://127.0.0.1:9/v1", "model": "m"}, False),
    ],
)
def test_statement_address_and_name_decide(teacher: dict[str, Any], blocked: bool, tmp_path: Path) -> None:
    assert bool(forecast(recipe(tmp_path, teacher), tmp_path)[1]) == blocked


def test_the_plan_says_what_follows_for_whom(tmp_path: Path) -> None:
    teacher = {"endpoint": "http://127.0.0.1:9/v1", "model": "llama3.1:8b", "licence": "llama3.1"}
    found, faults = forecast(recipe(tmp_path, teacher, licence="gemma"), tmp_path)
    assert faults == []
    *lines, last = duty_lines(found)
    assert last == NOT_LEGAL_ADVICE
    (llama,) = [line for line in lines if line.startswith("child, grandchild: llama3.1:8b (outputs), Llama 3.1")]
    assert "name begins with “Llama”" in llama
    assert "Built with" not in llama  # of outputs no banner is asked
    (gemma,) = [line for line in lines if line.startswith("child: tiny-0") and "Gemma Terms of Use" in line]
    assert "passed on to users: Gemma Prohibited Use Policy" in gemma
    assert not any("Apache" in line for line in lines)  # the recipe says another licence


def test_nothing_made_nothing_asked(tmp_path: Path) -> None:
    table = {
        "name": "r",
        "models": {"base": {"source": "tiny:0"}},
        "data": {"sums": {"task": "arith:sums", "problems": 8}},
        "steps": [{"kind": "sample", "name": "said", "from": "base", "on": ["sums"]}],
    }
    assert duty_lines(forecast(recipe_of(table), tmp_path)[0]) == []
