from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cache_parts import tiny_documents, tiny_teacher
from fake_endpoint import FakeEndpoint, HttpReply, error_body

from spiritsafe.core.errors import BudgetError, CompatibilityError, EndpointError, RecipeError
from spiritsafe.distil.cache import CachedTeacher, CaptureConfig, CaptureReport
from spiritsafe.distil.cache.estimate import padded_entries
from spiritsafe.distil.cache.served import capture_served, parse_prompt_logprobs, served_identity, top_k_estimates
from spiritsafe.distil.signal import SampledRows, document_key
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents
from spiritsafe.rollouts import EndpointConfig
from spiritsafe.rollouts.generators import tries

Start = Callable[[Callable[[dict[str, Any]], Any]], FakeEndpoint]
TOP = CaptureConfig(num_head=6, num_draws=4)
CHAT: Any = SimpleNamespace(vocab_fingerprint="tok", template_fingerprint="chat", vocab_size=258)
"""What a capture needs of a chat format; the served model's vocabulary is padded."""


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "backoff_s", lambda *_, **__: 0.0)


def _log_probs(tokens: list[int]) -> torch.Tensor:
    model = tiny_teacher().model
    document = Document(token_ids=tuple(tokens), supervised=(False,) * len(tokens))
    with torch.no_grad():
        return torch.log_softmax(model(pack_documents([document])) @ model.head().weight_VH.t(), 1)


def vllm(body: dict[str, Any]) -> list[dict[str, Any] | None]:
    """What vLLM lists: None for the first token, then the likeliest ids and the token itself."""
    tokens, wanted = body["prompt"], body["prompt_logprobs"]
    rows: list[dict[str, Any] | None] = [None]
    for log_p, token in zip(_log_probs(tokens)[:-1], tokens[1:], strict=True):
        ids = range(260) if wanted == -1 else dict.fromkeys([*log_p.topk(wanted).indices.tolist(), token])
        rows.append({str(i): {"logprob": float(log_p[i]), "rank": 1, "decoded_token": "?"} for i in ids})
    return rows


def _reply(rows: Any) -> HttpReply:
    return HttpReply(body=json.dumps({"choices": [{"index": 0, "text": "x", "prompt_logprobs": rows}]}).encode())


def _endpoint(url: str, **more: Any) -> EndpointConfig:
    return EndpointConfig.model_validate(
        {"endpoint": url, "model": "big", "max_tries": 3, "max_concurrency": 3, **more}
    )


def _capture(
    url: str,
    documents: list[Document],
    directory: Path,
    config: CaptureConfig = TOP,
    *,
    full_vocabulary: bool = False,
    **more: Any,
) -> CaptureReport:
    return capture_served(
        documents,
        config,
        directory,
        endpoint=_endpoint(url, **more),
        chat=CHAT,
        vocab_size=260,
        full_vocabulary=full_vocabulary,
    )


def _rows(directory: Path, document: Document) -> SampledRows:
    batch = pack_documents([document])
    cache = CachedTeacher(directory, tokenizer="tok", compute_dtype="served")
    (part,) = cache.read(batch, (batch.targets_N != IGNORED).nonzero().squeeze(1)).parts
    assert isinstance(part.rows, SampledRows)
    return part.rows


def _exact(document: Document) -> torch.Tensor:
    batch = pack_documents([document])
    return _log_probs(list(document.token_ids))[batch.targets_N != IGNORED].exp()


def test_the_likeliest_ids_are_exact_and_the_rest_is_laid_evenly(fake_endpoint: Start, tmp_path: Path) -> None:
    endpoint, documents = fake_endpoint(lambda body: _reply(vllm(body))), tiny_documents(5)
    report = _capture(endpoint.url, documents, tmp_path)
    assert report.num_documents == 5
    body = endpoint.requests[0].body
    assert (body["model"], body["prompt_logprobs"], body["max_tokens"]) == ("big", 6, 1)
    for document in documents:
        rows, exact = _rows(tmp_path, document), _exact(document)
        assert not rows.unbiased
        torch.testing.assert_close(rows.probs_RK.sum(1), torch.ones(len(exact)))
        top = exact.topk(6, 1)
        for row in range(len(exact)):
            kept = dict(zip(rows.ids_RK[row].tolist(), rows.probs_RK[row].tolist(), strict=True))
            for index, p in zip(top.indices[row].tolist(), top.values[row].tolist(), strict=True):
                assert kept[index] == pytest.approx(p, rel=0.05)
        entropy = -(exact * exact.log()).sum(1)
        assert (rows.entropy_R > entropy - 0.01).all()  # an upper bound


