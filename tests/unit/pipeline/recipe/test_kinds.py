from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from spiritsafe.pipeline import steps
from spiritsafe.pipeline.recipe import kinds
from spiritsafe.pipeline.recipe.kinds import kind_names, kinds_of, register_kind
from spiritsafe.pipeline.recipe.made import StepEntry


def test_each_table_has_its_kinds_and_each_kind_a_file() -> None:
    tables = {table: [kind.__name__ for kind in kinds_of(table)] for table in ("models", "data")}
    assert tables == {"models": ["GivenModel"], "data": ["Data"]}
    named = list(kind_names())
    assert {"capture", "cut", "distil", "merge", "reinforce", "route", "sample", "tune"} <= set(named)
    assert named == sorted(named)
    files = {path.stem for path in Path(str(steps.__file__)).parent.rglob("*.py")}
    assert set(named) <= files
    folders = {kind.__module__.rpartition(".")[0] for kind in kinds_of("steps")}
    assert folders == {steps.__name__, f"{steps.__name__}.combining"}


def test_a_kind_from_elsewhere_plugs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds_of("steps")
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))

    @register_kind("steps")
    class Copy(StepEntry):
        kind: Literal["copy"] = "copy"

    assert Copy in kinds_of("steps")
    assert kind_names()["copy"] is Copy
