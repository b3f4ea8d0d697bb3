import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body, error_body

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling, ToolCall
from spiritsafe.core.seeds import derive_seed
from spiritsafe.rollouts.generators.endpoint import ChatEndpoint, request_seed
from spiritsafe.rollouts.generators.exchange import RemoteConfig
from spiritsafe.rollouts.generators.usage import UsageAccount, UsageReport

Start = Callable[[Answer], FakeEndpoint]
MESSAGES = (Message(role="system", content="Be brief."), Message(role="user", content="2 + 2? é"))


def run(
    url: str, prompts: list[Prompt], sampling: Sampling | None = None, **config: Any
) -> tuple[list[Attempt], UsageReport]:
    """All attempts, once the run has come to its end; what it raises is raised after that."""

    async def scenario() -> tuple[list[Attempt], UsageReport]:
        account = UsageAccount()
        settings = RemoteConfig(**{"timeout_s": 5.0, "backoff_base_s": 0.01, "max_tries": 3, **config})
        endpoint = ChatEndpoint(
            url=f"{url}/chat/completions", model="m", model_digest="d", api_key=None, config=settings, account=account
        )
        attempts: list[Attempt] = []
        try:
            await endpoint.run(prompts, sampling or Sampling(), attempts.append)
        finally:
            await endpoint.close()
        return attempts, account.report()

    return asyncio.run(scenario())


def prompt(name: str = "p", num_samples: int = 1, **more: Any) -> Prompt:
    return Prompt(problem_id=name, messages=MESSAGES, num_samples=num_samples, **more)


BUSY = HttpReply(status=503, body=error_body("busy"))


def test_each_sample_is_a_request_with_its_own_seed(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda body: str(body["seed"]))
    attempts, report = run(endpoint.url, [prompt("a", 3, first_sample=2, seed=7), prompt("b")])
    assert {(a.problem_id, a.sample_index) for a in attempts} == {("a", 2), ("a", 3), ("a", 4), ("b", 0)}
    for attempt in attempts:
        root = 7 if attempt.problem_id == "a" else 0
        assert attempt.text == str(derive_seed(root, attempt.problem_id, attempt.sample_index) % 2**31)
        assert attempt.seed == root
    assert report.num_requests == 4
    assert str(request_seed(prompt("a", seed=7), 2)) in {a.text for a in attempts}


def test_the_request_says_what_was_asked_and_nothing_else(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    run(endpoint.url, [prompt()])
    assert endpoint.requests[0].body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2? é"}],
        "max_tokens": 256,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": request_seed(prompt(), 0),
    }
    sampling = Sampling(temperature=0.0, top_p=0.9, top_k=5, min_p=0.1, max_tokens=7, stop=("Q:",))
    logprobs = {"content": [{"token": "4", "logprob": -0.5}]}
    answers = fake_endpoint(lambda _: HttpReply(body=chat_body("4", logprobs=logprobs)))
    (attempt,), _ = run(answers.url, [prompt()], sampling, logprobs=True, max_tokens_field="max_completion_tokens")
    sent = answers.requests[0].body
    assert {k: v for k, v in sent.items() if k not in ("model", "messages", "seed")} == {
        "max_completion_tokens": 7,
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "stop": ["Q:"],
        "logprobs": True,
    }
    assert attempt.logprobs == (-0.5,)
    assert attempt.sampling == sampling


def test_tools_and_their_calls_go_along(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "wet")
    tool = '{"type": "function", "function": {"name": "weather"}}'
    call = ToolCall(name="weather", arguments='{"city": "Ayr"}', id="c1")
    messages = (
        Message(role="user", content="weather?", tools=(tool,)),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="rain", tool_call_id="c1"),
    )
    run(endpoint.url, [Prompt(problem_id="p", messages=messages)])
    body = endpoint.requests[0].body
    assert body["tools"] == [json.loads(tool)]
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ayr"}'}}
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
    ]


def test_errors_that_pass_are_retried_with_the_same_seed(fake_endpoint: Start) -> None:
    seen: Counter[int] = Counter()

    def answer(body: dict[str, Any]) -> str | HttpReply:
        seen[body["seed"]] += 1
        return BUSY if seen[body["seed"]] < 3 else "4"

    attempts, report = run(fake_endpoint(answer).url, [prompt(num_samples=4)])
    assert [a.text for a in attempts] == ["4"] * 4
    assert set(seen.values()) == {3}
    assert (report.num_requests, report.num_retries, report.num_failures) == (12, 8, 0)


