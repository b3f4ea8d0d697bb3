"""What is told of an answer with thoughts, calls and a form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import templates_parts

from spiritsafe.core.records import Message
from spiritsafe.core.serving import AnswerPiece, Form, Job
from spiritsafe.models.chat.calls.spelling import HERMES
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.masks import Grammars
from spiritsafe.models.running.engine.request import Drawn
from spiritsafe.models.running.serving.preparation import JobPreparer, PreparedJob
from spiritsafe.models.running.serving.running import Event, RunningJob, TokenTeller
from spiritsafe.models.running.serving.token_text import TokenText

HI = (Message(role="user", content="hi"),)


class Model:
    """One family's chat format and all that jobs need of it."""

    def __init__(self, directory: Path) -> None:
        self.chat = ChatFormat(directory)
        self.tokens = TokenText(self.chat.fast, frozenset(self.chat.special_tokens.values()))
        self.preparer = JobPreparer(self.chat, self.tokens, Grammars(self.chat, self.chat.vocab_size), context=4000)

    def prepared(self, **job: Any) -> PreparedJob:
        found = self.preparer.prepare(Job.model_validate({"messages": HI, **job}))
        assert isinstance(found, PreparedJob), found
        return found

    def told(self, prepared: PreparedJob, text: str, *, stride: int = 1) -> list[Event]:
        """All that is told of an answer that the model ends."""
        job = RunningJob(prepared, self.tokens, TokenTeller(self.tokens))
        ids = [*self.chat.text_ids(text), self.chat.end_id]
        events: list[Event] = []
        for start in range(0, len(ids), stride):
            some = tuple(ids[start : start + stride])
            end = "stop" if some[-1] == self.chat.end_id else None
            events += job.take(Drawn(1, some, (-1.0,) * len(some), (), end))
        assert job.is_over
        return events


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    root = tmp_path_factory.mktemp("families")
    return {name: Model(templates_parts.ALL[name](root / name)) for name in ("qwen3", "r1", "harmony", "chatml")}


def parts_of(events: list[Event]) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    for name, value in events:
        for part in AnswerPiece.model_validate(value).parts if name == "piece" else ():
            if parts and parts[-1][0] == part.kind != "call":
                parts[-1] = (part.kind, parts[-1][1] + part.text)
            else:
                parts.append((part.kind, part.text))
    return parts


@pytest.mark.parametrize("stride", [1, 4, 1000])
@pytest.mark.parametrize(
    ("family", "drawn"),
    [
        ("qwen3", "<think>\nhm\n</think>\n\nfour"),
        ("r1", "hm\n</think>\n\nfour"),
        ("harmony", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>four"),
    ],
)
def test_a_thought_and_an_answer(models: dict[str, Model], family: str, drawn: str, stride: int) -> None:
    events = models[family].told(models[family].prepared(), drawn, stride=stride)
    assert parts_of(events) == [("thought", "hm"), ("text", "four")]
    name, ended = events[-1]
    assert (name, ended["reason"]) == ("ended", "stop")
    assert 2 <= ended["num_thought_tokens"] < ended["num_tokens"] - 4


def test_a_text_that_is_gone_on_from_has_no_thoughts(models: dict[str, Model]) -> None:
    events = models["qwen3"].told(models["qwen3"].prepared(messages=(), text="x"), "a<think>b</think>")
    assert parts_of(events) == [("text", "a<think>b</think>")]
    assert events[-1][1]["num_thought_tokens"] == 0


@pytest.mark.parametrize("family", ["qwen3", "r1", "chatml"])
def test_an_answer_behind_its_beginning_does_not_repeat_it(models: dict[str, Model], family: str) -> None:
    events = models[family].told(models[family].prepared(prefix="It is ("), "B) <think>")
    assert parts_of(events) == [("text", "B) <think>")]


def test_behind_a_thought_that_is_switched_off_there_is_none(models: dict[str, Model]) -> None:
    events = models["qwen3"].told(models["qwen3"].prepared(thinking=False), "four")
    assert parts_of(events) == [("text", "four")]
    assert events[-1][1]["num_thought_tokens"] == 0


@pytest.mark.parametrize("stride", [1, 7])
def test_calls_are_told_apart_and_are_why_it_ended(models: dict[str, Model], stride: int) -> None:
    model = models["chatml"]
    prepared = model.prepared()
    asked = replace(prepared.asked, spelling=HERMES)
    drawn = '<tool_call>\n{"name": "look", "arguments": {"n": 1}}\n</tool_call>'
    events = model.told(replace(prepared, asked=asked), f"Let me see.\n{drawn}\n{drawn}", stride=stride)
    call = [("call", "look"), ("arguments", '{"n": 1}')]
    assert parts_of(events) == [("text", "Let me see."), *call, *call]
    assert events[-1][1]["reason"] == "calls"


def test_a_form_that_cannot_be_followed_is_no_answer(models: dict[str, Model]) -> None:
    model = models["chatml"]
    prepared = model.prepared(form=Form(kind="json"))
    assert prepared.mask is not None
    prepared.mask.problem = "The form cannot be followed any further: too much work."
    name, failed = model.told(prepared, '{"a')[-1]
    assert name == "failed"
    assert (failed["param"], failed["fault"]) == ("form", "asker")


def test_what_is_impossible_has_a_log_probability_that_json_can_spell(models: dict[str, Model]) -> None:
    teller = TokenTeller(models["chatml"].tokens)
    told = teller.tell(10, float("-inf"), [(11, -1.0), (10, float("-inf"))])
    assert told["drawn"]["logprob"] == told["top"][1]["logprob"] == -9999.0


def test_a_sequence_that_the_session_gave_up_failed(models: dict[str, Model]) -> None:
    model = models["chatml"]
    job = RunningJob(model.prepared(), model.tokens, TokenTeller(model.tokens))
    ((name, failed),) = job.take(Drawn(1, (), (), end="error", message="not finite"))
    assert (name, failed["fault"], failed["message"], job.is_over) == ("failed", "model", "not finite", True)
