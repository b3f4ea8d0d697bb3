"""Truth is what the same weights say here: a tiny GGUF, served by llama.cpp and loaded by us."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body
from llama_server import llama_server, readable_answers
from tiny_gguf import write_gguf
from tiny_training import one_thread

from spiritsafe.core.errors import CompatibilityError, RecipeError, SourceError
from spiritsafe.core.records import Message, Problem, Sampling, Verdict
from spiritsafe.distil.cache import CachedTeacher, CaptureConfig
from spiritsafe.distil.served_answers import CapturedAnswers, capture_answers
from spiritsafe.distil.signal import SampledRows, document_key
from spiritsafe.models import Document, LoadedModel, load_model, pack_documents, resolve_source
from spiritsafe.models.interface.batch import IGNORED
from spiritsafe.rollouts import EndpointConfig, collect, open_endpoint, read_attempts

Start = Callable[[Answer], FakeEndpoint]
TOP, DRAWS = 24, 8
CONFIG = CaptureConfig(num_head=TOP, num_draws=DRAWS)
PROBLEMS = [
    Problem(task="chats", canonical_text=str(i), messages=(Message(role="user", content=f"hello {i}"),))
    for i in range(6)
]
MESSAGES = {problem.id: problem.messages for problem in PROBLEMS}


class Chats:
    name, version, verifier = "chats", "1", SimpleNamespace(name="none", version="1")

    def grade(self, problem: Problem, text: str) -> Verdict:
        return Verdict(status="unscored", score=0.0, verifier="none", version="1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LoadedModel]:
    folder = tmp_path_factory.mktemp("served")
    path = folder / "tiny.gguf"
    write_gguf(path, kind="F32")
    return path, load_model(resolve_source(f"gguf:{path}", cache=folder / "cache"), dtype=torch.float32)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def draw(config: EndpointConfig, directory: Path, *, num_samples: int = 3, **sampling: Any) -> None:
    with open_endpoint(config) as generator:
        collect(
            Chats(),
            PROBLEMS,
            generator,
            Sampling(**{"max_tokens": 16, **sampling}),
            num_samples=num_samples,
            seed=1,
            directory=directory,
        )


def capture(config: EndpointConfig, directory: Path, chat: Any, into: Path, **more: Any) -> CapturedAnswers:
    answers = [(attempt.problem_id, attempt) for attempt, _ in read_attempts(directory)]
    return capture_answers(
        answers, MESSAGES, directory, more.pop("how", CONFIG), into, endpoint=config, chat=chat, **more
    )


def kept(cache: CachedTeacher, document: Document) -> SampledRows:
    batch = pack_documents([document])
    (part,) = cache.read(batch, (batch.targets_N != IGNORED).nonzero().squeeze(1)).parts
    assert isinstance(part.rows, SampledRows)
    return part.rows


def exact(loaded: LoadedModel, document: Document) -> torch.Tensor:
    batch = pack_documents([document])
    rows = (batch.targets_N != IGNORED).nonzero().squeeze(1)
    head = loaded.model.head()
    with torch.no_grad():
        return torch.log_softmax(loaded.model(batch)[rows] @ head.weight_VH.T * head.scale, 1)


def test_a_real_servers_answers_give_its_own_distributions(tmp_path: Path, model: tuple[Path, LoadedModel]) -> None:
    path, loaded = model
    with llama_server(path) as url:
        config = EndpointConfig(
            endpoint=url,
            model="tiny",
            max_concurrency=2,
            top_logprobs=TOP + 4,
            extra_body=readable_answers(end=3.0),
        )
        draw(config, tmp_path / "answers")
    found = capture(config, tmp_path / "answers", loaded.chat, tmp_path / "cache")  # the server is not needed any more
    assert found.refused == {}
    assert len(found.documents) == 18
    cache = CachedTeacher(
        tmp_path / "cache",
        tokenizer=loaded.chat.vocab_fingerprint,
        teacher=config.digest,
        chat_template=loaded.chat.template_fingerprint,
        compute_dtype="served",
    )
    ended, distances, bounds, masses = 0, [], [], []
    for document, (attempt, _) in zip(found.documents, read_attempts(tmp_path / "answers"), strict=True):
        assert document_key(document.token_ids) in cache
        own = [token for token, flag in zip(document.token_ids, document.supervised, strict=True) if flag]
        ended += own[-1] == loaded.chat.end_id
        assert loaded.chat.completion_text(own[:-1] if attempt.finish_reason == "stop" else own) == attempt.text
        assert [*loaded.chat.prompt_ids(MESSAGES[attempt.problem_id]), *own] == list(document.token_ids)
        rows, log_p = kept(cache, document), exact(loaded, document)
        assert not rows.unbiased
        dense = torch.zeros_like(log_p).scatter_add_(1, rows.ids_RK, rows.probs_RK)
        torch.testing.assert_close(dense.sum(1), torch.ones(len(log_p)))
        top = log_p.topk(TOP - 4, 1)  # the last few of the listed may change places by rounding
        torch.testing.assert_close(dense.gather(1, top.indices), top.values.exp(), rtol=0.02, atol=1e-4)
        # The cache's whole distribution: what is listed, and the rest laid evenly. Its KL is within the stated bound.
        listed = torch.zeros_like(log_p, dtype=torch.bool).scatter_(1, log_p.topk(TOP, 1).indices, True)
        listed |= torch.nn.functional.one_hot(torch.tensor(own), log_p.shape[1]).bool()
        mass = log_p.exp().masked_fill(listed, 0.0).sum(1)
        num_others = (~listed).sum(1)
        even = torch.where(listed, log_p, (mass / num_others).log()[:, None])
        distances += (log_p.exp() * (log_p - even)).sum(1).tolist()
        bounds += (mass * num_others.log()).tolist()
        masses += mass.tolist()
    assert 5 < ended < 18
    report = found.report
    assert report.num_rows == len(masses)
    assert report.rest_mass == pytest.approx(sum(masses) / len(masses), rel=0.02)
    assert report.most_kl == pytest.approx(sum(bounds) / len(bounds), rel=0.02)
    assert 0.0 < sum(distances) / len(distances) < report.most_kl
    assert report.bias.startswith(
        f"biased: beyond the listed tokens only the sum of the probabilities is known ({report.rest_mass:.2%}"
    )

    again = capture(config, tmp_path / "answers", loaded.chat, tmp_path / "cache")
    assert (again.documents, again.report, again.refused) == (found.documents, found.report, {})


def test_answers_with_parts_of_characters_are_refused_and_counted(
    tmp_path: Path, model: tuple[Path, LoadedModel]
) -> None:
    """The tiny model left alone writes bytes that are no text; llama.cpp leaves such tokens out of its list."""
    path, loaded = model
    with llama_server(path) as url:
        config = EndpointConfig(
            endpoint=url, model="tiny", max_concurrency=2, top_logprobs=4, extra_body={"logit_bias": [[2, 3.0]]}
        )
        draw(config, tmp_path / "answers")
    answers = list(read_attempts(tmp_path / "answers"))
    found = capture(config, tmp_path / "answers", loaded.chat, tmp_path / "cache")
    assert found.refused.get("another text", 0) > 0
    assert len(found.documents) + sum(found.refused.values()) == len(answers)
    for document in found.documents:
        own = [token for token, flag in zip(document.token_ids, document.supervised, strict=True) if flag]
        text = loaded.chat.completion_text([token for token in own if token != loaded.chat.end_id])
        assert any(attempt.text == text for attempt, _ in answers)


def entry(text: str | bytes, logprob: float = -0.1, **fields: Any) -> dict[str, Any]:
    spelled = text if isinstance(text, bytes) else text.encode()
    return {"token": spelled.decode("utf-8", "replace"), "bytes": list(spelled), "logprob": logprob, **fields}


def listed(*tokens: dict[str, Any], top: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"content": [{**token, "top_logprobs": top or [token]} for token in tokens]}


def openai(text: str, listing: dict[str, Any], **fields: Any) -> Answer:
    return lambda _: HttpReply(body=chat_body(text, logprobs=listing, usage=None, **fields))


def served(fake_endpoint: Start, answer: Answer, directory: Path, **sampling: Any) -> EndpointConfig:
    config = EndpointConfig(endpoint=fake_endpoint(answer).url, model="m", top_logprobs=2)
    draw(config, directory, num_samples=1, **sampling)
    return config


def test_a_server_that_gives_bytes_and_shows_no_end(
    fake_endpoint: Start, tmp_path: Path, model: tuple[Path, LoadedModel]
) -> None:
    """As OpenAI does: no ids, no end token; the drawn token need not be among the likeliest."""
    chat = model[1].chat
    top = [entry("hello", math.log(0.5)), entry("w", math.log(0.25)), entry(b"\xef\xbf\xbd", math.log(0.2))]
    listing = {
        "content": [
            {**entry("hello", math.log(0.5)), "top_logprobs": top[:2]},
            {**entry("!", math.log(0.1)), "top_logprobs": top[1:]},
        ]
    }
    config = served(fake_endpoint, openai("hello!", listing), tmp_path / "answers")
    found = capture(config, tmp_path / "answers", chat, tmp_path / "cache")
    assert found.refused == {}
    (hello,), (mark,), (other,) = (chat.text_ids(text) for text in ("hello", "!", "w"))
    assert found.documents[0].token_ids[-3:] == (hello, mark, chat.end_id)
    assert found.documents[0].supervised[-4:] == (False, True, True, True)
    rows = kept(CachedTeacher(tmp_path / "cache", tokenizer=chat.vocab_fingerprint), found.documents[0])
    dense = torch.zeros(3, chat.vocab_size).scatter_add_(1, rows.ids_RK, rows.probs_RK)
    assert dense[0, [hello, other]].tolist() == pytest.approx([0.5, 0.25], rel=0.02)
    assert dense[1, [mark, other]].tolist() == pytest.approx([0.1, 0.25], rel=0.02)  # a stand-in falls into the rest
    assert dense[2, chat.end_id] == 1.0
    torch.testing.assert_close(dense.sum(1), torch.ones(3))
    assert "65" in f"{found.report.rest_mass * 3 - 0.25:.2f}"


@pytest.mark.parametrize(
    ("text", "listing", "fields", "reason"),
    [
        ("hello", listed(entry("hello"), entry("<|im_end|>")), {}, None),  # vLLM names the end
        ("hello", listed(entry("hello"), entry("", id=2)), {}, None),  # llama.cpp gives its id
        ("hello", listed(entry("hello"), entry("")), {}, None),
        ("hello", listed(entry("x", id=262), entry("token_id:2", bytes=None)), {}, "unknown token"),
        ("hello", listed({"token": "token_id:262", "bytes": None, "logprob": -0.1}), {}, None),
        ("hello", listed({"token": "token_id:999", "bytes": None, "logprob": -0.1}), {}, "unknown token"),
        ("hello", listed(entry("hello"), entry("\u4e16")), {}, "unknown token"),  # another vocabulary
        ("hello", listed(entry("hello", id=17)), {}, "unknown token"),
        ("hello", listed(entry("hell")), {}, "another text"),
        ("hello", listed(entry("hello"), entry("!")), {}, "another text"),
        ("hello", listed(entry("hello"), entry("", id=2), entry("!")), {}, "another text"),
        ("hello", listed(entry("hello")), {"finish_reason": "length"}, None),
        ("hello", listed(entry("hello", -0.1), top=[entry("hello", -0.1), entry("w", -0.1)]), {}, "impossible"),
        ("hello", listed(entry("hello", -1.0), top=[entry("w", -1.0), entry("w", -2.0)]), {}, "impossible"),
        ("hello", listed(entry("hello", -9999.0)), {}, "impossible"),
        ("hello", listed(entry("hello", -9999.0), top=[entry("w", -0.5)]), {}, None),
    ],
)
def test_each_answer_is_taken_whole_or_refused_with_its_reason(
    fake_endpoint: Start,
    tmp_path: Path,
    model: tuple[Path, LoadedModel],
    text: str,
    listing: dict[str, Any],
    fields: dict[str, Any],
    reason: str | None,
) -> None:
    chat = model[1].chat
    config = served(fake_endpoint, openai(text, listing, **fields), tmp_path / "answers")
    if reason is None:
        found = capture(config, tmp_path / "answers", chat, tmp_path / "cache")
        assert found.refused == {}
        end = [] if fields else [chat.end_id]
        assert list(found.documents[0].token_ids) == [*chat.prompt_ids(PROBLEMS[0].messages), 262, *end]
        return
    with pytest.raises(CompatibilityError, match=rf"'{reason}': 6"):
        capture(config, tmp_path / "answers", chat, tmp_path / "cache")


def test_what_does_not_belong_together_is_refused(
    fake_endpoint: Start, tmp_path: Path, model: tuple[Path, LoadedModel]
) -> None:
    chat = model[1].chat
    config = served(fake_endpoint, openai("hello", listed(entry("hello"))), tmp_path / "answers")
    other = config.model_copy(update={"model": "n"})
    with pytest.raises(CompatibilityError, match="is of the model"):
        capture(other, tmp_path / "answers", chat, tmp_path / "cache")
    with pytest.raises(RecipeError, match="threshold"):
        capture(config, tmp_path / "answers", chat, tmp_path / "cache", how=CaptureConfig(threshold=0.1))
    capture(config, tmp_path / "answers", chat, tmp_path / "cache")
    with pytest.raises(CompatibilityError, match="parameters"):
        capture(config, tmp_path / "answers", chat, tmp_path / "cache", how=CaptureConfig(num_head=1, num_draws=2))
    with pytest.raises(CompatibilityError, match="teacher: expected"):
        CachedTeacher(tmp_path / "cache", tokenizer=chat.vocab_fingerprint, teacher=other.digest)
    plain = EndpointConfig(endpoint=fake_endpoint(lambda _: "hello").url, model="m")
    draw(plain, tmp_path / "plain", num_samples=1, temperature=0.6)
    with pytest.raises(SourceError, match="no likeliest tokens"):
        capture(plain, tmp_path / "plain", chat, tmp_path / "none")
    (tmp_path / "plain" / "top-logprobs.jsonl").write_text("")
    with pytest.raises(RecipeError, match=r"drawn at temperature 0\.6"):
        capture(plain, tmp_path / "plain", chat, tmp_path / "none")


def test_a_thought_is_part_of_what_is_learnt(
    fake_endpoint: Start, tmp_path: Path, model: tuple[Path, LoadedModel]
) -> None:
    """Servers trim what they show of a thought; the tokens are the model's own."""
    chat = model[1].chat
    spelled = ["<", "t", "h", "i", "n", "k", ">", "\n", "h", "m", "\n", "<", "/", "t", "h", "i", "n", "k", ">"]
    tokens = [entry(part) for part in [*spelled, "\n", "hello"]]
    answer = openai("hello", listed(*tokens), reasoning_content="hm")
    config = served(fake_endpoint, answer, tmp_path / "answers", max_tokens=64)
    (attempt, _), *_ = read_attempts(tmp_path / "answers")
    assert attempt.text == "<think>\nhm\n</think>\n\nhello"
    found = capture(config, tmp_path / "answers", chat, tmp_path / "cache")
    assert found.refused == {}
    assert sum(found.documents[0].supervised) == len(tokens) + 1
    assert json.loads((tmp_path / "cache" / "cache.json").read_text())["fingerprint"]["estimator"] == "served_top_k"
