"""The checks as the child runs them."""

from __future__ import annotations

import pytest

pytest.importorskip("langdetect", reason="the extra ifeval is not installed")
pytest.importorskip("punkt", reason="the extra ifeval is not installed")

from spiritsafe.tasks.families.ifeval.child import ExampleHandler, InstructionHandler

ASKED = [
    {"id": "language:response_language", "arguments": {"language": "de"}},
    {"id": "length_constraints:number_sentences", "arguments": {"num_sentences": 2, "relation": "at least"}},
]


def test_each_instruction_has_its_answer() -> None:
    ask = InstructionHandler()
    text = "Die alte Stadt liegt am Fluss. Viele Leute gehen dort spazieren."
    assert ask({"instructions": ASKED, "text": text, "loose": False}) == [True, True]
    assert ask({"instructions": ASKED, "text": f"Sure, here you are:\n{text}", "loose": True}) == [True, True]
    assert ask({"instructions": ASKED, "text": "The old town lies by a wide river", "loose": True}) == [False, False]


def test_an_example_follows() -> None:
    example = ExampleHandler()({"instructions": ASKED})
    assert example is not None
    assert InstructionHandler()({"instructions": ASKED, "text": example, "loose": False}) == [True, True]
    assert ExampleHandler()({"instructions": [{"id": ASKED[0]["id"], "arguments": {"language": "so"}}]}) is None
