from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.pipeline.recipe.data import DataRecipe


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one of task, files and hub"),
        ({"task": "arith:sums", "files": ["a.jsonl"]}, "give one of"),
        ({"files": ["a.jsonl"], "hub": "a/b"}, "give one of"),
        ({"task": "arith:sums", "format": "messages"}, "format: no effect"),
        (
            {"task": "arith:sums", "fields": {"a": "b"}, "split": "x", "dedupe": False},
            "dedupe, fields, split: no effect",
        ),
        ({"files": ["a.jsonl"], "split": "test", "config": "main"}, "config, split: no effect"),
        ({"task": "gsm8k", "revision": "main"}, "revision: no effect"),
        ({"task": "arith:sums", "problems": 0}, "greater"),
        ({"task": "arith:sums", "direct_share": 1.5}, "less than"),
    ],
)
def test_what_could_not_take_effect_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataRecipe.model_validate(given)


def test_a_task_is_its_own_spec() -> None:
    assert DataRecipe(task="arith:sums?terms=2").spec() == "arith:sums?terms=2"
    assert DataRecipe(task="arith:sums").makes == "problems"