def test_errors_that_stay_become_error_attempts(fake_endpoint: Start) -> None:
    replies = iter(["4"])
    endpoint = fake_endpoint(lambda _: next(replies, BUSY))
    attempts, report = run(endpoint.url, [prompt("fine"), prompt(num_samples=2)], concurrency=1)
    assert [(a.finish_reason, a.text, a.num_tokens) for a in attempts[1:]] == [("error", "", 0)] * 2
    assert {a.error for a in attempts[1:]} == {"HTTP 503: busy (after 3 tries)"}
    assert (report.num_requests, report.num_retries, report.num_failures) == (7, 4, 2)


def test_garbage_is_an_error_attempt_at_once(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: HttpReply(body=b"lorem ipsum"))
    (attempt,), report = run(endpoint.url, [prompt()])
    assert attempt.finish_reason == "error"
    assert attempt.error == "garbage reply: not JSON, it begins with 'lorem ipsum'"
    assert (report.num_requests, report.num_failures) == (1, 1)


def test_a_broken_connection_heals(fake_endpoint: Start) -> None:
    whole = chat_body("4")
    half = HttpReply(body=whole[:40], promised_bytes=len(whole))
    replies = iter([HttpReply(reset=True), half, "4"])
    (attempt,), report = run(fake_endpoint(lambda _: next(replies)).url, [prompt()])
    assert attempt.text == "4"
    assert report.num_retries == 2


def test_retry_after_pauses_every_connection(fake_endpoint: Start) -> None:
    slow = HttpReply(status=429, body=error_body("slow down"), headers={"Retry-After": "0.3"})
    replies = iter([slow])
    endpoint = fake_endpoint(lambda _: next(replies, "4"))
    attempts, _ = run(endpoint.url, [prompt(num_samples=5)], concurrency=1)
    assert {a.text for a in attempts} == {"4"}
    times = [request.time for request in endpoint.requests]
    assert times[1] - times[0] >= 0.29

    replies = iter([slow])  # with a second connection: it finishes what it has begun, then waits too
    endpoint = fake_endpoint(lambda _: next(replies, None) or HttpReply(body=chat_body("4"), delay_s=0.02))
    run(endpoint.url, [prompt(num_samples=8)], concurrency=2)
    times = sorted(request.time for request in endpoint.requests)
    assert times[2] - times[0] >= 0.29


def test_too_long_a_wait_is_an_error(fake_endpoint: Start) -> None:
    replies = iter(["4", HttpReply(status=429, body=b"", headers={"Retry-After": "86400"})])
    endpoint = fake_endpoint(lambda _: next(replies))
    attempts, _ = run(endpoint.url, [prompt("fine"), prompt()], concurrency=1)
    assert attempts[1].error == "HTTP 429; it asks for a wait of 86400 s"
    assert len(endpoint.requests) == 2


def test_an_operators_refusal_is_a_refusal_and_no_failure(fake_endpoint: Start) -> None:
    filtered = HttpReply(status=400, body=error_body("filtered", code="content_filter"))
    (attempt,), report = run(fake_endpoint(lambda _: filtered).url, [prompt()])
    assert (attempt.finish_reason, attempt.error, report.num_failures) == ("refused", None, 0)


def test_concurrency_is_bounded_and_used(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: HttpReply(body=chat_body("4"), delay_s=0.02))
    attempts, _ = run(endpoint.url, [prompt(num_samples=30)], concurrency=5)
    assert len(attempts) == 30
    assert endpoint.max_at_once == 5


