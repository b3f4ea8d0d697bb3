from __future__ import annotations

from pathlib import Path

import numpy as np
from tracked_parts import logged, tracked


def test_it_holds_what_the_event_log_holds(tmp_path: Path) -> None:
    found = tracked("tensorboard", tmp_path)
    single = [(curve, step, float(np.float32(value))) for curve, step, value in logged(tmp_path / "events.jsonl")]
    assert found == sorted(single)  # TensorBoard keeps float32
    assert len(found) == 12