def test_the_whole_vocabulary_gives_an_unbiased_cache(fake_endpoint: Start, tmp_path: Path) -> None:
    endpoint, documents = fake_endpoint(lambda body: _reply(vllm(body))), tiny_documents(3)
    config = CaptureConfig(num_head=260, num_draws=1)
    _capture(endpoint.url, documents, tmp_path, config, full_vocabulary=True)
    assert endpoint.requests[0].body["prompt_logprobs"] == -1
    rows, exact = _rows(tmp_path, documents[1]), _exact(documents[1])
    assert rows.unbiased
    dense = torch.zeros_like(exact).scatter_add_(1, rows.ids_RK, rows.probs_RK)
    assert float((dense - exact).abs().sum(1).max()) < 0.03
    torch.testing.assert_close(rows.entropy_R, -(exact * exact.log()).sum(1), rtol=1e-3, atol=1e-3)
    with pytest.raises(RecipeError, match="threshold needs every id"):
        _capture(endpoint.url, documents, tmp_path / "b", CaptureConfig(threshold=0.01))


def test_draws_of_the_rest_are_even_over_all_other_ids() -> None:
    listed = np.array([0, 3, 4, 9])
    logs = np.log([0.4, 0.2, 0.1, 0.1])
    mean, num = np.zeros(10), 600
    for k in range(num):
        rows = top_k_estimates([(listed, logs)], vocab_size=10, num_draws=2, offsets_R=np.array([(k + 0.5) / num]))
        ids, probs = padded_entries(rows)
        np.add.at(mean, ids[0], probs[0] / num)
    others = [1, 2, 5, 6, 7, 8]
    np.testing.assert_allclose(mean[listed], [0.4, 0.2, 0.1, 0.1], rtol=1e-9)
    np.testing.assert_allclose(mean[others], 0.2 / 6, rtol=1e-9)
    even = np.array([0.4, 0.2, 0.1, 0.1, *[0.2 / 6] * 6])
    assert rows.entropy_R[0] == pytest.approx(-(even * np.log(even)).sum())


def _change(place: int, change: Callable[[dict[str, Any]], Any]) -> Callable[[list[Any]], list[Any]]:
    return lambda rows: [change(row) if at - len(rows) == place else row for at, row in enumerate(rows)]


def _with(name: str, logprob: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda row: {**row, name: {"logprob": logprob}}


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        (lambda rows: rows[:-1], "positions for a document of"),
        (lambda rows: [*rows, rows[-1]], "positions for a document of"),
        (lambda rows: None, "holds none"),
        (_change(-1, lambda row: None), "has no probabilities"),
        (_change(-2, _with("5", math.nan)), "gives the logprob nan"),
        (_change(-2, _with("5", 0.5)), "gives the logprob 0.5"),
        (_change(-2, _with("5", None)), "gives the logprob None"),
        (_change(-2, _with("5", True)), "gives the logprob True"),
        (_change(-2, _with("5", -math.inf)), "gives the logprob -inf"),
        (_change(-2, _with("260", -9.0)), "names the id '260', outside the vocabulary"),
        (_change(-2, _with("-1", -9.0)), "names the id '-1'"),
        (_change(-2, _with("a\x1b[31m", -9.0)), "names the id"),
        (_change(-2, lambda row: {i: {"logprob": -0.1} for i in row}), "add up to"),
        (_change(-2, lambda row: dict(list(row.items())[:3])), "instead of 6|does not list its own token"),
        (lambda rows: [rows[0], *rows[:0:-1]], "does not list its own token"),
    ],
)
def test_each_lie_is_refused(fake_endpoint: Start, tmp_path: Path, lie: Callable[[list[Any]], Any], match: str) -> None:
    endpoint = fake_endpoint(lambda body: _reply(lie(vllm(body))))
    with pytest.raises(EndpointError, match=match):
        _capture(endpoint.url, tiny_documents(1), tmp_path)
    assert len(endpoint.requests) == 1  # an answer was given; asking again is not the remedy
    assert not list(tmp_path.glob("shard*"))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[3]}', b"[" * 100000, b"\xff"])
def test_bytes_that_are_no_reply(data: bytes) -> None:
    with pytest.raises(EndpointError, match="holds none"):
        parse_prompt_logprobs(data, tiny_documents(1)[0], vocab_size=260, num_head=6)


