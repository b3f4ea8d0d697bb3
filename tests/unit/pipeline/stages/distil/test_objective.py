from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pipeline_parts import context_after, stage_at

from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.stages.distil import objective as objective_module
from spiritsafe.pipeline.stages.distil.stage import distil_model
from spiritsafe.pipeline.stages.sets import set_traces


def test_each_set_is_read_by_the_teacher_that_is_named_for_it(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as following each teacher alone, document by document."""
    teachers = {"review": "teacher", "sampled": "tuned"}
    changes = {"signal": None, "teacher": teachers, "objective": "reverse_kl", "ce_share": 0.0}
    context = context_after(tiny_run, tmp_path, small={"calibrate": ["review"]}, student=changes)
    owners: dict[str, str] = {}
    original = objective_module.TeachersByDocument

    def watched(signals: Any, named: dict[str, str], **more: Any) -> Any:
        owners.update(named)
        return original(signals, named, **more)

    monkeypatch.setattr(objective_module, "TeachersByDocument", watched)
    stage = stage_at(tmp_path / "21-student")
    step = context.recipe.node("student").recipe
    assert isinstance(step, DistilRecipe)
    result = dict(distil_model(step, context, stage, NullSink()))
    counts = {name: len(set_traces(context, name)) for name in teachers}
    assert result["documents"] == counts
    assert list(owners.values()).count("teacher") == counts["review"]
    assert list(owners.values()).count("tuned") == counts["sampled"]
    lineage = read_json(stage.path / "model" / "lineage.json")
    used = {parent["name"]: parent["used_as"] for parent in lineage["parents"]}
    assert used["tiny-tuned"] == ["logits"]
    assert "logits" in used["tiny-teacher"]
