"""Texts that follow instructions."""

from __future__ import annotations

from typing import Any

import pytest
from ifeval_rows import ROWS

from spiritsafe.tasks.families.ifeval.compose import composed
from spiritsafe.tasks.families.ifeval.instructions import followed

pytest.importorskip("langdetect", reason="the extra ifeval is not installed")
pytest.importorskip("punkt", reason="the extra ifeval is not installed")


def asked(row: dict[str, Any]) -> list[dict[str, Any]]:
    pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
    return [{"id": name, "arguments": {k: v for k, v in given.items() if v is not None}} for name, given in pairs]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "+".join(row["instruction_id_list"]))
def test_a_text_for_each_row(row: dict[str, Any]) -> None:
    from spiritsafe.tasks.families.ifeval.reading import Reader

    text = composed(asked(row), Reader())
    assert text is not None
    assert all(followed(asked(row), text, Reader(), loose=False))


def test_contradictions_have_none() -> None:
    from spiritsafe.tasks.families.ifeval.reading import Reader

    repeat = {"id": "combination:repeat_prompt", "arguments": {"prompt_to_repeat": "Hi, say no commas."}}
    assert composed([repeat, {"id": "punctuation:no_comma", "arguments": {}}], Reader()) is None
