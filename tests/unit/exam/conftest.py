from __future__ import annotations

import pytest
from exam_parts import Stage, make_stage


@pytest.fixture
def stage(tmp_path) -> Stage:
    return make_stage(tmp_path)
