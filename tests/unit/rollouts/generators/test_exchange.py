import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body, error_body

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.records import Sampling
from spiritsafe.rollouts.generators.exchange import Exchange, RemoteConfig, Trouble
from spiritsafe.rollouts.generators.reply import ChatReply

Start = Callable[[Answer], FakeEndpoint]


def send(url: str, num: int = 1, *, api_key: str | None = None, **config: Any) -> list[ChatReply | Trouble]:
    """Send the same request some times over one set of connections."""

    async def scenario() -> list[ChatReply | Trouble]:
        settings = RemoteConfig(**{"timeout_s": 5.0, **config})
        exchange = Exchange(url=f"{url}/chat/completions", model="m", api_key=api_key, config=settings)
        try:
            body = json.dumps({"model": "m", "messages": []}).encode()
            return [await exchange.send(body, prompt_bytes=4, sampling=Sampling()) for _ in range(num)]
        finally:
            await exchange.close()

    return asyncio.run(scenario())


def trouble(url: str, **config: Any) -> Trouble:
    (outcome,) = send(url, **config)
    assert isinstance(outcome, Trouble)
    return outcome


def failing(status: int, message: str = "", code: str | None = None, **headers: str) -> HttpReply:
    return HttpReply(
        status=status, body=error_body(message, code=code), headers={"Content-Type": "application/json", **headers}
    )


def test_a_reply(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "four")
    (reply,) = send(endpoint.url, api_key="sk-1")
    assert isinstance(reply, ChatReply)
    assert reply.text == "four"
    headers = endpoint.requests[0].headers
    assert (headers["Authorization"], headers["Accept-Encoding"]) == ("Bearer sk-1", "identity")
    send(endpoint.url)
    assert "Authorization" not in endpoint.requests[1].headers


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_passing_troubles_are_worth_another_try(fake_endpoint: Start, status: int) -> None:
    found = trouble(fake_endpoint(lambda _: failing(status, "busy", **{"Retry-After": "3"})).url)
    assert found == Trouble(reason=f"HTTP {status}: busy", again=True, wait_s=3.0)


@pytest.mark.parametrize("status", [400, 413, 422, 501, 204])
def test_lasting_troubles_are_not(fake_endpoint: Start, status: int) -> None:
    assert not trouble(fake_endpoint(lambda _: failing(status, "no", **{"Retry-After": "3"})).url).again


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (401, None, "api_key_env"),
        (402, None, "quota"),
        (403, None, "api_key_env"),
        (404, "model_not_found", "serves the model 'm'"),
        (429, "insufficient_quota", "top it up"),
    ],
)
def test_an_unusable_endpoint(fake_endpoint: Start, status: int, code: str | None, hint: str) -> None:
    endpoint = fake_endpoint(lambda _: failing(status, "no, sk-key", code))
    with pytest.raises(EndpointError, match=f"HTTP {status}") as caught:
        send(endpoint.url, api_key="sk-key")
    assert hint in caught.value.hint
    assert "sk-key" not in caught.value.diagnostics()


def test_forbidden_after_a_success_concerns_one_prompt_only(fake_endpoint: Start) -> None:
    replies = iter(["fine", failing(403, "moderated")])
    outcomes = send(fake_endpoint(lambda _: next(replies)).url, 2)
    assert outcomes[1] == Trouble(reason="HTTP 403: moderated")


def test_the_operators_filter_is_a_refusal(fake_endpoint: Start) -> None:
    assert trouble(fake_endpoint(lambda _: failing(400, "filtered", "content_filter")).url).refused


def test_redirects_are_not_followed(fake_endpoint: Start) -> None:
    target = fake_endpoint(lambda _: "stolen")
    endpoint = fake_endpoint(lambda _: HttpReply(status=307, headers={"Location": f"{target.url}/chat/completions"}))
    with pytest.raises(EndpointError, match=r"redirects \(HTTP 307\) to http://127") as caught:
        send(endpoint.url, api_key="sk-key")
    assert "base URL" in caught.value.hint
    assert target.requests == []


