from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import templates_parts
from finished_run import make_context
from pipeline_parts import stage_at

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.records import Message
from spiritsafe.models import ChatFormat
from spiritsafe.pipeline import load_recipe
from spiritsafe.pipeline.recipe.given import TemplateRecipe
from spiritsafe.pipeline.stages.source import fetch_model, given_of

USER = Message(role="user", content="?")


def fetched(root: Path, *overrides: str) -> dict[str, Any]:
    context = make_context(root, *overrides)
    given = given_of(context, "base")
    assert given is not None
    return dict(fetch_model(given, context, stage_at(root / "stage"), context.watcher))


def test_what_is_not_said_changes_no_recipe_and_no_runs_name() -> None:
    plain, _ = load_recipe("tiny")
    told = plain.to_json()["models"]["base"]  # type: ignore[call-overload,index]
    assert not {"date", "template_kwargs"} & set(told)
    base = plain.models["base"]
    assert isinstance(base, TemplateRecipe)
    assert not base.tells_template


def test_it_is_written_in_toml_and_on_the_command_line() -> None:
    said = ("models.base.date=2026-11-28", "models.base.template_kwargs.enable_thinking=false")
    told = TemplateRecipe(date="2026-11-28", template_kwargs={"enable_thinking": False})
    base = load_recipe("tiny", said)[0].models["base"]
    assert isinstance(base, TemplateRecipe)
    assert base.told.items() >= told.told.items()
    assert base.to_json().items() >= told.to_json().items()
    with pytest.raises(RecipeError, match=r"models\.base\.date"):
        load_recipe("tiny", ("models.base.date=tomorrow",))
    again = load_recipe("tiny", ('models.base.date="2026-11-28"',))[0].models["base"]
    assert again.told["date"] == "2026-11-28"  # type: ignore[attr-defined]


def test_a_model_that_is_handed_on_carries_what_was_told(tmp_path: Path) -> None:
    model = templates_parts.harmony(tmp_path / "model")
    said = ('models.base.date="2026-11-28"', 'models.base.template_kwargs.reasoning_effort="low"')
    result = fetched(tmp_path / "run", f'models.base.source="{model}"', *said)
    shown = ChatFormat(Path(str(result["directory"]))).render([USER])
    assert "Current date: 2026-11-28\nReasoning: low" in shown
    assert fetched(tmp_path / "plain", f'models.base.source="{model}"')["digest"] != result["digest"]


def test_an_option_that_the_template_does_not_read_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="no option 'thinking'"):
        fetched(tmp_path, "models.base.template_kwargs.thinking=true")
