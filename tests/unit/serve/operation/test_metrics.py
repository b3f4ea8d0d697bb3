"""Metrics: what Prometheus' own parser reads is what happened, under names that dashboards know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from spiritsafe.serve.hooks import Caller, Usage
from spiritsafe.serve.operation.metrics import ServerMetrics


def usage(**changes: Any) -> Usage:
    fields: dict[str, Any] = {
        "request_id": "req_1", "caller": Caller(name="ada-secret"), "interface": "/v1/chat/completions", "model": "m",
        "answered_by": "m", "digest": "sha256:0", "outcome": "answered", "status": 200, "stream": True, "num_jobs": 1,
        "num_prompt_tokens": 100, "num_cached": 40, "num_tokens": 11, "num_thought_tokens": 0, "num_dropped": 0,
        "wait_s": 0.5, "first_s": 1.0, "total_s": 3.0,
    }  # fmt: skip
    return Usage(**{**fields, **changes})


def samples(metrics: ServerMetrics) -> dict[tuple[str, str], float]:
    """By name and model."""
    families: Iterable[Any] = text_string_to_metric_families(metrics.text().decode())
    found = {}
    for family in families:
        for sample in family.samples:
            labels = dict(sample.labels)
            model = labels.pop("model_name", labels.pop("gen_ai_request_model", ""))
            if "le" not in labels:
                found[sample.name + "".join(f"[{value}]" for value in labels.values()), model] = sample.value
    return found


def test_counts_and_times_are_those_of_the_requests() -> None:
    metrics = ServerMetrics(["m", "n"], [("vllm:num_requests_running", "Now.", lambda: {"m": 3, "n": 0})])
    metrics.count(usage())
    metrics.count(usage(num_jobs=2, num_tokens=10, total_s=5.0))
    metrics.count(usage(outcome="cancelled", status=499, num_tokens=2, total_s=2.0))
    metrics.count(usage(outcome="refused", status=429, num_prompt_tokens=0, num_cached=0, num_tokens=0, first_s=None))
    metrics.count(usage(answered_by="made-up by a request"))
    found = samples(metrics)
    expected = {
        "vllm:num_requests_running": 3,
        "vllm:prompt_tokens_total": 300,
        "vllm:generation_tokens_total": 23,
        "vllm:prefix_cache_queries_total": 300,
        "vllm:prefix_cache_hits_total": 120,
        "vllm:request_success_total": 2,
        "spiritsafe:requests_total[200]": 2,
        "spiritsafe:requests_total[499]": 1,
        "spiritsafe:requests_total[429]": 1,
        "vllm:time_to_first_token_seconds_sum": 3.0,
        "vllm:time_to_first_token_seconds_count": 3,
        "vllm:request_queue_time_seconds_sum": 1.5,
        "vllm:e2e_request_latency_seconds_sum": 8.0,
        "vllm:e2e_request_latency_seconds_count": 2,
        "vllm:request_time_per_output_token_seconds_sum": 2 / 10 + 4 / 4,
        "gen_ai_server_request_duration_seconds_sum": 8.0,
        "gen_ai_server_time_to_first_token_seconds_count": 3,
        "gen_ai_server_time_per_output_token_seconds_sum": 2 / 10 + 4 / 4,
    }
    assert {name: found[name, "m"] for name in expected} == expected
    assert found["vllm:prompt_tokens_total", "n"] == 0  # from the start, so that rates see the first request
    assert not any("created" in name for name, _ in found)


def test_no_label_is_made_of_what_askers_choose() -> None:
    metrics = ServerMetrics(["m"])
    before = len(samples(metrics))
    for number in range(1000):
        metrics.count(usage(answered_by=f"x{number}", model=f"x{number}", caller=Caller(name=f"k{number}")))
    assert len(samples(metrics)) == before + 1  # requests of no served model, by their status
    assert b"ada-secret" not in metrics.text()
