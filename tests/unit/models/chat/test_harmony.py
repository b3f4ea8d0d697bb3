"""Channels: what is drawn is read in the one form of a thought, and what is learnt has the template's own markers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import templates_parts

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.harmony import Harmony

USER = Message(role="user", content="2+2?")
THINKS, ANSWERS = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
NEXT = "<|end|><|start|>assistant"


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatFormat:
    return ChatFormat(templates_parts.harmony(tmp_path_factory.mktemp("harmony")))


def test_it_is_found_with_its_ends(chat: ChatFormat) -> None:
    assert isinstance(chat._thoughts, Harmony)
    assert [chat.spell([token]) for token in chat.eos_ids] == ["<|return|>", "<|call|>"]


@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        (f"{THINKS}maybe 5?{NEXT}{ANSWERS}#### 4", "<think>maybe 5?</think>#### 4"),
        (f"{ANSWERS}#### 4", "#### 4"),
        (f"{THINKS}maybe #### 5", "<think>maybe #### 5"),
        (f"{THINKS}a<|end|>", "<think>a</think>"),
        (f"{THINKS}a{NEXT}{THINKS}b{NEXT}{ANSWERS}4", "<think>a</think><think>b</think>4"),
        (f"{THINKS}a{NEXT}<|channel|>fin", "<think>a</think>"),
        (f"{THINKS}a{NEXT}<|channel|>commentary<|message|>#### 4", "<think>a</think><think>#### 4"),
        (" to=functions.f<|channel|>commentary json<|message|>{}", "<think>{}"),
        ("<|message|>#### 4", "<think>#### 4"),
        ("#### 4", "#### 4"),
        ("<|channel|>", ""),
        ("", ""),
        (f"{ANSWERS}a<|channel|>b<|message|>c", "abc"),
    ],
)
def test_what_was_drawn_is_read_in_the_one_form(chat: ChatFormat, drawn: str, text: str) -> None:
    assert chat.completion_text(chat.text_ids(drawn)) == text
    assert chat.decode(chat.text_ids(drawn)) == text


def test_drawn_behind_a_beginning_it_goes_on_where_that_ended(chat: ChatFormat) -> None:
    drawn = chat.text_ids(f" 5?{NEXT}{ANSWERS}#### 4")
    assert chat.completion_text(drawn, prefix="<think>maybe") == " 5?</think>#### 4"
    assert chat.completion_text(chat.text_ids("4"), prefix="<think>a</think>#### ") == "4"
    beginning = chat.going_on_ids([USER], "<think>maybe")
    assert chat.spell(beginning).endswith(f"<|start|>assistant{THINKS}maybe")
    beginning = chat.going_on_ids([USER], "<think>a</think>\nFinal answer:")
    assert chat.spell(beginning).endswith(f"<|start|>assistant{THINKS}a{NEXT}{ANSWERS}\nFinal answer:")


def test_what_is_learnt_is_the_templates_own_rendering(chat: ChatFormat) -> None:
    own = chat._template.render(
        [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}], generation=False
    )
    document = chat.document([USER], "4")
    assert chat.text_ids(own) == list(document.token_ids)
    turn = {"role": "assistant", "content": "4", "thinking": "hm"}
    own = chat._template.render([{"role": "user", "content": "2+2?"}, turn], generation=False)
    for text in ("<think>hm</think>4", "<think>\nhm\n</think>\n\n4", "hm</think>4"):
        assert chat.text_ids(own) == list(chat.document([USER], text).token_ids)
    prompt = chat.prompt_ids([USER])
    assert document.supervised == (False,) * len(prompt) + (True,) * (len(document.token_ids) - len(prompt))


def test_names_of_channels_in_words_open_none(chat: ChatFormat) -> None:
    ids = chat.completion_ids(f"<think>{ANSWERS}a</think>b{NEXT}{THINKS}c")
    assert chat.completion_text(ids) == f"<think>{ANSWERS}a</think>b{NEXT}{THINKS}c"
    special = {chat._added[name] for name in chat._special}
    specials = [chat.spell([token]) for token in ids if token in special]
    assert "".join(specials) == "<|channel|><|message|><|end|><|start|><|channel|><|message|>"


def test_earlier_turns_show_the_answer_alone(chat: ChatFormat) -> None:
    said = Message(role="assistant", content="<think>hm</think>#### 4")
    assert chat.render([USER, said, USER]).count("hm") == 0
    assert f"{ANSWERS}#### 4<|end|>" in chat.render([USER, said, USER])


def test_a_template_with_channels_of_another_kind_is_refused(tmp_path: Path) -> None:
    directory = templates_parts.harmony(tmp_path)
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = config["chat_template"].replace(
        "final<|message|>' + m.content", "said<|message|>' + m.content"
    )
    path.write_text(json.dumps(config))
    with pytest.raises(CompatibilityError, match="has harmony's channels"):
        ChatFormat(directory)