def test_passing_troubles_are_waited_out_and_a_broken_capture_goes_on(fake_endpoint: Start, tmp_path: Path) -> None:
    documents, seen = tiny_documents(6), list[int]()
    config = TOP.model_copy(update={"rows_per_shard": 30})
    dead = [True]

    def answer(body: dict[str, Any]) -> HttpReply:
        seen.append(len(seen))
        if dead[0] and body["prompt"] == list(documents[-1].token_ids):
            return HttpReply(status=400, body=error_body("too long"))
        return HttpReply(status=503) if len(seen) % 3 == 1 else _reply(vllm(body))

    endpoint = fake_endpoint(answer)
    with pytest.raises(EndpointError, match="HTTP 400: too long"):
        _capture(endpoint.url, documents, tmp_path, config)
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("shard*")}
    assert kept
    dead[0] = False
    _capture(endpoint.url, documents, tmp_path, config)
    assert all((tmp_path / name).read_bytes() == data for name, data in kept.items())
    _capture(endpoint.url, documents, tmp_path / "unbroken", config)
    for path in (tmp_path / "unbroken").glob("shard*"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_the_key_is_sent_and_never_told(fake_endpoint: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "s3cret")
    endpoint = fake_endpoint(lambda body: HttpReply(status=400, body=error_body("bad key s3cret")))
    with pytest.raises(EndpointError) as caught:
        _capture(endpoint.url, tiny_documents(1), tmp_path, api_key_env="A_KEY")
    assert endpoint.requests[0].headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in caught.value.diagnostics()


def test_a_served_cache_is_not_taken_for_another_servers(fake_endpoint: Start, tmp_path: Path) -> None:
    documents = tiny_documents(2)
    _capture(fake_endpoint(lambda body: _reply(vllm(body))).url, documents, tmp_path)
    with pytest.raises(CompatibilityError, match="teacher: expected sha256"):
        _capture(fake_endpoint(lambda body: _reply(vllm(body))).url, documents, tmp_path)
    assert document_key(documents[0].token_ids) in CachedTeacher(tmp_path, tokenizer="tok")


def test_a_report_says_how_far_the_cache_can_be_from_its_teacher(fake_endpoint: Start, tmp_path: Path) -> None:
    endpoint, documents = fake_endpoint(lambda body: _reply(vllm(body))), tiny_documents(4)
    report = _capture(endpoint.url, documents, tmp_path / "top")
    masses, distances = [], []
    for document in documents:
        p = _exact(document)
        own = torch.tensor([t for t, flag in zip(document.token_ids, document.supervised, strict=True) if flag])
        listed = torch.zeros_like(p, dtype=torch.bool).scatter_(1, p.topk(6, 1).indices, True)
        listed.scatter_(1, own[:, None], True)
        mass = p.masked_fill(listed, 0.0).sum(1)
        even = torch.where(listed, p, (mass / (~listed).sum(1))[:, None])
        masses += mass.tolist()
        distances += (p * (p / even).log()).sum(1).tolist()
    assert not report.unbiased
    assert report.rest_mass == pytest.approx(sum(masses) / len(masses), rel=0.02)
    assert 0.0 < sum(distances) / len(distances) < report.most_kl
    assert f"{report.rest_mass:.2%} on average" in report.bias
    full = _capture(
        endpoint.url, documents, tmp_path / "all", CaptureConfig(num_head=20, num_draws=2), full_vocabulary=True
    )
    assert (full.unbiased, full.rest_mass, full.most_kl) == (True, 0.0, 0.0)
    assert full.bias.startswith("unbiased")


def test_a_cache_names_the_endpoint_as_a_recipe_does(fake_endpoint: Start, tmp_path: Path) -> None:
    endpoint, documents = fake_endpoint(lambda body: _reply(vllm(body))), tiny_documents(2)
    more = {"extra_body": {"priority": 3}, "requests_per_minute": 1e9}
    _capture(endpoint.url, documents, tmp_path, **more)
    assert endpoint.requests[0].body["priority"] == 3
    config = _endpoint(endpoint.url, **more)
    identity = served_identity(config, CHAT, vocab_size=260)
    assert (identity.teacher, identity.compute_dtype, identity.vocab_size) == (config.digest, "served", 260)
    assert served_identity(config, CHAT).vocab_size == 258
    cache = CachedTeacher(
        tmp_path, tokenizer="tok", teacher=config.digest, chat_template="chat", compute_dtype="served"
    )
    assert cache.manifest.fingerprint.identity == identity
    with pytest.raises(CompatibilityError, match="teacher: expected"):
        CachedTeacher(tmp_path, tokenizer="tok", teacher=_endpoint(endpoint.url).digest)


def test_documents_that_a_budget_does_not_allow_are_not_begun(fake_endpoint: Start, tmp_path: Path) -> None:
    endpoint, documents = fake_endpoint(lambda body: _reply(vllm(body))), tiny_documents(5)
    num_tokens = sum(len(document.token_ids) + 1 for document in documents)
    with pytest.raises(BudgetError, match=f"takes {num_tokens} of {num_tokens - 1} tokens"):
        _capture(endpoint.url, documents, tmp_path, budget={"tokens": num_tokens - 1})
    assert not endpoint.requests
    _capture(endpoint.url, documents, tmp_path, budget={"tokens": num_tokens})
