import json
from typing import Any

import pytest
from fake_endpoint import chat_body, error_body

from spiritsafe.core.errors import EndpointError
from spiritsafe.rollouts.generators.reply import ChatReply, parse_complaint, parse_reply, printable


def parse(data: bytes, **changes: Any) -> ChatReply:
    return parse_reply(data, **{"prompt_bytes": 40, "max_tokens": 64, **changes})


def test_a_proper_reply() -> None:
    reply = parse(chat_body("The answer is 4."))
    assert (reply.text, reply.finish_reason, reply.logprobs) == ("The answer is 4.", "stop", ())
    assert (reply.usage.num_prompt_tokens, reply.usage.num_tokens, reply.usage.suspect) == (20, 5, False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "refused"), ("refusal", "refused")],
)
def test_finish_reasons(given: str, expected: str) -> None:
    assert parse(chat_body("x", finish_reason=given)).finish_reason == expected


def test_a_refusal_is_refused_and_its_text_kept() -> None:
    reply = parse(chat_body(None, refusal="I cannot."))
    assert (reply.finish_reason, reply.text) == ("refused", "I cannot.")
    assert parse(chat_body(None, finish_reason="length")).text == ""


def test_a_stop_string_that_the_server_left_in_is_cut() -> None:
    reply = parse(chat_body("4\nQ: next", finish_reason="length"), stop=("Q:", "\n"))
    assert (reply.text, reply.finish_reason, reply.went_on) == ("4", "stop", True)
    assert not parse(chat_body("4"), stop=("Q:",)).went_on


def test_a_text_that_so_few_tokens_cannot_hold_is_cut_and_counted() -> None:
    text = "Let me think aloud. " * 2700
    reply = parse(chat_body(text, usage={"prompt_tokens": 20, "completion_tokens": 16}), max_tokens=16)
    assert (reply.text, reply.finish_reason) == (text[:2048], "length")
    assert (reply.usage.num_tokens, reply.usage.overlong) == (len(text) // 4, True)


def test_reasoning_that_is_shown_beside_the_answer_counts() -> None:
    reply = parse(chat_body("#### 4", reasoning_content="Let me think aloud. " * 2700), max_tokens=16)
    # so much is no answer of 16 tokens; what 16 tokens can hold is a thought without an end
    assert reply.text == f"<think>\n{'Let me think aloud. ' * 2700}"[:2048]
    assert reply.finish_reason == "length"
    assert reply.usage.num_tokens > 13_000


THOUGHT = "First 2.\n\nThen 4."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("#### 4", {"reasoning_content": THOUGHT}),  # DeepSeek, llama.cpp, SGLang, vLLM before 0.11
        ("\n\n#### 4", {"reasoning_content": f"\n{THOUGHT}\n"}),  # parsers that leave the blank lines
        ("#### 4", {"reasoning": THOUGHT}),  # vLLM, OpenRouter, Ollama
        ("#### 4", {"reasoning": THOUGHT, "reasoning_content": THOUGHT}),
        ("#### 4", {"reasoning": THOUGHT, "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": "#### 4"}],
            {},
        ),
        ([{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": "#### "}, {"text": "4"}], {}),
        (f"{THOUGHT}\n</think>\n\n#### 4", {}),  # no parser, and the prompt's template opens the thought
        (f"<think>\n{THOUGHT}\n</think>\n\n#### 4", {}),  # no parser, and the model opens it
    ],
)
def test_a_thought_is_kept_in_one_spelling(content: Any, message: dict[str, Any]) -> None:
    reply = parse(chat_body(content, **message))
    assert reply.text == f"<think>\n{THOUGHT}\n</think>\n\n#### 4"
    assert reply.finish_reason == "stop"


@pytest.mark.parametrize("content", [None, "", "\n\n", []])
@pytest.mark.parametrize("finish", ["length", "stop"])
def test_a_thought_that_was_cut_off_has_no_end(content: Any, finish: str) -> None:
    reply = parse(chat_body(content, reasoning_content=THOUGHT, finish_reason=finish))
    assert (reply.text, reply.finish_reason) == (f"<think>\n{THOUGHT}", finish)


def test_without_a_thought_nothing_is_added() -> None:
    for message in ({}, {"reasoning_content": None}, {"reasoning": ""}):
        assert parse(chat_body("#### 4", **message)).text == "#### 4"
    refused = parse(chat_body(None, refusal="I cannot.", reasoning="Can I?"))
    assert (refused.text, refused.finish_reason) == ("<think>\nCan I?\n</think>\n\nI cannot.", "refused")


def test_a_stop_string_ends_a_thought_too() -> None:
    reply = parse(chat_body("#### 4", reasoning_content="one. Q: two"), stop=("Q:",))
    assert (reply.text, reply.finish_reason, reply.went_on) == ("<think>\none. ", "stop", True)


def test_a_thought_is_counted_once() -> None:
    thought, answer = "x" * 300, "y" * 100
    beside = parse(chat_body(answer, reasoning_content=thought, usage=None), max_tokens=400)
    assert beside.usage.num_tokens == 100  # a quarter of the bytes that came
    claimed = parse(
        chat_body(answer, reasoning_content=thought, usage={"prompt_tokens": 20, "completion_tokens": 390}),
        max_tokens=400,
    )
    assert (claimed.usage.num_tokens, claimed.usage.suspect) == (390, False)


@pytest.mark.parametrize(
    ("content", "finish", "text"),
    [
        ("First 2. So 4", "length", "<think>\nFirst 2. So 4"),
        ("First 2. So 4", "stop", "<think>\nFirst 2. So 4"),
        ("First 2.\n</think>\n\n4", "stop", "<think>\nFirst 2.\n</think>\n\n4"),
        ("<think>\nFirst 2", "length", "<think>\nFirst 2"),
        ("", "length", ""),
    ],
)
def test_a_server_that_hides_where_thoughts_begin(content: str, finish: str, text: str) -> None:
    assert parse(chat_body(content, finish_reason=finish), thinks=True).text == text


def test_what_goes_on_with_a_beginning_is_put_behind_it_as_it_is() -> None:
    assert parse(chat_body("so 4</think>#### 4"), begun=True, thinks=True).text == "so 4</think>#### 4"
    assert parse(chat_body("#### 4", reasoning="so 4"), begun=True).text == "so 4</think>\n\n#### 4"
    assert parse(chat_body(None, reasoning="#### 4"), begun=True).text == "#### 4"


@pytest.mark.parametrize(
    "content", [["x"], [{"text": 3}], [{"type": "thinking", "thinking": {}}], [{"type": "thinking", "thinking": ["x"]}]]
)
def test_odd_parts_are_garbage(content: Any) -> None:
    with pytest.raises(EndpointError, match="garbage"):
        parse(chat_body(content))


def test_no_more_logprobs_are_kept_than_tokens_were_asked_for() -> None:
    listed = {"content": [{"logprob": -0.5}] * 500}
    reply = parse(chat_body("4", logprobs=listed), logprobs=True)
    assert (len(reply.logprobs), reply.usage.num_tokens, reply.usage.overlong) == (64, 500, True)


def test_logprobs_are_read_and_checked() -> None:
    listed = {"content": [{"token": "4", "logprob": -0.5}, {"token": "", "logprob": 0}, {"token": "", "logprob": 1e-7}]}
    assert parse(chat_body("4", logprobs=listed), logprobs=True).logprobs == (-0.5, 0.0, 0.0)
    assert parse(chat_body("4", logprobs=listed)).logprobs == ()
    assert parse(chat_body("no", finish_reason="content_filter"), logprobs=True).logprobs == ()
    for bad in (0.5, None, "x", True, float("nan"), float("-inf"), float("inf")):
        with pytest.raises(EndpointError, match="logprob"):
            parse(chat_body("4", logprobs={"content": [{"logprob": bad}]}), logprobs=True)
    for missing in (None, {}, {"content": None}, {"content": ["x"]}):
        with pytest.raises(EndpointError, match="logprobs"):
            parse(chat_body("4", logprobs=missing), logprobs=True)


def changed(path: str, value: Any) -> bytes:
    body = json.loads(chat_body("4"))
    *parents, last = path.split(".")
    target = body
    for name in parents:
        target = target[int(name) if name.isdigit() else name]
    target[last] = value
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<html>busy</html>", "not JSON.*<html>"),
        (b"data: {}\n\n", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (chat_body("4")[:-20], "not JSON"),
        (b"[]", "the reply is list"),
        (b"{}", "choices is NoneType"),
        (changed("choices", []), "0 choices"),
        (changed("choices", [1, 2]), "2 choices"),
        (changed("choices", ["x"]), "the choice is str"),
        (changed("choices", [{"finish_reason": "stop"}]), "message is NoneType"),
    ],
)
def test_garbage_is_named(data: bytes, words: str) -> None:
    with pytest.raises(EndpointError, match=f"garbage reply: .*{words}"):
        parse(data)


