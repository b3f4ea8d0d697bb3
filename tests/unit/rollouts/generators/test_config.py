import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body
from llama_server import llama_server, readable_answers
from pydantic import ValidationError
from tiny_gguf import write_gguf

from spiritsafe.core.errors import BudgetError, CompatibilityError, RecipeError
from spiritsafe.core.generator import Budgeted, Listing
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.rollouts import EndpointBudget, EndpointConfig, RemoteGenerator, open_endpoint, read_endpoint_config

Start = Callable[[Answer], FakeEndpoint]


def prompts(count: int, **fields: Any) -> list[Prompt]:
    return [
        Prompt(problem_id=f"p{i}", messages=(Message(role="user", content=f"{i}?"),), **fields) for i in range(count)
    ]


def draw(config: EndpointConfig, count: int = 1, sampling: Sampling | None = None, **fields: Any) -> list[Attempt]:
    with open_endpoint(config) as generator:
        return list(generator.generate(prompts(count, **fields), sampling or Sampling(max_tokens=8)))


def test_what_is_said_is_what_is_sent(fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "s3cret")
    endpoint = fake_endpoint(lambda _: "4")
    config = EndpointConfig(
        endpoint=endpoint.url,
        model="big",
        api_key_env="TEACHER_KEY",
        max_tokens_field="max_completion_tokens",
        extra_body={"chat_template_kwargs": {"enable_thinking": False}, "top_k": 0},
    )
    (attempt,) = draw(config)
    (seen,) = endpoint.requests
    assert seen.headers["Authorization"] == "Bearer s3cret"
    assert (seen.body["model"], seen.body["max_completion_tokens"], seen.body["top_k"]) == ("big", 8, 0)
    assert seen.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "logprobs" not in seen.body
    assert attempt.model == config.digest
    with pytest.raises(RecipeError, match="Both the sampling and extra_body say 'top_k'"):
        draw(config, sampling=Sampling(max_tokens=8, top_k=5))


