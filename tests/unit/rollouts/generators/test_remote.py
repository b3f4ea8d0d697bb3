import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body, error_body

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, EndpointError, ProcedureError, RecipeError, StoppedError
from spiritsafe.core.generator import Announcing, Generator
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.rollouts import RemoteConfig, RemoteGenerator
from spiritsafe.rollouts.generators.remote import api_root

Start = Callable[[Answer], FakeEndpoint]
PROMPT = Prompt(problem_id="p", messages=(Message(role="user", content="2 + 2?"),), num_samples=3)
QUICK = RemoteConfig(timeout_s=5.0, backoff_base_s=0.01, max_tries=2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        ("http://h:8000/v1", "http://h:8000/v1"),
        (" https://h/v1/ ", "https://h/v1"),
        ("https://h/api", "https://h/api/v1"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_api_root(given: str, expected: str) -> None:
    assert api_root(given) == expected


@pytest.mark.parametrize(
    "given",
    ["", "h:8000", "ftp://h", "http://", "http://h:99999", "http://h:x", "http://u:p@h", "http://h?key=1", "http://[h"],
)
def test_addresses_that_are_none(given: str) -> None:
    with pytest.raises(RecipeError) as caught:
        api_root(given)
    assert "u:p" not in caught.value.diagnostics()


def test_it_is_a_generator(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    with RemoteGenerator(endpoint.url, "m") as generator:
        as_protocol: Generator = generator
        info = as_protocol.describe()
        assert info.kind == "remote"
        assert info.digest == digest({"url": endpoint.url, "model": "m"})
        assert not info.has_logprobs
        attempts = list(as_protocol.generate([PROMPT], Sampling()))
        assert sorted(a.sample_index for a in attempts) == [0, 1, 2]
        assert {a.model for a in attempts} == {info.digest}
        assert generator.usage().num_requests == 3
        assert [a.text for a in generator.generate([PROMPT], Sampling())] == ["4"] * 3  # the thread is used again
        assert list(generator.generate([], Sampling())) == []
        with pytest.raises(CompatibilityError):
            generator.score([PROMPT.messages], ["4"])


def test_rollouts_of_an_endpoint_that_ignores_its_limits_are_cut_and_counted(fake_endpoint: Start) -> None:
    text = "Let me think aloud. " * 2700 + "#### 4\nQ: next"
    with RemoteGenerator(fake_endpoint(lambda _: text).url, "m") as generator:
        (attempt, *_) = generator.generate([PROMPT], Sampling(max_tokens=16, stop=("Q:",)))
        usage = generator.usage()
    assert (attempt.text, attempt.finish_reason) == (text[:2048], "length")
    assert attempt.num_tokens > 13_000
    assert (usage.num_overlong, usage.num_unstopped) == (3, 3)


def test_attempts_arrive_while_others_are_under_way(fake_endpoint: Start) -> None:
    order = iter(range(10))
    read = threading.Event()

    def answer(body: dict[str, Any]) -> str | HttpReply:
        if next(order) == 0:
            return "early"
        return HttpReply(body=chat_body("late"), held=read)

    endpoint = fake_endpoint(answer)
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(max_tries=1)) as generator:
        arriving = generator.generate([PROMPT], Sampling())
        assert next(arriving).text == "early"
        read.set()  # the others are answered now, and not before
        assert [a.text for a in arriving] == ["late", "late"]


def test_a_reader_who_leaves_early_stops_the_requests(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: HttpReply(body=chat_body("4"), delay_s=0.02))
    many = PROMPT.model_copy(update={"num_samples": 500})
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(concurrency=2)) as generator:
        arriving = generator.generate([many], Sampling())
        next(arriving)
        arriving.close()  # type: ignore[attr-defined]  # a generator function's iterator
        seen = len(endpoint.requests)
        time.sleep(0.1)
        assert len(endpoint.requests) <= seen + 2


def test_what_is_fatal_reaches_the_caller_with_a_hint(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: HttpReply(status=404, body=error_body("no model m")))
    with RemoteGenerator(endpoint.url, "m", config=QUICK) as generator:
        with pytest.raises(EndpointError, match="no model m") as caught:
            list(generator.generate([PROMPT], Sampling()))
        assert caught.value.hint


def test_attempts_before_a_fatal_error_are_handed_over(fake_endpoint: Start) -> None:
    replies = iter(["4", HttpReply(status=401, body=b"")])
    endpoint = fake_endpoint(lambda _: next(replies))
    config = RemoteConfig(concurrency=1)
    with RemoteGenerator(endpoint.url, "m", config=config) as generator:
        arriving = generator.generate([PROMPT], Sampling())
        assert next(arriving).text == "4"
        with pytest.raises(EndpointError, match="401"):
            next(arriving)


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", " sk-very-secret\n")
    endpoint = fake_endpoint(lambda _: HttpReply(status=401, body=error_body("bad key sk-very-secret")))
    with RemoteGenerator(endpoint.url, "m", api_key_env="TEST_KEY") as generator:
        with pytest.raises(EndpointError) as caught:
            list(generator.generate([PROMPT], Sampling()))
        for text in (caught.value.diagnostics(), repr(caught.value), repr(generator), str(generator.describe())):
            assert "very-secret" not in text
    assert endpoint.requests[0].headers["Authorization"] == "Bearer sk-very-secret"
    for value in ("", "two words", "schlüssel", "a\x00b"):
        if "\x00" not in value:
            monkeypatch.setenv("TEST_KEY", value)
            with pytest.raises(RecipeError, match="TEST_KEY"):
                RemoteGenerator(endpoint.url, "m", api_key_env="TEST_KEY")
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(RecipeError, match="not set"):
        RemoteGenerator(endpoint.url, "m", api_key_env="TEST_KEY")


def test_logprobs_are_refused_where_they_would_be_wrong(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(logprobs=True)) as generator:
        assert generator.describe().has_logprobs
        with pytest.raises(CompatibilityError, match="temperature"):
            list(generator.generate([PROMPT], Sampling(temperature=0.7)))
    assert endpoint.requests == []


def test_closed_is_closed_and_leaves_no_thread(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    threads_before = threading.active_count()
    generator = RemoteGenerator(endpoint.url, "m")
    assert threading.active_count() == threads_before  # nothing starts before the first question
    list(generator.generate([PROMPT], Sampling()))
    assert threading.active_count() == threads_before + 1
    generator.close()
    generator.close()
    assert threading.active_count() == threads_before
    with pytest.raises(ProcedureError):
        list(generator.generate([PROMPT], Sampling()))


def test_closing_drops_what_is_under_way(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: HttpReply(body=chat_body("4"), delay_s=30))
    generator = RemoteGenerator(endpoint.url, "m")
    outcome: list[BaseException | None] = []

    def read() -> None:
        try:
            list(generator.generate([PROMPT], Sampling()))
            outcome.append(None)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test looks at it
            outcome.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while len(endpoint.requests) < 3:
        time.sleep(0.01)
    generator.close()
    reader.join(5)
    assert not reader.is_alive()
    assert outcome[0] is not None


def test_a_turn_that_is_begun_needs_a_server_that_goes_on(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    begun = PROMPT.model_copy(update={"prefix": "Let me think"})
    with RemoteGenerator(endpoint.url, "m") as generator, pytest.raises(CompatibilityError, match="begun"):
        list(generator.generate([begun], Sampling()))
    assert endpoint.requests == []
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(continues=True)) as generator:
        assert [a.text for a in generator.generate([begun], Sampling())] == ["4"] * 3


def test_each_sample_is_announced_once_before_it_is_sent(fake_endpoint: Start) -> None:
    told: list[tuple[str, int]] = []
    late: list[int] = []
    fails = iter([True, True])

    def answer(body: dict[str, Any]) -> str | HttpReply:
        late.append(len(told))
        return HttpReply(status=503, body=error_body("busy")) if next(fails, False) else "4"

    endpoint = fake_endpoint(answer)
    prompts = [PROMPT.model_copy(update={"problem_id": f"p{k}", "num_samples": 2}) for k in range(5)]
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(concurrency=2, backoff_base_s=0.01)) as generator:
        assert isinstance(generator, Announcing)
        found = generator.generate_announced(prompts, Sampling(), lambda problem, index: told.append((problem, index)))
        attempts = [(attempt.problem_id, attempt.sample_index) for attempt in found]
    assert sorted(told) == [(f"p{k}", index) for k in range(5) for index in range(2)]  # no try again is told again
    assert sorted(attempts) == sorted(told)
    assert len(endpoint.requests) == 12
    assert all(count >= min(number, 10) for number, count in enumerate(late, start=-1))


def test_what_the_announcement_raises_ends_it(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")

    def refuse(problem: str, index: int) -> None:
        raise ProcedureError("Full.", hint="Empty it.")

    with RemoteGenerator(endpoint.url, "m") as generator, pytest.raises(ProcedureError, match="Full"):
        list(generator.generate_announced([PROMPT], Sampling(), refuse))
    assert endpoint.requests == []


def test_an_announced_generation_waits_for_a_slow_reader(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(lambda _: "4")
    prompt = PROMPT.model_copy(update={"num_samples": 60})
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(concurrency=3)) as generator:
        found = generator.generate_announced([prompt], Sampling(), lambda problem, index: None)
        next(found)
        time.sleep(0.3)
        assert len(endpoint.requests) <= 1 + 2 * 3  # under way, and as many waiting to be read
        assert len(list(found)) == 59


def test_stopped_it_hands_over_what_is_under_way_and_sends_no_more(fake_endpoint: Start) -> None:
    arrived = threading.Event()

    def answer(body: dict[str, Any]) -> HttpReply:
        arrived.set()
        return HttpReply(body=chat_body("4"), delay_s=0.3)

    endpoint = fake_endpoint(answer)
    told: list[int] = []
    prompt = PROMPT.model_copy(update={"num_samples": 60})
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(concurrency=3)) as generator:
        stopper = threading.Thread(target=lambda: (arrived.wait(10), generator.stop()))
        stopper.start()
        got: list[int] = []
        found = generator.generate_announced([prompt], Sampling(), lambda _, index: told.append(index))
        with pytest.raises(StoppedError):
            got.extend(attempt.sample_index for attempt in found)
        stopper.join()
        assert sorted(got) == sorted(told)
        assert 0 < len(got) < 60
        with pytest.raises(StoppedError):
            list(generator.generate([PROMPT], Sampling()))
    assert len(endpoint.requests) == len(got)


def test_stopped_it_waits_for_no_other_try(fake_endpoint: Start) -> None:
    """A wait of an hour that the endpoint asked for is told, and ends when the user asks to stop."""
    replies = iter(["4"])
    slow = HttpReply(status=429, body=error_body("slow down"), headers={"Retry-After": "3600"})

    def answer(body: dict[str, Any]) -> str | HttpReply:
        return next(replies, slow)

    def wait_for(what: Callable[[], bool]) -> None:
        while not what():
            time.sleep(0.01)

    back: list[int] = []
    heard: list[str] = []
    config = RemoteConfig(concurrency=1, retry_after_most_s=7200.0)
    with RemoteGenerator(fake_endpoint(answer).url, "m", config=config, tell=heard.append) as generator:
        stopper = threading.Thread(target=lambda: (wait_for(lambda: bool(heard)), generator.stop()))
        stopper.start()
        found = generator.generate_announced([PROMPT], Sampling(), None, lambda _, index: back.append(index))
        with pytest.raises(StoppedError):
            list(found)
        stopper.join()
    assert back == [1]
    assert [text.split(": ", 1)[1] for text in heard] == ["HTTP 429: slow down; it asks for a wait of 3600 s."]
