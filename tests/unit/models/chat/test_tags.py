"""Thoughts between tags: what is asked, learnt and read back, held against the template's own rendering."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import templates_parts

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.options import ChatOptions
from spiritsafe.models.chat.tags import Tags

USER = Message(role="user", content="2+2?")
PLAIN = "2 + 2 = 4\n#### 4"
THOUGHT = "<think>\nhm\n</think>\n\n#### 4"


def said(text: str) -> Message:
    return Message(role="assistant", content=text)


def learnt(chat: ChatFormat, text: str) -> str:
    return chat.spell(chat.document([USER], text).token_ids)


@pytest.mark.parametrize("name", ["chatml", "r1", "qwq", "qwen3", "sentencepiece", "base_eos", "dated"])
def test_an_answer_is_learnt_as_the_template_itself_shows_it(name: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
    whole = chat.text_ids(chat.render([USER, said(PLAIN)], generation=False))
    document = list(chat.document([USER], PLAIN).token_ids)
    assert whole[: len(document)] == document
    assert len(whole) - len(document) <= 1  # a line break behind the end token, which nobody learns
    assert isinstance(chat._thoughts, Tags)
    assert chat.note == ""


def test_blanks_around_a_turn_stand_around_a_thought_too(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.sentencepiece(tmp_path))
    whole = chat.text_ids(chat.render([USER, said(THOUGHT)], generation=False))
    assert list(chat.document([USER], THOUGHT).token_ids) == whole


@pytest.mark.parametrize("name", ["chatml", "qwq", "qwen3"])
def test_a_thought_is_learnt_once_behind_the_prompt_as_the_template_shows_it(name: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
    assert chat.render([USER, said(THOUGHT)], generation=False) == learnt(chat, THOUGHT) + "\n"
    document = chat.document([USER], THOUGHT)
    prompt = chat.prompt_ids([USER])
    assert list(document.token_ids[: len(prompt)]) == prompt
    assert document.supervised.index(True) == len(prompt)


@pytest.mark.parametrize("text", [THOUGHT, "<think>hm\n</think>\n\n#### 4", "hm\n</think>\n\n#### 4"])
def test_a_thought_is_not_opened_twice_where_the_prompt_opens_it(text: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.r1(tmp_path))
    assert learnt(chat, text) == "<|im_start|><U>2+2?<A><think>\nhm\n</think>\n\n#### 4<|endoftext|>"


@pytest.mark.parametrize("name", ["r1", "qwq"])
def test_a_thought_that_the_prompt_opened_is_part_of_what_was_drawn(name: str, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
    drawn = chat.text_ids("so 4")
    assert chat.completion_text(drawn) == "<think>\nso 4"
    assert chat.completion_text(drawn, prefix="<think>\nhm") == "so 4"
    whole = chat.completion_text(chat.text_ids("hm\n</think>\n\n#### 4"))
    assert whole == THOUGHT
    assert chat.completion_ids(whole) == chat.text_ids("hm\n</think>\n\n#### 4")
    # and going on: the turn's text so far stands behind the prompt, the tag not twice
    assert chat.going_on_ids([USER], whole) == [*chat.prompt_ids([USER]), *chat.completion_ids(whole)]
    assert chat.going_on_ids([USER], "") == chat.prompt_ids([USER])


def test_earlier_turns_lose_their_thoughts_where_the_template_says_so(tmp_path: Path) -> None:
    for name in ("r1", "qwq", "qwen3"):
        chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
        shown = chat.render([USER, said(THOUGHT), USER])
        assert "hm" not in shown
        assert "#### 4" in shown
        assert "2 + 2 = 4" in chat.render([USER, said(PLAIN), USER])


def test_a_closed_thought_leaves_room_for_answers_only(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.qwen3(tmp_path), ChatOptions(template_kwargs={"enable_thinking": False}))
    assert chat.render([USER]).endswith("<think>\n\n</think>\n\n")
    assert chat.render([USER, said(PLAIN)], generation=False) == learnt(chat, PLAIN) + "\n"
    assert learnt(chat, PLAIN).count("</think>") == 1
    assert chat.completion_text(chat.text_ids("4")) == "4"
    with pytest.raises(CompatibilityError, match="already closed"):
        chat.document([USER], THOUGHT)


def with_tags(directory: Path, opens: str, closes: str) -> Path:
    """The model of ``qwq`` with other names of its tags, as special tokens."""
    templates_parts.qwq(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (directory / name).read_text().replace("<think>", opens).replace("</think>", closes)
        (directory / name).write_text(text)
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    for token in content["added_tokens"]:
        token["special"] = token["special"] or token["content"] in (opens, closes)
    path.write_text(json.dumps(content))
    return directory


def test_tags_of_another_name_have_the_one_form_outside(tmp_path: Path) -> None:
    chat = ChatFormat(with_tags(tmp_path, "[THINK]", "[/THINK]"))
    drawn = chat.text_ids("hm\n[/THINK]\n\n#### 4")
    assert chat.completion_text(drawn) == THOUGHT
    assert chat.completion_ids(THOUGHT) == drawn
    assert learnt(chat, THOUGHT).endswith("assistant\n[THINK]\nhm\n[/THINK]\n\n#### 4<|im_end|>")


def test_a_template_that_reads_thoughts_apart_gets_them_apart(tmp_path: Path) -> None:
    directory = templates_parts.chatml(tmp_path)
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.reasoning_content %}"
        "{{ '<think>' + m.reasoning_content + '\n' }}{% endif %}{{ m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    path.write_text(json.dumps(config))
    chat = ChatFormat(directory)
    assert "<think>a\n5<|im_end|>" in chat.render([USER, said("<think>a</think>5"), USER])


def test_what_is_written_for_alignment_spells_the_completion_alone(tmp_path: Path) -> None:
    for name, text in (("qwen3", PLAIN), ("r1", PLAIN), ("r1", THOUGHT), ("sentencepiece", PLAIN), ("harmony", PLAIN)):
        chat = ChatFormat(templates_parts.ALL[name](tmp_path / f"{name}-{len(text)}"))
        document = chat.document([USER], text, use="align")
        own = [token for token, flag in zip(document.token_ids, document.supervised, strict=True) if flag]
        assert own[-1] == chat.end_id
        assert chat.spell(own[:-1]) == text


def test_another_header_than_the_generation_prompts_is_named(tmp_path: Path) -> None:
    directory = templates_parts.chatml(tmp_path)
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = config["chat_template"].replace("assistant\\n' }}", "model:' }}")
    path.write_text(json.dumps(config))
    chat = ChatFormat(directory)
    assert "model:" in chat.note
    assert learnt(chat, "5").endswith("model:5<|im_end|>")