def test_a_model_is_known_by_what_changes_its_answers() -> None:
    plain = EndpointConfig(endpoint="http://a:80/v1", model="m")
    with RemoteGenerator("http://a/v1/", "m") as generator:
        assert plain.digest == generator.describe().digest
    same = EndpointConfig(endpoint="http://a/v1", model="m", max_concurrency=2, timeout_s=5.0, budget={"tokens": 5})
    assert same.digest == plain.digest
    others = [
        EndpointConfig(endpoint="http://b", model="m"),
        EndpointConfig(endpoint="http://a", model="n"),
        EndpointConfig(endpoint="http://a", model="m", reasoning="drop"),
        EndpointConfig(endpoint="http://a", model="m", extra_body={"top_k": 0}),
        EndpointConfig(endpoint="http://a", model="m", extra_body={"top_k": 1}),
    ]
    assert len({plain.digest, *(other.digest for other in others)}) == 6


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"extra_body": {"temperature": 0.2}}, "'temperature', which is set by the sampling"),
        ({"extra_body": {"max_tokens": 9}}, "'max_tokens'"),
        ({"extra_body": {"messages": []}}, "'messages'"),
        ({"extra_body": {"stream": True}}, "'stream'"),
        ({"reasoning": "drop", "top_logprobs": 3}, "cannot go with logprobs"),
        ({"reasoning": "hide"}, "'keep' or 'drop'"),
        ({"endpoint": "ftp://x"}, "not an http or https address"),
        ({"endpoint": "http://key@x"}, "more than an address"),
        ({"model": ""}, "at least 1 character"),
        ({"budget": {}}, "a budget needs tokens, or money"),
        ({"budget": {"money": 1.0}}, "needs input_price and output_price"),
        ({"budget": {"tokens": 5, "input_price": 1.0, "output_price": 1.0}}, "prices need money"),
        ({"budget": {"tokens": 0}}, "greater than or equal to 1"),
        ({"max_tries": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        EndpointConfig.model_validate({"endpoint": "http://a", "model": "m", **said})


def test_a_file_says_the_same_and_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "teacher.toml"
    path.write_text(
        'endpoint = "http://a"\nmodel = "m"\nextra_body = { chat_template_kwargs = { enable_thinking = true } }\n'
        "budget = { money = 20.0, input_price = 0.5, output_price = 2.0 }\n"
    )
    assert read_endpoint_config(path) == EndpointConfig(
        endpoint="http://a",
        model="m",
        extra_body={"chat_template_kwargs": {"enable_thinking": True}},
        budget=EndpointBudget(money=20.0, input_price=0.5, output_price=2.0),
    )
    for text, match, hint in (
        ('endpoint = "http://a"\nmodel = "m"\nmax_concurency = 3', "unknown key 'max_concurency'", "'max_concurrency'"),
        ('endpoint = "http://a"\nmodel = "m"\nbudget = { token = 3 }', "unknown key 'budget.token'", "'tokens'"),
        ('endpoint = "http://a"', "'model' is missing", "Keys are"),
        ("endpoint = ", "not valid TOML", "Mend"),
        ('endpoint = "http://a"\nmodel = "m"\nextra_body = { seed = 3 }', "'seed', which is set", "Keys are"),
    ):
        path.write_text(text)
        with pytest.raises(RecipeError, match=match) as caught:
            read_endpoint_config(path)
        assert hint in caught.value.hint
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read_endpoint_config(path)


@pytest.mark.parametrize(
    ("message", "kept", "dropped"),
    [
        ({"content": "4", "reasoning_content": "2+2"}, "<think>\n2+2\n</think>\n\n4", "4"),
        ({"content": "<think>\n2+2\n</think>\n\n4"}, "<think>\n2+2\n</think>\n\n4", "4"),
        ({"content": "2+2\n</think>\n\n4"}, "<think>\n2+2\n</think>\n\n4", "4"),
        ({"content": "", "reasoning_content": "2+"}, "<think>\n2+", ""),
        ({"content": "4"}, "4", "4"),
    ],
)
def test_thoughts_are_kept_or_dropped(fake_endpoint: Start, message: Any, kept: str, dropped: str) -> None:
    body = {**json.loads(chat_body("x", usage={"prompt_tokens": 5, "completion_tokens": 7}))}
    body["choices"][0]["message"] = {"role": "assistant", **message}
    endpoint = fake_endpoint(lambda _: HttpReply(body=json.dumps(body).encode()))
    for reasoning, text in (("keep", kept), ("drop", dropped)):
        config = EndpointConfig.model_validate({"endpoint": endpoint.url, "model": "m", "reasoning": reasoning})
        (attempt,) = draw(config)
        assert (attempt.text, attempt.num_tokens) == (text, 7)  # thoughts cost what they cost


def _costly(num_tokens: int) -> Answer:
    usage = {"prompt_tokens": 2, "completion_tokens": num_tokens}
    return lambda _: HttpReply(body=chat_body("x" * 4 * num_tokens, usage=usage))


@pytest.mark.parametrize("concurrency", [1, 7])
def test_a_budget_is_never_passed(fake_endpoint: Start, concurrency: int) -> None:
    """An answer may take 2 + 8 tokens and takes 2 + 5: 13 of them leave 9 of 100, too little for one more."""
    endpoint = fake_endpoint(_costly(5))
    config = EndpointConfig(endpoint=endpoint.url, model="m", max_concurrency=concurrency, budget={"tokens": 100})
    found: list[Attempt] = []

    def ask(generator: RemoteGenerator) -> None:
        for attempt in generator.generate(prompts(50), Sampling(max_tokens=8)):
            found.append(attempt)

    with open_endpoint(config) as generator:
        with pytest.raises(BudgetError, match=r"91 of 100 tokens are used, and the next answer may take 10") as caught:
            ask(generator)
        assert "Raise the budget" in caught.value.hint
        assert len(found) == len(endpoint.requests) == 13
        assert generator.usage().num_completion_tokens == 65
        with pytest.raises(BudgetError):
            list(generator.generate(prompts(1), Sampling(max_tokens=8)))
    assert len(endpoint.requests) == 13


def test_money_counts_prompts_and_answers_at_their_prices(fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(_costly(5))
    budget = {"money": 0.001, "input_price": 10.0, "output_price": 50.0}  # 270 millionths an answer
    config = EndpointConfig(endpoint=endpoint.url, model="m", max_concurrency=1, budget=budget)
    with open_endpoint(config) as generator, pytest.raises(BudgetError, match=r"0\.00081 of 0\.001 in money"):
        list(generator.generate(prompts(50), Sampling(max_tokens=8)))
    assert len(endpoint.requests) == 3


def test_what_failed_is_not_paid_and_what_was_used_before_is(fake_endpoint: Start) -> None:
    answers = iter([HttpReply(status=400, body=b"{}")] * 9)
    endpoint = fake_endpoint(lambda body: next(answers, None) or _costly(5)(body))
    config = EndpointConfig(endpoint=endpoint.url, model="m", max_concurrency=1, budget={"tokens": 30})
    with open_endpoint(config) as generator:
        generator.count_earlier("yesterday", 3, 8)
        generator.count_earlier("yesterday", 3, 8)  # the same once more
        with pytest.raises(BudgetError, match="25 of 30 tokens"):
            list(generator.generate(prompts(50), Sampling(max_tokens=8)))
    assert len(endpoint.requests) == 9 + 2


def test_likeliest_tokens_are_handed_over_once(fake_endpoint: Start) -> None:
    top = [
        {"token": "4", "bytes": [52], "logprob": -0.1},
        {"token": "\ufffd", "bytes": [0xEF, 0xBF, 0xBD], "logprob": -3},
    ]
    entries = [
        {**top[0], "top_logprobs": top},
        {"token": "token_id:7", "bytes": None, "logprob": -0.2, "top_logprobs": top[:1]},
        {"token": "", "bytes": [], "id": 2, "logprob": 1e-4, "top_logprobs": top[:1]},
    ]
    endpoint = fake_endpoint(lambda _: HttpReply(body=chat_body("4", logprobs={"content": entries})))
    config = EndpointConfig(endpoint=endpoint.url, model="m", top_logprobs=2)
    with open_endpoint(config) as generator:
        (attempt,) = generator.generate(prompts(1), Sampling())
        assert attempt.logprobs == ()
        four = {"id": None, "bytes": "34", "logprob": -0.1}
        assert generator.take_listing("p0", 0) == [
            {**four, "top": [four, {"id": None, "bytes": None, "logprob": -3.0}]},
            {"id": 7, "bytes": None, "logprob": -0.2, "top": [four]},
            {"id": 2, "bytes": "", "logprob": 0.0, "top": [four]},
        ]
        assert generator.take_listing("p0", 0) is None
    assert (endpoint.requests[0].body["logprobs"], endpoint.requests[0].body["top_logprobs"]) == (True, 2)
    with pytest.raises(CompatibilityError, match="logprobs at temperature 1"):
        draw(config, sampling=Sampling(temperature=0.6))


def test_the_list_of_a_long_answer_may_be_long_and_no_longer(fake_endpoint: Start) -> None:
    """9 MB for 2,000 tokens with 20 others each, and the same for one."""
    other = {"token": "a", "bytes": [97], "logprob": -3.0, "padding": "x" * 160}
    body = chat_body("a" * 2000, usage=None, logprobs={"content": [{**other, "top_logprobs": [other] * 20}] * 2000})
    assert len(body) > 9e6
    endpoint = fake_endpoint(lambda _: HttpReply(body=body))
    config = EndpointConfig(endpoint=endpoint.url, model="m", top_logprobs=20)
    (attempt,) = draw(config, sampling=Sampling(max_tokens=2000))
    assert (attempt.finish_reason, attempt.num_tokens) == ("stop", 2000)
    (attempt,) = draw(config, sampling=Sampling(max_tokens=1))
    assert (attempt.error or "").startswith("garbage reply: longer than")


def test_collections_know_what_a_served_model_offers() -> None:
    with open_endpoint(EndpointConfig(endpoint="http://a", model="m")) as generator:
        assert isinstance(generator, Listing)
        assert isinstance(generator, Budgeted)
        assert generator.describe().kind == "remote"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"top_logprobs": None}, "top_logprobs is NoneType"),
        ({"top_logprobs": []}, "top_logprobs are empty"),
        ({"top_logprobs": [{"token": "a", "logprob": -1.0}] * 9}, "9 top_logprobs where 2"),
        ({"top_logprobs": [3]}, "an entry of top_logprobs is int"),
        ({"top_logprobs": [{"token": "a", "logprob": "x"}]}, "a logprob is"),
        ({"bytes": [300]}, "bytes of a token are none"),
        ({"bytes": ["a"]}, "bytes of a token are none"),
        ({"bytes": "ab"}, "bytes is str"),
        ({"id": "7"}, "has the id"),
        ({"id": -1}, "has the id"),
        ({"id": True}, "has the id"),
        ({"token": 5}, "a token is int"),
    ],
)
def test_a_listing_that_cannot_be_read_is_a_garbage_reply(fake_endpoint: Start, change: Any, match: str) -> None:
    entry = {"token": "a", "bytes": [97], "logprob": -1.0, "top_logprobs": [{"token": "a", "logprob": -1.0}]}
    body = chat_body("a", logprobs={"content": [{**entry, **change}]})
    endpoint = fake_endpoint(lambda _: HttpReply(body=body))
    (attempt,) = draw(EndpointConfig(endpoint=endpoint.url, model="m", top_logprobs=2))
    assert attempt.finish_reason == "error"
    assert match in (attempt.error or "")


