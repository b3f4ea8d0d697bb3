"""The table of formats in the page about one's own data: each row is a file of such rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from places import ROOT

from spiritsafe.tasks import data_spec, load_task

ROWS = re.findall(
    r"^\| (.+?) \| `(\{.*\})` \| `(\w+)` \|$", (ROOT / "docs" / "own-data.md").read_text("utf-8"), flags=re.M
)


def test_there_are_rows() -> None:
    assert len(ROWS) == 10


@pytest.mark.parametrize(("format", "row", "family"), ROWS, ids=[row[:60] for _, row, _ in ROWS])
def test_the_format_is_found(format: str, row: str, family: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(row + "\n", "utf-8")
    spec = data_spec([tmp_path / "a.jsonl"])
    assert spec.startswith(f"{family}:")
    task = load_task(spec)
    assert sum(task.sizes().values()) == 1
    if family == "chat":
        assert format == f"`{task.about()['format']}`"
        assert json.loads(row)