@pytest.mark.parametrize("content", [4, ["4"], {"text": "4"}, True])
def test_content_of_a_wrong_type(content: Any) -> None:
    with pytest.raises(EndpointError, match="content is"):
        parse(chat_body(content))


@pytest.mark.parametrize("finish", [None, 3, "tool_calls", "soon", "\x1b[2J"])
def test_unknown_finish_reasons(finish: Any) -> None:
    with pytest.raises(EndpointError, match="finish_reason") as caught:
        parse(chat_body("4", finish_reason=finish))
    assert "\x1b" not in str(caught.value)


def test_a_lone_surrogate_is_garbage() -> None:
    with pytest.raises(EndpointError, match="not valid Unicode"):
        parse(chat_body("x\ud800"))


def test_the_key_is_in_no_message() -> None:
    with pytest.raises(EndpointError) as caught:
        parse(b"x" * 50 + b"sk-secret-key", secret="sk-secret-key")
    assert "sk-" not in str(caught.value)
    complaint = parse_complaint(error_body("Wrong key sk-secret-key!"), secret="sk-secret-key")
    assert complaint.text == "Wrong key [API key]!"


def test_complaints() -> None:
    assert parse_complaint(error_body("No such model", code="model_not_found")).code == "model_not_found"
    assert parse_complaint(error_body("Filtered", code="content_filter")).is_refusal
    assert parse_complaint(b'{"error":"plain"}').text == "plain"
    assert parse_complaint(b'{"message":"flat","code":42}').text == "flat"
    assert parse_complaint(b"<h1>502</h1>").text == "<h1>502</h1>"
    assert parse_complaint(b"[" * 100_000).text.startswith("[[")
    for odd in (b"", b"\xff", b"null", b"7", b'{"error":null}', b'{"error":[1]}', b'{"error":{"message":{}}}'):
        assert isinstance(parse_complaint(odd).text, str)


def test_printable_is_one_bounded_line() -> None:
    assert printable("a\n\x1b[31mb\tc\u202e") == "a [31mb c"
    assert len(printable("x" * 10_000)) == 200