def test_a_real_server_answers_counts_and_lists(tmp_path: Path) -> None:
    """llama.cpp's server, through xllamacpp."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, kind="F32")
    with llama_server(path) as url:
        config = EndpointConfig(
            endpoint=url, model="tiny", max_concurrency=2, top_logprobs=5, extra_body=readable_answers()
        )
        with open_endpoint(config) as generator:
            attempts = list(generator.generate(prompts(3, num_samples=2, seed=4), Sampling(max_tokens=6)))
            listed = [generator.take_listing(attempt.problem_id, attempt.sample_index) for attempt in attempts]
            usage = generator.usage()
        assert len(attempts) == 6
        assert {attempt.finish_reason for attempt in attempts} <= {"stop", "length"}
        assert all(0 < attempt.num_tokens <= 6 for attempt in attempts)
        assert all(listing and all(len(entry["top"]) == 5 for entry in listing) for listing in listed)  # type: ignore[union-attr, call-overload, index]
        assert (usage.num_failures, usage.usage_suspect) == (0, 0)
        again = {
            (a.problem_id, a.sample_index): a.text
            for a in draw(config, 3, num_samples=2, seed=4, sampling=Sampling(max_tokens=6))
        }
        assert again == {(a.problem_id, a.sample_index): a.text for a in attempts}  # seeds are obeyed
