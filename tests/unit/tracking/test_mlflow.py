from __future__ import annotations

from pathlib import Path

from tracked_parts import logged, tracked


def test_it_holds_what_the_event_log_holds_in_one_run_that_went_on(tmp_path: Path) -> None:
    found = tracked("mlflow", tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/curves.db")
    assert found == logged(tmp_path / "events.jsonl")
    assert len(found) == 12
