from __future__ import annotations

import json
from pathlib import Path

import pytest

from spiritsafe.core.canonical import canonical_json
from spiritsafe.exam.records.rerun import CounterSignedRerun, RerunReport

PUBLISHED = sorted((Path(__file__).parents[3] / "golden").rglob("*rerun*.json"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_rerun_comes_back_and_its_runner_signed_all_of_it(path: Path) -> None:
    value = json.loads(path.read_bytes())
    signed = CounterSignedRerun.from_json(value)
    assert signed.to_json() == value
    assert signed.signed_bytes() == canonical_json(value["report"])
    assert set(value["report"]) == set(RerunReport.model_fields)