def test_a_late_answer_and_a_slow_drip_time_out(fake_endpoint: Start) -> None:
    late = trouble(fake_endpoint(lambda _: HttpReply(body=chat_body("x"), delay_s=5)).url, timeout_s=0.15)
    drip = trouble(fake_endpoint(lambda _: HttpReply(body=chat_body("x"), drip_s=0.02)).url, timeout_s=0.15)
    for found in (late, drip):
        assert found.again
        assert found.reason == "timeout: no complete answer within 0.15 s"


def test_half_a_body_and_a_reset_are_broken_connections(fake_endpoint: Start) -> None:
    whole = chat_body("x")
    half = trouble(fake_endpoint(lambda _: HttpReply(body=whole[: len(whole) // 2], promised_bytes=len(whole))).url)
    reset = trouble(fake_endpoint(lambda _: HttpReply(reset=True)).url)
    for found in (half, reset):
        assert found.again
        assert not found.unreachable
        assert "connection broke" in found.reason


def test_garbage_says_what_it_was(fake_endpoint: Start) -> None:
    html = {"Content-Type": "text/html"}
    found = trouble(fake_endpoint(lambda _: HttpReply(body=b"<html>hi</html>", headers=html)).url)
    assert not found.again
    assert found.reason == "garbage reply: not JSON, it begins with '<html>hi</html>' (content type text/html)"


def test_a_wrong_content_type_does_not_matter_if_the_content_is_right(fake_endpoint: Start) -> None:
    (reply,) = send(fake_endpoint(lambda _: HttpReply(body=chat_body("x"), headers={"Content-Type": "text/plain"})).url)
    assert isinstance(reply, ChatReply)


def test_a_huge_reply_is_not_read(fake_endpoint: Start) -> None:
    announced = HttpReply(body=b"x" * 500_000)
    endless = HttpReply(body=b"x" * 500_000, chunked=True)
    for reply in (announced, endless):
        found = trouble(fake_endpoint(lambda _, reply=reply: reply).url, max_reply_bytes=2048)
        assert found.reason == "garbage reply: longer than 2048 bytes"


def test_a_reply_without_a_length_is_read(fake_endpoint: Start) -> None:
    (reply,) = send(fake_endpoint(lambda _: HttpReply(body=chat_body("4"), chunked=True)).url)
    assert isinstance(reply, ChatReply)
    assert reply.text == "4"


def test_a_packed_reply_is_not_unpacked(fake_endpoint: Start) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert (
        "not JSON" in trouble(fake_endpoint(lambda _: HttpReply(body=b"\x1f\x8b\x08bomb", headers=headers)).url).reason
    )


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = trouble(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
    assert found.again
    assert found.unreachable
    assert "no connection" in found.reason


@pytest.mark.parametrize("url", ["http://127.1:9/v1"])
def test_what_no_client_takes_for_an_address_is_said_at_once(url: str) -> None:
    with pytest.raises(EndpointError, match="no address to connect to"):
        send(url)


def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(EndpointError, match="host name cannot be resolved") as caught:
        send("http://no-such-host.invalid/v1")
    assert "spelling" in caught.value.hint


def test_plain_http_where_tls_was_asked_for(fake_endpoint: Start) -> None:
    with pytest.raises(EndpointError, match="secure connection failed"):
        send(fake_endpoint(lambda _: "x").url.replace("http://", "https://"))


def test_whether_an_answer_had_begun_and_whether_the_question_was_judged(fake_endpoint: Start) -> None:
    whole = chat_body("4")

    def found(reply: HttpReply) -> tuple[bool, bool]:
        it = trouble(fake_endpoint(lambda _: reply).url)
        return it.begun, it.answered

    assert found(HttpReply(body=whole[:40], promised_bytes=len(whole))) == (True, False)
    assert found(HttpReply(status=503, body=b"x" * 40, promised_bytes=100)) == (False, False)
    assert found(HttpReply(reset=True)) == (False, False)
    assert found(HttpReply(status=500, body=b"")) == (False, False)
    assert found(HttpReply(status=501, body=b"")) == (False, False)
    assert found(HttpReply(status=400, body=b"")) == (False, True)
    assert found(HttpReply(body=b"garbage")) == (False, True)