def test_rate_limits_are_kept(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    run(endpoint.url, [prompt(num_samples=5)], requests_per_minute=1200)
    times = sorted(request.time for request in endpoint.requests)
    assert times[-1] - times[0] >= 4 * 0.05 - 0.03
    run(endpoint.url, [prompt("q", num_samples=3)], Sampling(max_tokens=45), tokens_per_minute=30_000, concurrency=3)
    times = sorted(request.time for request in endpoint.requests)[5:]
    assert times[-1] - times[0] >= 2 * 50 / 500 - 0.02  # booked at most: 45 of the completion, 5 of the prompt


def test_an_endpoint_that_lies_about_usage_is_counted(fake_endpoint: Start) -> None:
    lies: list[Any] = [
        {"prompt_tokens": -5, "completion_tokens": -1},
        {"prompt_tokens": 20, "completion_tokens": 10**15},
        None,
        "much",
        {"prompt_tokens": 20, "completion_tokens": 257},
    ]
    replies = iter([*[HttpReply(body=chat_body("It is 4.", usage=lie)) for lie in lies], "It is 4."])
    attempts, report = run(fake_endpoint(lambda _: next(replies)).url, [prompt(num_samples=6)], concurrency=1)
    assert [a.num_tokens for a in attempts] == [2, 2, 2, 2, 2, 4]
    assert {a.finish_reason for a in attempts} == {"stop"}
    assert (report.usage_suspect, report.usage_missing) == (5, 1)
    assert report.num_completion_tokens == 14
    assert report.num_estimated_completion_tokens == 12


def test_an_unusable_endpoint_ends_the_run(fake_endpoint: Start) -> None:
    def answer(body: dict[str, Any]) -> HttpReply:
        return HttpReply(status=401, body=error_body("who are you?"))

    endpoint = fake_endpoint(answer)
    with pytest.raises(EndpointError, match="who are you"):
        run(endpoint.url, [prompt(num_samples=200)], concurrency=4)
    assert len(endpoint.requests) <= 8


def test_nobody_listening_is_tried_some_times_and_then_fatal() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        started = time.monotonic()
        with pytest.raises(EndpointError, match="no connection") as caught:
            run(f"http://127.0.0.1:{unused.getsockname()[1]}/v1", [prompt()], backoff_base_s=0.1)
    assert time.monotonic() - started >= 0.15  # two waits of at least half of 0.1 and 0.2 s
    assert "loaded its model" in caught.value.hint


def test_an_endpoint_that_goes_away_later_gives_error_attempts(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")

    async def scenario() -> list[Attempt]:
        account = UsageAccount()
        config = RemoteConfig(max_tries=2, backoff_base_s=0.0)
        client = ChatEndpoint(
            url=f"{endpoint.url}/chat/completions",
            model="m",
            model_digest="d",
            api_key=None,
            config=config,
            account=account,
        )
        attempts: list[Attempt] = []
        await client.run([prompt("a")], Sampling(), attempts.append)
        await asyncio.to_thread(endpoint.close)
        await client.run([prompt("b")], Sampling(), attempts.append)
        await client.close()
        return attempts

    first, second = asyncio.run(scenario())
    assert first.text == "4"
    assert second.finish_reason == "error"


def test_bodies_are_plain_ascii_json(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda body: json.dumps(body["messages"][1]["content"]))
    (attempt,), _ = run(endpoint.url, [prompt()])
    assert json.loads(attempt.text) == "2 + 2? é"


def test_a_turn_that_is_begun_is_sent_as_vllm_and_sglang_take_it(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    (attempt,), _ = run(endpoint.url, [prompt(prefix="Let me think", max_tokens=9)], Sampling(max_tokens=50))
    sent = endpoint.requests[0].body
    assert sent["messages"][-1] == {"role": "assistant", "content": "Let me think"}
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert sent["max_tokens"] == 9
    assert attempt.sampling == Sampling(max_tokens=50)
    # a claim above the prompt's own limit is not believed
    liar = fake_endpoint(
        lambda _: HttpReply(body=chat_body("x" * 200, usage={"prompt_tokens": 20, "completion_tokens": 40}))
    )
    (attempt,), report = run(liar.url, [prompt(max_tokens=9)], Sampling(max_tokens=50))
    assert attempt.num_tokens == 9
    assert report.usage_suspect == 1


def draw(url: str, prompts: list[Prompt], **config: Any) -> tuple[dict[str, str], list[str], list[str], str]:
    """An announced run: what came of each problem, what was announced and taken back, and what it raised."""

    async def scenario() -> tuple[dict[str, str], list[str], list[str], str]:
        settings = RemoteConfig(**{"timeout_s": 5.0, "backoff_base_s": 0.0, "max_tries": 2, **config})
        endpoint = ChatEndpoint(
            url=f"{url}/chat/completions",
            model="m",
            model_digest="d",
            api_key=None,
            config=settings,
            account=UsageAccount(),
        )
        attempts: list[Attempt] = []
        told: list[str] = []
        back: list[str] = []
        raised = ""
        try:
            await endpoint.run(
                prompts,
                Sampling(),
                attempts.append,
                lambda name, _: told.append(name),
                not_asked=lambda name, _: back.append(name),
            )
        except EndpointError as error:
            raised = error.message
        await endpoint.close()
        return {a.problem_id: a.error or a.text for a in attempts}, told, back, raised

    return asyncio.run(scenario())


def of(body: dict[str, Any]) -> str:
    """Which problem a request is about."""
    return str(body["messages"][-1]["content"])


def question(name: str) -> Prompt:
    return Prompt(problem_id=name, messages=(Message(role="user", content=name),))


def test_who_never_answers_anything_is_an_error_and_no_attempt(fake_endpoint: Start) -> None:
    with pytest.raises(EndpointError, match="does not answer: a question failed"):
        run(fake_endpoint(lambda _: BUSY).url, [prompt(num_samples=2)])
    with pytest.raises(EndpointError, match=r"does not answer: \d+ questions in a row"):
        run(fake_endpoint(lambda _: BUSY).url, [prompt(f"p{k}") for k in range(40)])


def test_an_endpoint_that_dies_on_the_way_ends_the_run_soon(fake_endpoint: Start) -> None:
    """As much as is in the pool stays; the other 190 problems are no errors."""
    replies = iter(["4"] * 10)
    endpoint = fake_endpoint(lambda _: next(replies, BUSY))
    with pytest.raises(EndpointError, match="does not answer: 8 questions in a row failed"):
        run(endpoint.url, [prompt(f"p{k}") for k in range(200)], concurrency=2, max_tries=2)
    assert len(endpoint.requests) <= 10 + 2 * (8 + 2)


def test_one_problem_that_makes_the_server_fail_ends_nothing(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda body: BUSY if of(body) == "poison" else "4")
    prompts = [question("poison").model_copy(update={"num_samples": 20}), *(question(f"p{k}") for k in range(20))]
    attempts, _ = run(endpoint.url, prompts, concurrency=3)
    assert {a.problem_id for a in attempts if a.finish_reason == "error"} == {"poison"}
    assert len(attempts) == 40


def test_what_is_under_way_is_waited_for_when_the_endpoint_becomes_unusable(fake_endpoint: Start) -> None:
    """Nine are under way when the tenth is told that the credit is used up."""

    def answer(body: dict[str, Any]) -> HttpReply:
        if of(body) == "p9":
            return HttpReply(status=402, body=error_body("credit used up"))
        return HttpReply(body=chat_body("4"), delay_s=0.2)

    endpoint = fake_endpoint(answer)
    found, told, back, raised = draw(endpoint.url, [question(f"p{k}") for k in range(50)], concurrency=10)
    assert "credit used up" in raised
    assert set(told) == set(found) | set(back)
    assert set(found.values()) == {"4"}
    assert "p9" in back
    assert {f"p{k}" for k in range(9)} <= set(found)


REFUSALS = [HttpReply(status=status, body=error_body("no")) for status in (401, 402, 403, 404, 307, 429, 500, 503)]


@pytest.mark.parametrize("reply", [*REFUSALS, HttpReply(reset=True)], ids=lambda reply: str(reply.status))
def test_a_question_that_was_refused_was_not_asked(fake_endpoint: Start, reply: HttpReply) -> None:
    endpoint = fake_endpoint(lambda body: reply if of(body) == "no" else "4")
    _, told, back, _ = draw(endpoint.url, [question("yes"), question("no")], concurrency=1)
    assert told == ["yes", "no"]
    assert back == ["no"]


@pytest.mark.parametrize(
    "reply",
    [
        HttpReply(status=400, body=error_body("too long")),
        HttpReply(status=422, body=error_body("what?")),
        HttpReply(body=b"garbage"),
        HttpReply(body=chat_body("4")[:40], promised_bytes=len(chat_body("4"))),
    ],
    ids=["400", "422", "garbage", "broken off"],
)
def test_a_question_that_was_judged_or_half_answered_was_asked(fake_endpoint: Start, reply: HttpReply) -> None:
    endpoint = fake_endpoint(lambda body: reply if of(body) == "no" else "4")
    found, told, back, raised = draw(endpoint.url, [question("yes"), question("no")], concurrency=1)
    assert (told, back, raised) == (["yes", "no"], [], "")
    assert found["no"] != "4"


def test_once_half_an_answer_came_a_later_refusal_takes_nothing_back(fake_endpoint: Start) -> None:
    half = HttpReply(body=chat_body("4")[:40], promised_bytes=len(chat_body("4")))
    replies = iter(["4", half, BUSY])
    found, _, back, _ = draw(fake_endpoint(lambda _: next(replies)).url, [question("a"), question("b")], concurrency=1)
    assert back == []
    assert "503" in found["b"]


def test_a_server_that_hangs_is_asked_once_and_no_more(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: HttpReply(body=chat_body("4"), delay_s=30.0))
    with pytest.raises(EndpointError, match="timeout: no complete answer within") as caught:
        run(endpoint.url, [prompt(f"p{k}") for k in range(4)], timeout_s=0.2, max_tries=6)
    assert "timeout" in caught.value.hint
    assert len(endpoint.requests) <= 4


def test_one_problem_that_hangs_is_sent_twice(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda body: HttpReply(delay_s=30.0) if of(body) == "slow" else "4")
    attempts, _ = run(endpoint.url, [question("a"), question("slow")], timeout_s=1.0, max_tries=6, concurrency=1)
    assert [a.finish_reason for a in attempts] == ["stop", "error"]
    assert len(endpoint.requests) == 3
