from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.report import DataInfo, TraceCounts


def test_traces_add_up() -> None:
    TraceCounts(origin="x", num_asked=10, num_verified=7, dropped={"wrong": 3})
    with pytest.raises(ValidationError, match="add up"):
        TraceCounts(origin="x", num_asked=10, num_verified=7, dropped={"wrong": 2})


def test_data_may_have_no_verifier_and_no_count() -> None:
    entry = DataInfo(name="chats", origin="chats.jsonl")
    assert (entry.verifier, entry.num_problems, entry.num_solutions, entry.about) == (None, None, None, {})
    with pytest.raises(ValidationError, match="num_problems"):
        DataInfo(name="chats", origin="chats.jsonl", num_problems=-1)
