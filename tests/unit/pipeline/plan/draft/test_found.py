from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import templates_parts

from spiritsafe.core.errors import EndpointError, SourceError, SpiritsafeError
from spiritsafe.pipeline.plan.draft import found
from spiritsafe.pipeline.plan.draft.found import PLACEHOLDER, find_data, find_model, share_vocabulary

CHAT = {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def chats(count: int) -> list[dict[str, Any]]:
    turns = [[{**turn, "content": f"{turn['content']} {n}"} for turn in CHAT["messages"]] for n in range(count)]
    return [{"messages": one} for one in turns]


def test_chats_have_answers_and_no_verifier(tmp_path: Path) -> None:
    data = find_data(write(tmp_path / "My Chats.2.jsonl", [*chats(40), *chats(10)]))
    assert data.name == "my-chats"
    assert data.key == f'files = ["{tmp_path}/My Chats.2.jsonl"]'
    assert data.about == "rows as messages, 40 distinct prompts, all with an answer, no verifier"
    assert (data.verifies, data.has_solutions) == (False, True)
    assert data.sizes is not None
    assert sum(data.sizes.values()) == 40
    assert 0 < data.answer_tokens(None) < data.prompt_tokens(None) + 3


def test_prompts_have_neither(tmp_path: Path) -> None:
    data = find_data(write(tmp_path / "answers.jsonl", [{"prompt": f"Say {n}."} for n in range(30)]))
    assert data.name == "my-answers", "a step of the recipe is called answers"
    assert "none with an answer, no verifier" in data.about
    assert not data.has_solutions
    assert data.answer_tokens(None) == 0


def test_questions_with_values_have_a_verifier(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(60)]
    data = find_data(write(tmp_path / "sums.jsonl", rows))
    assert data.verifies
    assert "none with a worked solution, graded by a verifier" in data.about
    worked = [{**row, "answer": f"One more.\n#### {row['answer']}"} for row in rows]
    assert find_data(write(tmp_path / "worked.jsonl", worked)).has_solutions


def test_a_task_is_data_too() -> None:
    data = find_data("arith:sums?terms=2")
    assert (data.name, data.spec, data.sizes) == ("sums", "arith:sums?terms=2", None)
    assert data.key == 'task = "arith:sums?terms=2"\nproblems = 1000'


@pytest.mark.parametrize("given", ["nosuch.jsonl", "nosuch", "nosuch/*.jsonl"])
def test_what_is_not_there_is_said_so(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        find_data(given)
    assert caught.value.hint


def test_rows_of_no_known_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpiritsafeError, match="no format"):
        find_data(write(tmp_path / "odd.jsonl", [{"a": 1}]))
    with pytest.raises(SpiritsafeError):
        find_data(write(tmp_path / "empty.jsonl", []))


def test_a_server_is_asked_for_its_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def served(url: str, *, api_key_env: str | None) -> tuple[str, ...]:
        asked.append((url, api_key_env))
        return ("first", "second")

    monkeypatch.setattr(found, "served_models", served)
    model = find_model("http://box:8000/v1", cache=tmp_path, api_key_env="KEY")
    assert (model.kind, model.model, model.notes) == ("served", "first", ("It serves second as well.",))
    assert asked == [("http://box:8000/v1", "KEY")]
    assert find_model("http://box", cache=tmp_path, model="mine").model == "mine"
    assert len(asked) == 1, "who names the model is not asked"


def test_a_server_that_is_away_leaves_its_name_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def served(url: str, *, api_key_env: str | None) -> tuple[str, ...]:
        raise EndpointError("box lists no models: refused.", hint="x")

    monkeypatch.setattr(found, "served_models", served)
    model = find_model("http://box", cache=tmp_path)
    assert model.model == PLACEHOLDER
    assert model.notes == ("box lists no models: refused. Put the server's name of the model here:",)


def test_a_model_here_is_looked_at_and_one_that_is_not_is_a_note(tmp_path: Path) -> None:
    model = find_model("tiny:0", cache=tmp_path)
    assert model.kind == "local"
    assert model.chat is not None
    assert model.notes == ("0.4 M parameters, Apache-2.0",)
    other = find_model(str(tmp_path / "nosuch"), cache=tmp_path)
    assert other.config is None
    assert other.notes[0].startswith("not looked at: ")


def test_vocabularies_are_compared_where_both_are_known(tmp_path: Path) -> None:
    one, two = find_model("tiny:0", cache=tmp_path), find_model("tiny:1?layers=3", cache=tmp_path)
    assert share_vocabulary(one, two)
    other = find_model(str(templates_parts.harmony(tmp_path / "other")), cache=tmp_path)
    assert other.chat is not None
    assert not share_vocabulary(one, other)
    assert not share_vocabulary(one, find_model(str(tmp_path / "nosuch"), cache=tmp_path))
