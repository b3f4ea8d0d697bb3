from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline_parts import context_after, stage_at

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import NullSink
from spiritsafe.models import ChatFormat
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.stages.distil import parts as parts_module
from spiritsafe.pipeline.stages.distil.parts import DistilParts, gather_parts

LIVE: dict[str, Any] = {"signal": None, "teacher": "teacher"}


def gathered(run: Path, place: Path, changes: dict[str, Any]) -> DistilParts:
    context = context_after(run, place, student=changes)
    step = context.recipe.node("student").recipe
    assert isinstance(step, DistilRecipe)
    return gather_parts(step, context, stage_at(place / "21-student"), NullSink())


@pytest.mark.parametrize(("changes", "is_live"), [({}, False), (LIVE, True)], ids=["captured", "live"])
def test_documents_stand_as_the_traces_do(
    tiny_run: Path, tmp_path: Path, changes: dict[str, Any], is_live: bool
) -> None:
    parts = gathered(tiny_run, tmp_path, changes)
    assert sum(map(len, parts.sets.values())) == len(parts.traces) == len(parts.documents) > 0
    drawn = [(t.token_ids, d.token_ids) for t, d in zip(parts.traces, parts.documents, strict=True) if t.token_ids]
    assert len(drawn) == len(parts.sets["sampled"])
    assert all(tuple(document[-len(answer) :]) == tuple(answer) for answer, document in drawn)
    assert (parts.teacher.loaded is not None) == is_live == (parts.num_reading > 0)
    assert not parts.is_renumbered
    if not is_live:
        with pytest.raises(TypeError):
            _ = parts.teacher.model


def test_answers_that_no_model_can_read_are_told_before_anything_is_trained(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_fits(_: ChatFormat, most: int, sets: dict[str, Any], *__: object, **___: object) -> dict[str, Any]:
        assert most > 0
        return {name: traces[:0] for name, traces in sets.items()}

    monkeypatch.setattr(parts_module, "within_context", nothing_fits)
    with pytest.raises(RecipeError, match="longer than the"):
        gathered(tiny_run, tmp_path, {})
