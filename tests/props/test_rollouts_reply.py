"""Whatever an endpoint sends, reading it gives a checked reply or an EndpointError, and believable token counts."""

import json
from typing import Any

from fake_endpoint import chat_body
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.errors import EndpointError
from spiritsafe.rollouts.generators.rate_limits import retry_after_s
from spiritsafe.rollouts.generators.reply import parse_complaint, parse_reply, printable
from spiritsafe.rollouts.generators.usage import believe_usage

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3), max_leaves=8
)
usages = values | st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": values,
        "completion_tokens": values,
        "completion_tokens_details": values | st.fixed_dictionaries({"reasoning_tokens": values}),
    },
)


def check(data: bytes, *, logprobs: bool = False, max_tokens: int = 64) -> None:
    failure: EndpointError | None = None
    try:
        reply = parse_reply(data, prompt_bytes=40, max_tokens=max_tokens, stop=("Q",), logprobs=logprobs)
    except EndpointError as error:
        failure = error
    if failure:
        assert failure.hint
        assert failure.message.startswith("garbage reply")
        assert len(failure.message) < 500
        return
    reply.text.encode("utf-8")
    assert "Q" not in reply.text
    assert 0 <= reply.usage.num_tokens <= max_tokens
    assert 0 <= reply.usage.num_prompt_tokens <= 40 + 4096
    assert all(value <= 0.0 and value > float("-inf") for value in reply.logprobs)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    check(data)
    parse_complaint(data)


@given(values)
def test_any_json(value: Any) -> None:
    check(json.dumps(value).encode())
    parse_complaint(json.dumps(value).encode())


@given(
    st.fixed_dictionaries(
        {"choices": st.lists(st.fixed_dictionaries({"message": values, "finish_reason": values}) | values, max_size=2)},
        optional={"usage": usages},
    )
)
def test_nearly_a_reply(value: Any) -> None:
    check(json.dumps(value).encode())


@given(st.text(max_size=40), usages, values, st.booleans(), st.integers(1, 10_000))
def test_a_reply_with_odd_parts(text: str, usage: Any, logprobs: Any, asked: bool, max_tokens: int) -> None:
    check(chat_body(text, usage=usage, logprobs=logprobs), logprobs=asked, max_tokens=max_tokens)


@given(usages, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**5))
def test_usage_is_bounded_whatever_is_claimed(
    claimed: Any, prompt_bytes: int, completion_bytes: int, max_tokens: int
) -> None:
    usage = believe_usage(
        claimed,
        prompt_bytes=prompt_bytes,
        completion_bytes=completion_bytes,
        max_tokens=max_tokens,
    )
    assert 0 <= usage.num_tokens <= max_tokens
    assert 0 <= usage.num_prompt_tokens <= prompt_bytes + 4096
    assert usage.suspect or (isinstance(claimed, dict) and claimed["completion_tokens"] == usage.num_tokens)


@given(st.text(), st.text(min_size=4, max_size=12, alphabet="abcdef0123456789"))
def test_printable_shows_no_secret_and_no_control(text: str, secret: str) -> None:
    shown = printable(text + secret + text, secret=secret)
    assert shown.isprintable()
    assert len(shown) <= 200
    assert secret not in shown or secret in "[API key]"


@given(st.text(max_size=40))
def test_retry_after_is_a_wait_or_nothing(header: str) -> None:
    wait = retry_after_s(header)
    assert wait is None or wait >= 0.0
