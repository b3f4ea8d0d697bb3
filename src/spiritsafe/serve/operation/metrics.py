"""Metrics of a server in Prometheus' text format, under the names that dashboards know.

In: what each request used, and how many run and wait now. Out: the text of ``/metrics``. Names are vLLM's where it has
one (``vllm:…``) and OpenTelemetry's ``gen_ai.server.…`` as Prometheus spells them; what neither has is
``spiritsafe:…``. Labels are names of served models and statuses only: never a key, a text, or a name that a request
made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spiritsafe.serve.hooks import Usage

METRICS_CONTENT_TYPE: str = CONTENT_TYPE_PLAIN_0_0_4
"""Of :meth:`ServerMetrics.text`."""

_SHORT_S = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
_LONG_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0)
_TOKEN_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
_GEN_AI_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GEN_AI_FIRST_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_GEN_AI_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_MODEL, _GEN_AI_MODEL = ("model_name",), ("gen_ai_request_model",)

Level = Callable[[], Mapping[str, float]]
"""What is so now, by model; under "" what is so of the whole server."""


@final
class _Levels(Collector):
    """What is asked for when somebody looks: gauges, and counters of names that end in ``_total``."""

    def __init__(self, levels: Sequence[tuple[str, str, Level]]) -> None:
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        for name, said, level in self._levels:
            values = level()
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name, said, labels=() if "" in values else _MODEL)
            for model, value in values.items():
                family.add_metric([model] if model else [], value)
            yield family


@final
class ServerMetrics:
    """The metrics of one server.

    Args:
        models: Names of the served models; what is asked of any other name is counted under none.
        levels: Name, help and level of what is so now; of a name that ends in ``_total`` what was so far.
    """

    def __init__(self, models: Sequence[str], levels: Sequence[tuple[str, str, Level]] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._models = frozenset(models)
        self._registry.register(_Levels(levels))
        self._prompt_tokens = self._counter("vllm:prompt_tokens", "Tokens of prompts.")
        self._tokens = self._counter("vllm:generation_tokens", "Tokens of answers.")
        self._dropped = self._counter("spiritsafe:dropped_tokens", "Tokens of answers that a cascade did not keep.")
        self._queries = self._counter("vllm:prefix_cache_queries", "Tokens of prompts that the prefix cache was asked.")
        self._hits = self._counter("vllm:prefix_cache_hits", "Tokens of prompts that it had.")
        self._answered = self._counter("vllm:request_success", "Requests that were answered to their end.")
        self._requests = self._counter(
            "spiritsafe:requests", "Requests by HTTP status; 499: the client hung up.", "status"
        )
        self._first = self._histogram("vllm:time_to_first_token_seconds", "Until the first token.", _SHORT_S)
        self._total = self._histogram("vllm:e2e_request_latency_seconds", "Until the end of the answer.", _LONG_S)
        self._queue = self._histogram("vllm:request_queue_time_seconds", "Until there was room.", _LONG_S)
        self._between = self._histogram("vllm:request_time_per_output_token_seconds", "Between two tokens.", _TOKEN_S)
        self._gen_ai_total = self._gen_ai("request_duration", "Until the end of the answer.", _GEN_AI_S)
        self._gen_ai_first = self._gen_ai("time_to_first_token", "Until the first token.", _GEN_AI_FIRST_S)
        self._gen_ai_between = self._gen_ai("time_per_output_token", "Between two tokens.", _GEN_AI_TOKEN_S)
        for model in models:  # a dashboard shows 0 from the start, and rates see the first request
            for metric in (
                *(self._prompt_tokens, self._tokens, self._dropped, self._queries, self._hits, self._answered),
                *(
                    self._first,
                    self._total,
                    self._queue,
                    self._between,
                    self._gen_ai_total,
                    self._gen_ai_first,
                    self._gen_ai_between,
                ),
            ):
                metric.labels(model)

    def _counter(self, name: str, said: str, *labels: str) -> Counter:
        return Counter(name, said, (*_MODEL, *labels), registry=self._registry)

    def _histogram(self, name: str, said: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, said, _MODEL, registry=self._registry, buckets=buckets)

    def _gen_ai(self, name: str, said: str, buckets: Sequence[float]) -> Histogram:
        name = f"gen_ai_server_{name}_seconds"
        return Histogram(name, said, _GEN_AI_MODEL, registry=self._registry, buckets=buckets)

    def count(self, usage: Usage) -> None:
        """Count a request that is over."""
        model = usage.answered_by if usage.answered_by in self._models else ""
        self._requests.labels(model, str(usage.status)).inc()
        if not model:
            return
        self._prompt_tokens.labels(model).inc(usage.num_prompt_tokens)
        self._tokens.labels(model).inc(usage.num_tokens)
        if usage.model in self._models:
            self._dropped.labels(usage.model).inc(usage.num_dropped)
        self._queries.labels(model).inc(usage.num_prompt_tokens)
        self._hits.labels(model).inc(usage.num_cached)
        if usage.first_s is not None:
            self._queue.labels(model).observe(usage.wait_s)
            self._first.labels(model).observe(usage.first_s)
            self._gen_ai_first.labels(model).observe(usage.first_s)
        if usage.outcome != "answered":
            return
        self._answered.labels(model).inc()
        self._total.labels(model).observe(usage.total_s)
        self._gen_ai_total.labels(model).observe(usage.total_s)
        most = usage.num_tokens // max(1, usage.num_jobs)  # of answers side by side, each has so many
        if usage.first_s is not None and most > 1:
            between_s = (usage.total_s - usage.first_s) / (most - 1)
            self._between.labels(model).observe(between_s)
            self._gen_ai_between.labels(model).observe(between_s)

    def text(self) -> bytes:
        """What ``/metrics`` answers, of type :data:`METRICS_CONTENT_TYPE`."""
        return generate_latest(self._registry)
