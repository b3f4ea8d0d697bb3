"""From jobs to tokens, for models of several families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import across_parts
import pytest
import templates_parts
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.records import Message
from spiritsafe.core.serving import Failed, Form, Job
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.masks import Grammars
from spiritsafe.models.running.serving.preparation import JobPreparer, PreparedJob, max_prompt_bytes
from spiritsafe.models.running.serving.token_text import TokenText

HI = (Message(role="user", content="hi"),)
TOOL = json.dumps(
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
)


def preparer_of(directory: Path, *, context: int = 300, forms: bool = True) -> tuple[ChatFormat, JobPreparer]:
    chat = ChatFormat(directory)
    tokens = TokenText(chat.fast, frozenset(chat.special_tokens.values()))
    grammars = Grammars(chat, chat.vocab_size) if forms else None
    return chat, JobPreparer(chat, tokens, grammars, context=context)


def prepared(found: PreparedJob | Failed) -> PreparedJob:
    assert isinstance(found, PreparedJob), found
    return found


@pytest.mark.parametrize("family", ["chatml", "harmony", "r1"])
def test_every_way_to_draw_is_asked_of_the_session(family: str, tmp_path: Path) -> None:
    chat, preparer = preparer_of(templates_parts.ALL[family](tmp_path / family))
    ways: dict[str, Any] = {
        "seed": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "min_p": 0.1,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "repetition_penalty": 1.5,
        "top_logprobs": 2,
        "cache_key": "me",
    }
    found = prepared(preparer.prepare(Job(messages=HI, max_tokens=5, logit_bias=((4, 1.5),), **ways)))
    request = found.request
    assert request is not None
    assert {name: getattr(request, name) for name in ways} == ways
    assert (request.max_tokens, dict(request.bias), request.mask) == (5, {4: 1.5}, None)
    assert request.prompt_ids == found.prompt_ids == tuple(chat.prompt_ids(HI))
    assert request.end_ids == frozenset(chat.eos_ids)


def test_more_tokens_than_there_is_room_for_are_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    _, preparer = preparer_of(templates_parts.chatml(tmp_path / "m"))
    for asked in (None, 10_000):
        request = prepared(preparer.prepare(Job(messages=HI, max_tokens=asked))).request
        assert request is not None
        assert len(request.prompt_ids) + request.max_tokens == 300


def test_a_form_and_tools_become_masks(tmp_path: Path) -> None:
    _, preparer = preparer_of(templates_parts.chatml(tmp_path / "m"), context=4000)
    asked = (Message(role="user", content="hi", tools=(TOOL,)),)
    for job in (Job(messages=HI, form=Form(kind="json")), Job(messages=asked, tool_choice="required")):
        found = prepared(preparer.prepare(job))
        assert found.mask is not None
        assert found.request is not None
        assert found.request.mask is found.mask
    ignoring = preparer.prepare(Job(messages=HI, form=Form(kind="json"), ignore_end=True))
    assert isinstance(ignoring, Failed)
    assert ignoring.param == "ignore_end"


def test_where_forms_are_impossible_they_are_refused_and_the_rest_is_not(tmp_path: Path) -> None:
    _, preparer = preparer_of(templates_parts.chatml(tmp_path / "m"), context=4000, forms=False)
    asked = (Message(role="user", content="hi", tools=(TOOL,)),)
    for job, param in ((Job(messages=HI, form=Form(kind="json")), "form"), (Job(messages=asked), "messages")):
        failed = preparer.prepare(job)
        assert isinstance(failed, Failed)
        assert (failed.param, failed.fault) == (param, "asker")
    prepared(preparer.prepare(Job(messages=HI)))


def test_what_a_template_refuses_is_the_messages_fault(tmp_path: Path) -> None:
    _, preparer = preparer_of(templates_parts.sentencepiece(tmp_path / "m"))
    failed = preparer.prepare(Job(messages=(*HI, *HI)))
    assert isinstance(failed, Failed)
    assert (failed.param, failed.code) == ("messages", "invalid")
    assert "alternate" in failed.message


def test_long_thoughts_that_the_template_leaves_out_do_not_count(tmp_path: Path) -> None:
    _, preparer = preparer_of(templates_parts.r1(tmp_path / "m"))
    thought = Message(role="assistant", content=f"<think>{'hm ' * 100_000}</think>4")
    found = prepared(preparer.prepare(Job(messages=(*HI, thought, *HI))))
    assert len(found.prompt_ids) < 50


TOKENIZERS = (across_parts.byte_level(600), across_parts.sentence_piece())


@given(st.text(max_size=200))
def test_no_text_within_the_context_is_longer_than_the_bound(text: str) -> None:
    for tokenizer in TOKENIZERS:
        tokens = TokenText(tokenizer, frozenset())
        num_tokens = len(tokenizer.encode(text, add_special_tokens=False).ids)
        assert len(text.encode()) <= max_prompt_bytes(tokens, max(1, num_tokens))


@pytest.mark.parametrize("family", ["chatml", "qwen3", "r1", "harmony"])
def test_an_answer_goes_on_from_its_beginning(family: str, tmp_path: Path) -> None:
    chat, preparer = preparer_of(templates_parts.ALL[family](tmp_path / family), context=4000)
    found = prepared(preparer.prepare(Job(messages=HI, prefix="It is (")))
    assert found.prompt_ids == tuple(chat.going_on_ids(HI, "It is ("))
    shown = chat.spell(found.prompt_ids)
    assert shown.endswith("It is (")
    assert shown.count("<think>") == shown.count("</think>")  # a thought that the template opens is ended before it
    assert preparer.prompt_ids(Job(messages=HI, prefix="It is (")) == found.prompt_ids
    for more in ({"form": Form(kind="json")}, {"messages": (Message(role="user", content="hi", tools=(TOOL,)),)}):
        refused = preparer.prepare(Job.model_validate({"messages": HI, "prefix": "It is (", **more}))
        assert isinstance(refused, Failed)
        assert (refused.param, refused.fault) == ("prefix", "asker")
    refused = preparer.prepare(Job(messages=HI, prefix="<think>hm"))
    assert isinstance(refused, Failed)
    assert refused.param == "prefix"
    long = preparer.prepare(Job(messages=HI, prefix="x" * 100_000))
    assert isinstance(long, Failed)
    assert long.code == "context_length_exceeded"


def test_thoughts_are_switched_where_the_template_has_a_switch(tmp_path: Path) -> None:
    chat, preparer = preparer_of(templates_parts.qwen3(tmp_path / "m"), context=4000)
    off, on, as_it_is = (
        prepared(preparer.prepare(Job(messages=HI, thinking=wish, form=Form(kind="json"))))
        for wish in (False, True, None)
    )
    assert chat.spell(off.prompt_ids).endswith("<think>\n\n</think>\n\n")
    assert on.prompt_ids == as_it_is.prompt_ids == tuple(chat.prompt_ids(HI))
    assert [one.chat.thoughts.thinks for one in (off, on, as_it_is)] == [False, True, True]
    (opens,) = chat.text_ids("<think>")
    assert [bool(one.mask and one.mask.allowed()[opens]) for one in (off, on)] == [False, True]


@pytest.mark.parametrize(("family", "thinks"), [("chatml", False), ("r1", True), ("harmony", True)])
def test_where_it_has_none_only_what_the_model_does_anyway_is_had(family: str, thinks: bool, tmp_path: Path) -> None:
    chat, preparer = preparer_of(templates_parts.ALL[family](tmp_path / family))
    assert prepared(preparer.prepare(Job(messages=HI, thinking=thinks))).prompt_ids == tuple(chat.prompt_ids(HI))
    refused = preparer.prepare(Job(messages=HI, thinking=not thinks))
    assert isinstance(refused, Failed)
    assert (refused.param, refused.fault) == ("thinking", "asker")
