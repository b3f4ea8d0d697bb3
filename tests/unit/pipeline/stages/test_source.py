from __future__ import annotations

import json
from pathlib import Path


def test_the_source_is_named_by_its_digest(tiny_run: Path) -> None:
    done = json.loads((tiny_run / "stages" / "01-base" / "done.json").read_text("utf-8"))
    lineage = json.loads((Path(done["result"]["directory"]) / "lineage.json").read_text("utf-8"))
    assert done["result"]["digest"] == lineage["digest"]
