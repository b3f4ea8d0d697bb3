from __future__ import annotations

from pathlib import Path

import pytest
import templates_parts
from finished_run import make_context
from pipeline_parts import stage_at

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.records import Message
from spiritsafe.models import ChatFormat
from spiritsafe.pipeline import load_recipe
from spiritsafe.pipeline.recipe.template import TemplateRecipe
from spiritsafe.pipeline.stages.source import fetch_source

USER = Message(role="user", content="?")


def test_what_is_not_said_changes_no_recipe_and_no_runs_name() -> None:
    plain, _ = load_recipe("tiny")
    assert "date" not in plain.resolved()["recipe"]["source"]  # type: ignore[call-overload,index,operator]
    assert plain.source.to_json() == {"model": "tiny:0"}
    assert not plain.source.tells_template
    assert "template_kwargs" not in plain.students[0].to_json()


def test_it_is_written_in_toml_and_on_the_command_line() -> None:
    recipe, _ = load_recipe("tiny", ("source.date=2026-11-28", "source.template_kwargs.enable_thinking=false"))
    told = TemplateRecipe(date="2026-11-28", template_kwargs={"enable_thinking": False})
    assert recipe.source.told == told.told
    assert recipe.source.to_json() == {"model": "tiny:0", **told.to_json()}
    with pytest.raises(RecipeError, match=r"source\.date"):
        load_recipe("tiny", ("source.date=tomorrow",))
    assert load_recipe("tiny", ('source.date="2026-11-28"',))[0].source.date == "2026-11-28"


def test_a_student_has_options_where_it_has_a_source_of_its_own() -> None:
    with pytest.raises(RecipeError, match="has its teacher's"):
        load_recipe("tiny", ('students.0.date="2026-11-28"',))
    drop = {"ce_share": 0.0, "share": None}
    recipe, _ = load_recipe("tiny")
    first = {**recipe.students[0].to_json(), **drop, "source": "tiny:1", "objective": "traces", "signal": "live"}
    first["template_kwargs"] = {"enable_thinking": False}
    made = {**recipe.model_dump(mode="json", exclude={"students", "cache", "compare"})}
    made["steps"] = [step.to_json() for step in recipe.steps]
    assert type(recipe).model_validate({**made, "students": [first]}).students[0].told["template_kwargs"]
    with pytest.raises(ValueError, match="options that it was made with"):
        type(recipe).model_validate({**made, "students": [{**first, "source": "base"}]})


def test_the_source_stage_hands_on_a_model_that_carries_what_was_told(tmp_path: Path) -> None:
    model = templates_parts.harmony(tmp_path / "model")
    said = ('source.date="2026-11-28"', 'source.template_kwargs.reasoning_effort="low"')
    context = make_context(tmp_path / "run", f'source.model="{model}"', *said)
    result = fetch_source(context, stage_at(tmp_path / "stage"), context.watcher)
    shown = ChatFormat(Path(str(result["directory"]))).render([USER])
    assert "Current date: 2026-11-28\nReasoning: low" in shown
    plain = make_context(tmp_path / "plain", f'source.model="{model}"')
    other = fetch_source(plain, stage_at(tmp_path / "other"), plain.watcher)
    assert other["digest"] != result["digest"]


def test_an_option_that_the_template_does_not_read_is_refused_before_anything_else(tmp_path: Path) -> None:
    context = make_context(tmp_path, "source.template_kwargs.thinking=true")
    with pytest.raises(CompatibilityError, match="no option 'thinking'"):
        fetch_source(context, stage_at(tmp_path / "stage"), context.watcher)
