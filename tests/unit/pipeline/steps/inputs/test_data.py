from __future__ import annotations

import json
from pathlib import Path

from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import step_of


def recipe(tmp_path: Path) -> Recipe:
    chats = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "!"}]} for n in range(9)
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats), "utf-8")
    data = {
        "sums": {"task": "arith:sums?terms=2&digits=1-2", "problems": 4},
        "chats": {"files": [str(tmp_path / "chats.jsonl")]},
    }
    step = {"kind": "tune", "name": "s", "from": "m", "learns": ["sums", "chats"]}
    return recipe_of({"name": "r", "models": {"m": {"source": "tiny:0"}}, "data": data, "steps": [step]})


def test_a_set_says_what_it_is_of(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    lines = [step_of(made.node(name)).words(made.node(name)).line for name in ("sums", "chats")]
    assert lines == [
        "sums: 4 problems of arith:sums?terms=2&digits=1-2",
        f"chats: all problems of {tmp_path / 'chats.jsonl'}",
    ]


def test_a_set_comes_after_those_before_it_and_is_made_again_when_its_file_changes(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    (before,) = step_of(made.node("chats")).stages(made.node("chats"), made)
    assert (before.after, before.is_exact) == (("sums",), True)
    path = tmp_path / "chats.jsonl"
    path.write_text(path.read_text("utf-8").replace("8?", "88?"), "utf-8")
    (after,) = step_of(made.node("chats")).stages(made.node("chats"), made)
    assert before.settings != after.settings
