"""Earlier turns that are learnt too: what is supervised is held against the template's own rendering."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import templates_parts
from transformers import AutoTokenizer

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message, ToolCall
from spiritsafe.core.text.tool_calls import as_openai, with_calls
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.interface.batch import Document

THOUGHT = "<think>\nhm\n</think>\n\none"
TOOL = '{"type": "function", "function": {"name": "weather", "description": "Tells it <|im_end|>", "parameters": {}}}'
CALL = ToolCall(name="weather", arguments='{"city": "Zürich", "at": [1, 2]}', id="abcdefgh1")
RESULT = Message(role="tool", content="sunny", name="weather", tool_call_id="abcdefgh1")


def user(text: str, tools: tuple[str, ...] = ()) -> Message:
    return Message(role="user", content=text, tools=tools)


def said(text: str, *calls: ToolCall) -> Message:
    return Message(role="assistant", content=text, tool_calls=calls)


SYSTEM = Message(role="system", content=" Be brief. ")
PLAIN = [user("a?"), said(" one \n"), user("b? <|im_end|> </s> <think>"), said("two"), user("c?"), said("three")]
TOLD = [SYSTEM, *PLAIN]
THINKING = [user("a?"), said(THOUGHT), user("b?"), said("two")]
CALLING = [user("w?", (TOOL,)), said("", CALL, CALL), RESULT, RESULT, said("sunny"), user("thanks"), said("yes")]
ENDS_CALLING = [user("hi", (TOOL,)), said("hello"), user("w?"), said("let me see", CALL)]


def with_template(chat: ChatFormat, directory: Path, template: str) -> Path:
    shutil.copytree(chat.directory, directory)
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return directory


def learnt(chat: ChatFormat, document: Document) -> list[str]:
    """The runs of supervised tokens, spelled."""
    runs: list[list[int]] = []
    goes_on = False
    for token, is_learnt in zip(document.token_ids, document.supervised, strict=True):
        if is_learnt:
            runs = runs if goes_on else [*runs, []]
            runs[-1].append(token)
        goes_on = is_learnt
    return [chat.spell(run) for run in runs]


def whole(chat: ChatFormat, conversation: list[Message]) -> Document:
    turns = [place for place, message in enumerate(conversation[:-1]) if message.role == "assistant"]
    last = conversation[-1]
    return chat.document(conversation[:-1], with_calls(last.content, last.tool_calls), turns=turns)


@pytest.mark.parametrize("conversation", [PLAIN, TOLD, THINKING], ids=["plain", "told", "thinking"])
@pytest.mark.parametrize("name", sorted(templates_parts.ALL))
def test_the_text_is_the_same_and_each_reply_is_learnt_with_its_end(
    name: str, conversation: list[Message], tmp_path: Path
) -> None:
    chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
    last_alone = chat.document(conversation[:-1], conversation[-1].content)
    document = whole(chat, conversation)
    assert document.token_ids == last_alone.token_ids
    runs = learnt(chat, document)
    assert runs[-1:] == learnt(chat, last_alone)
    replies = [message.content for message in conversation if message.role == "assistant"]
    end = chat.spell([chat.end_id])
    header = "<|channel|>final<|message|>" if name == "harmony" else ""
    assert len(runs) == len(replies)
    for run, reply in zip(runs[:-1], replies[:-1], strict=True):
        shown = run.removesuffix(end).removeprefix(header)
        assert run.endswith(end) == (name != "harmony")  # whose earlier turns end otherwise, which nobody may write
        assert shown.strip() in (reply.strip(), reply.split("</think>")[-1].strip())
        assert "<|im_start|>" not in run
        assert "[/INST]" not in run
    asked = chat.render(conversation[: 1 + (conversation[0].role == "system")])
    if "<think>" not in asked and name != "sentencepiece":
        assert chat.spell(document.token_ids).startswith(asked + runs[0])


@pytest.mark.parametrize("conversation", [PLAIN, TOLD, THINKING, CALLING, ENDS_CALLING])
def test_the_mask_is_the_one_that_transformers_makes_of_a_template_with_marks(
    conversation: list[Message], tmp_path: Path
) -> None:
    directory = templates_parts.hermes(tmp_path)
    chat = ChatFormat(directory)
    clean = [m.model_copy(update={"content": m.content.replace("<|im_end|> </s> <think>", "")}) for m in conversation]
    tool = TOOL.replace(" <|im_end|>", "")  # transformers would obey it
    if clean[0].tools:
        clean[0] = clean[0].model_copy(update={"tools": (tool,)})
    turns = [as_openai(message) for message in clean]
    for turn in turns:
        for call in turn.get("tool_calls", ()):
            call["function"] = {**call["function"], "arguments": {"city": "Zürich", "at": [1, 2]}}
    tools = [{"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": {}}}]
    theirs = AutoTokenizer.from_pretrained(directory).apply_chat_template(
        turns,
        tools=tools if clean[0].tools else None,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ours = whole(chat, clean)
    length = len(ours.token_ids)
    assert list(ours.token_ids) == theirs["input_ids"][:length]
    assert [int(is_learnt) for is_learnt in ours.supervised] == theirs["assistant_masks"][:length]
    assert chat.spell(theirs["input_ids"][length:]) == "\n"


def test_only_the_turns_that_are_named_are_learnt(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.chatml(tmp_path))
    assert learnt(chat, chat.document(PLAIN[:-1], "three", turns=[3])) == ["two<|im_end|>", "three<|im_end|>"]
    assert chat.document(PLAIN[:-1], "three", turns=[]) == chat.document(PLAIN[:-1], "three")
    drawn = chat.document_from_tokens(PLAIN[:-1], chat.completion_ids("three"), turns=[1], weight=0.5)
    assert learnt(chat, drawn) == [" one \n<|im_end|>", "three"]
    assert drawn.weight == 0.5


def test_a_turn_is_learnt_as_an_answer_to_what_stood_before_it(tmp_path: Path) -> None:
    """The tokens up to the end of an earlier turn are those of a document that ends there."""
    for name in ("chatml", "hermes", "qwen3", "qwq", "base_eos"):
        chat = ChatFormat(templates_parts.ALL[name](tmp_path / name))
        early, late = (
            chat.document(PLAIN[:1], "one", use="drawn"),
            chat.document([PLAIN[0], said("one"), *PLAIN[2:5]], "3"),
        )
        if name == "qwen3":
            continue  # its last turn has an empty thought, which earlier ones have not
        assert late.token_ids[: len(early.token_ids) - 1] == early.token_ids[:-1] or name == "qwq"


def test_a_call_that_must_have_its_result_is_found_by_its_end(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.calls_as_text(tmp_path))
    conversation = [user("w?", (TOOL,)), said("", CALL), RESULT, said("sunny")]
    document = whole(chat, conversation)
    assert learnt(chat, document) == [f"weather {CALL.arguments}<C>", "sunny<|im_end|>"]
    assert chat.spell(document.token_ids) == (
        f"<T>weather: Tells it <|im_end|><U>w?<A>weather {CALL.arguments}<C><R>sunny<A>sunny<|im_end|>"
    )
    assert document.token_ids.count(chat.end_id) == 1  # the tool's description is words


def test_a_last_turn_that_calls_is_spelled_by_the_template(tmp_path: Path) -> None:
    hermes = ChatFormat(templates_parts.hermes(tmp_path / "hermes"))
    document = whole(hermes, ENDS_CALLING)
    shown = f'let me see\n<tool_call>\n{{"name": "weather", "arguments": {CALL.arguments}}}\n</tool_call><|im_end|>'
    assert learnt(hermes, document) == ["hello<|im_end|>", shown]
    other = ChatFormat(templates_parts.calls_as_text(tmp_path / "text"))
    asked = [user("w?", (TOOL,))]
    assert learnt(other, other.document(asked, with_calls("", [CALL]))) == [f"weather {CALL.arguments}<C>"]
    with pytest.raises(CompatibilityError, match="does not show text beside calls"):
        other.document(asked, with_calls("let me see", [CALL]))
    with pytest.raises(CompatibilityError, match="does not show text beside calls"):
        other.document(asked, with_calls("<think>hm</think>", [CALL]))
    source = templates_parts.HERMES.replace("{{- m.content }}", "{{- m.content.split('</think>')[-1] }}")
    forgetful = ChatFormat(with_template(hermes, tmp_path / "forgetful", source))
    plain = [user("w?", ('{"function": {"name": "weather"}}',))]
    with pytest.raises(CompatibilityError, match="leaves out the thought of a turn that calls"):
        forgetful.document(plain, with_calls("<think>hm</think>", [CALL]))
    # without tools, the same text is words
    assert learnt(other, other.document([user("w?")], with_calls("", [CALL])))[0].startswith("<tool_call>")


@pytest.mark.parametrize("turn", [0, 5, -1])
def test_only_turns_of_the_assistant_can_be_learnt(turn: int, tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.chatml(tmp_path))
    with pytest.raises(CompatibilityError, match=f"Message {turn + 1} of this conversation is no turn"):
        chat.document(PLAIN[:-1], "x", turns=[turn])
    with pytest.raises(CompatibilityError, match="across tokenizers"):
        chat.document(PLAIN[:-1], "x", turns=[1], use="align")


HIDES = (
    "{% for m in messages %}{% if m.role == 'user' or loop.last %}<|im_start|>{{ m.content }}<|im_end|>{% endif %}"
    "{% endfor %}"
)
COUNTS = (
    "{% for m in messages %}<|im_start|>{% for n in messages %}{{ n.content|length }},{% endfor %}"
    "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


@pytest.mark.parametrize("template", [HIDES, COUNTS])
def test_what_cannot_be_told_apart_is_refused(template: str, tmp_path: Path) -> None:
    """A template that does not show the turn, and one whose other turns look different for it."""
    chat = ChatFormat(templates_parts._byte_model(tmp_path, template, seed=0))
    with pytest.raises(CompatibilityError, match="cannot be told from what stands around it") as caught:
        chat.document(PLAIN[:-1], "x", turns=[1])
    assert '"train": false' in caught.value.hint


def test_the_word_that_stands_for_a_turn_may_be_in_the_conversation(tmp_path: Path) -> None:
    chat = ChatFormat(templates_parts.chatml(tmp_path))
    words = [user("say spiritsafeturn"), said("spiritsafeturn spiritsafeturnx"), user("again")]
    runs = learnt(chat, chat.document(words, "spiritsafeturn", turns=[1]))
    assert runs == ["spiritsafeturn spiritsafeturnx<|im_end|>", "spiritsafeturn<|im_end|>"]
