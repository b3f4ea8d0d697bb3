"""What may be said of a model behind an endpoint, in a recipe's ``[models.<name>]`` or in a file of its own.

In: a table of TOML. Out: an :class:`EndpointConfig`, and the Generator that it describes::

    endpoint = "http://gpu-box:8000/v1"
    model = "deepseek-r1"
    max_concurrency = 64
    extra_body = { chat_template_kwargs = { enable_thinking = true } }
    budget = { money = 20.0, input_price = 0.5, output_price = 2.0 }   # or { tokens = 2_000_000 }
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.records import Record
from spiritsafe.rollouts.generators.addresses import canonical_address
from spiritsafe.rollouts.generators.exchange import RemoteConfig
from spiritsafe.rollouts.generators.remote import RemoteGenerator, api_root, served_digest
from spiritsafe.rollouts.generators.usage import EndpointBudget

_MOST_BYTES = 1 << 20


class EndpointSettings(Record):
    """How a model behind an endpoint is spoken to, and what it may use.

    Attributes:
        api_key_env: Name of the environment variable that holds the key; None: no key is sent.
        max_concurrency: Questions under way at once.
        requests_per_minute: Rate limit, tries after a failure included; None: none.
        tokens_per_minute: Rate limit over prompts and completions; None: none.
        timeout_s: Most seconds for one answer.
        max_tries: Most requests for one answer.
        extra_body: Put into each request as it is; what the sampling sets has no place in it.
        reasoning: "keep" writes what the model thought as ``<think>…</think>`` before the answer; "drop" leaves it out.
        thinks: Answers begin inside a thought that the server does not mark: without ``</think>`` there is no answer.
        max_tokens_field: Newer models of some operators know only the second name.
        top_logprobs: Keep so many of the likeliest tokens at each place of each answer, for a teacher cache; 0: none.
        budget: The most that it may use; None: no limit.
    """

    api_key_env: str | None = None
    max_concurrency: int = Field(default=32, ge=1, le=4096)
    requests_per_minute: float | None = Field(default=None, gt=0.0)
    tokens_per_minute: float | None = Field(default=None, gt=0.0)
    timeout_s: float = Field(default=300.0, gt=0.0, le=86_400.0)
    max_tries: int = Field(default=6, ge=1, le=100)
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    reasoning: Literal["keep", "drop"] = "keep"
    thinks: bool = False
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    top_logprobs: int = Field(default=0, ge=0, le=10_000)
    budget: EndpointBudget | None = None


OPERATING_FIELDS = frozenset(
    {"max_concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "max_tries", "budget"}
)
"""What says how fast and how much is asked, and changes no answer: a run goes on when it is changed."""


class EndpointConfig(EndpointSettings):
    """A model behind an OpenAI-compatible endpoint, and how it is spoken to.

    Attributes:
        endpoint: Base URL, with or without ``/v1``.
        model: The endpoint's name of the model.
    """

    endpoint: str
    model: str = Field(min_length=1)

    @model_validator(mode="after")
    def _speakable(self) -> Self:
        api_root(self.endpoint)
        self.remote()
        return self

    def remote(self) -> RemoteConfig:
        """The part that says how it is spoken to."""
        return RemoteConfig(
            concurrency=self.max_concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            timeout_s=self.timeout_s,
            max_tries=self.max_tries,
            extra_body=self.extra_body,
            reasoning=self.reasoning,
            thinks=self.thinks,
            max_tokens_field=self.max_tokens_field,
            top_logprobs=self.top_logprobs,
            budget=self.budget,
        )

    @property
    def digest(self) -> str:
        """What the model is known by: :meth:`RemoteGenerator.describe` and caches say the same."""
        return served_digest(canonical_address(api_root(self.endpoint)), self.model, self.remote())


def open_endpoint(config: EndpointConfig, events: EventSink | None = None) -> RemoteGenerator:
    """The model that a configuration describes; close it after use.

    Args:
        events: Hears, as warnings, who is waited for and why.

    Raises:
        RecipeError: The variable for the key is not set.
    """
    sink = events or NullSink()
    return RemoteGenerator(
        config.endpoint,
        config.model,
        api_key_env=config.api_key_env,
        config=config.remote(),
        tell=lambda message: sink.metrics("warning", {"message": message}),
    )


def open_address(address: str, model: str, api_key_env: str | None) -> RemoteGenerator:
    """A model at an address, for tasks whose verifiers ask one; see :func:`spiritsafe.core.generator.generator_at`.

    Raises:
        RecipeError: The address is none, or the variable for the key is not set.
    """
    try:
        config = EndpointConfig(endpoint=address, model=model, api_key_env=api_key_env)
    except ValidationError as error:
        raise RecipeError(
            f"{address} is no endpoint of a model: {error.errors()[0]['msg']}.", hint="Write http://host:port/v1."
        ) from error
    return open_endpoint(config)


def read_endpoint_config(path: Path) -> EndpointConfig:
    """The configuration in a TOML file.

    Raises:
        RecipeError: It is not TOML, or says what it may not; the message names the key.
        SourceError: It cannot be read.
    """
    try:
        values = tomllib.loads(read_bytes(path, most_bytes=_MOST_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise RecipeError(f"{path} is not valid TOML: {reason}.", hint="Mend the named line.") from error
    try:
        return EndpointConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = sorted(EndpointConfig.model_fields if len(first["loc"]) < 2 else EndpointBudget.model_fields)
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
            mean = f"Did you mean {near[0]!r}? " if near else ""
            raise RecipeError(f"{path}: unknown key {where!r}.", hint=f"{mean}Known: {', '.join(known)}.") from error
        what = f"the key {where!r} is missing" if first["type"] == "missing" else f"{where or 'it'}: {first['msg']}"
        raise RecipeError(f"{path}: {what}.", hint=f"Keys are: {', '.join(known)}.") from error
