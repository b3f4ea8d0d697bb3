"""One request to an OpenAI-compatible endpoint, and the judgement of what came back.

In: a request's body. Out: a checked reply, a :class:`Trouble` that says whether another try may help, or an
:class:`EndpointError` when no further request is worth making::

    429, 408, 425, 5xx, timeout, connection broke     another try may help; the question was not answered
    400, 413, 422, other 4xx                          no: the same request would fail again
    200 that is no chat completion                    no: an answer was given, and it is unusable
    401, 402, 404, 3xx, TLS, used-up quota, no URL    the endpoint is unusable
    403                                               the same, as long as nothing succeeded
    unknown host                                      the same, as long as no connection was ever made
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, TypeVar, final

import aiohttp
from pydantic import Field, JsonValue, model_validator

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.records import Record, Sampling
from spiritsafe.rollouts.generators.rate_limits import retry_after_s
from spiritsafe.rollouts.generators.reply import ChatReply, parse_complaint, parse_reply, printable
from spiritsafe.rollouts.generators.usage import EndpointBudget

_Reply = TypeVar("_Reply")

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_USED_UP = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_BYTES_A_LISTED_TOKEN = 256  # more than a reply takes to name one

OWN_KEYS = frozenset(
    {
        "add_generation_prompt", "continue_final_message", "logprobs", "max_completion_tokens", "max_tokens",
        "messages", "model", "n", "prompt", "prompt_logprobs", "seed", "stop", "stream", "temperature", "top_logprobs",
        "top_p",
    }
)  # fmt: skip
"""Keys of a request that are set here and by nobody else."""


@final
class RemoteConfig(Record):
    """How an endpoint is spoken to.

    Attributes:
        concurrency: Connections at once.
        timeout_s: Most seconds for one request, from connecting to the last byte.
        connect_timeout_s: Most seconds for a connection to be made.
        max_tries: Most requests for one sample.
        backoff_base_s: Wait after the first failure; doubles with each further one.
        backoff_most_s: Most seconds of a wait that we chose ourselves.
        retry_after_most_s: Most seconds of a wait that the endpoint may ask for; beyond it the sample fails.
        requests_per_minute: Rate limit, tries after a failure included; None: none.
        tokens_per_minute: Rate limit over prompts and completions; None: none.
        max_reply_bytes: A reply beyond it is not read to its end.
        logprobs: Ask for log-probabilities, and refuse replies without them.
        max_tokens_field: Newer models of some operators know only the second name.
        continues: The server goes on with an assistant's turn that is begun, by ``continue_final_message`` (vLLM,
            SGLang); without it a prompt with a ``prefix`` is refused, because other servers would start a new turn.
        thinks: The model thinks first, its prompt opens the thought, and the server shows neither reasoning nor the
            opening: a reply without any mark is then a thought that was cut off, and no answer.
        reasoning: "keep" writes what the model thought as ``<think>…</think>`` before the answer; "drop" leaves it out.
        top_logprobs: So many of the likeliest tokens are asked for with each token of an answer; 0: none.
        extra_body: Put into each request as it is (``chat_template_kwargs``, an operator's own options).
        budget: What may be used at most; None: no limit.
    """

    concurrency: int = Field(default=32, ge=1, le=4096)
    timeout_s: float = Field(default=300.0, gt=0.0)
    connect_timeout_s: float = Field(default=15.0, gt=0.0)
    max_tries: int = Field(default=6, ge=1)
    backoff_base_s: float = Field(default=0.5, ge=0.0)
    backoff_most_s: float = Field(default=30.0, ge=0.0)
    retry_after_most_s: float = Field(default=300.0, ge=0.0)
    requests_per_minute: float | None = Field(default=None, gt=0.0)
    tokens_per_minute: float | None = Field(default=None, gt=0.0)
    max_reply_bytes: int = Field(default=8 << 20, ge=1024)
    logprobs: bool = False
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    continues: bool = False
    thinks: bool = False
    reasoning: Literal["keep", "drop"] = "keep"
    top_logprobs: int = Field(default=0, ge=0, le=10_000)
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    budget: EndpointBudget | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if own := sorted(OWN_KEYS & self.extra_body.keys()):
            raise ValueError(
                f"extra_body holds {own[0]!r}, which is set by the sampling, not here; leave it out of extra_body"
            )
        if self.reasoning == "drop" and (self.logprobs or self.top_logprobs):
            raise ValueError('reasoning = "drop" cannot go with logprobs: they are listed of the thoughts too')
        return self


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A try that gave no completion.

    Attributes:
        again: Whether another try may help.
        wait_s: What the endpoint asked us to wait.
        unreachable: No connection could be made.
        refused: The operator's filter refused the prompt.
        answered: The endpoint judged this very question, or gave something for an answer; else it was not answered.
        begun: An answer had begun to arrive when the connection broke or the time was over.
        timed_out: The time for one request was over.
    """

    reason: str
    again: bool = False
    wait_s: float | None = None
    unreachable: bool = False
    refused: bool = False
    answered: bool = False
    begun: bool = False
    timed_out: bool = False


@final
class Exchange:
    """The connections to one endpoint. Must be used and closed inside one event loop.

    Args:
        url: The full URL of the chat completions route.
        model: The endpoint's name of the model, for hints.
        api_key: Sent as a bearer token; never part of any message.
        config: Timeouts and limits.
    """

    def __init__(self, *, url: str, model: str, api_key: str | None, config: RemoteConfig) -> None:
        self._url = url
        self._model = model
        self._api_key = api_key
        self._config = config
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # nothing to unpack: a small body cannot become a huge one
            **({"Authorization": f"Bearer {api_key}"} if api_key else {}),
        }
        self._session: aiohttp.ClientSession | None = None
        self._has_succeeded = False
        self.was_reached = False

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def fatal(self, reason: str, hint: str) -> EndpointError:
        """The error that says that the whole endpoint is unusable."""
        return EndpointError(f"{self._url} cannot be used: {reason}.", hint=hint)

    async def send(
        self, body: bytes, *, prompt_bytes: int, sampling: Sampling, begun: bool = False
    ) -> ChatReply | Trouble:
        """One request.

        Args:
            body: The JSON request.
            prompt_bytes: UTF-8 bytes of its messages, for the accounting.
            sampling: What it asks for.
            begun: It asks to go on with a beginning.

        Raises:
            EndpointError: The endpoint is unusable.
        """

        def read(data: bytes) -> ChatReply:
            return parse_reply(
                data,
                prompt_bytes=prompt_bytes,
                max_tokens=sampling.max_tokens,
                stop=sampling.stop,
                logprobs=self._config.logprobs,
                top_logprobs=self._config.top_logprobs,
                begun=begun,
                thinks=self._config.thinks,
                reasoning=self._config.reasoning,
                secret=self._api_key,
            )

        most_bytes = self._config.max_reply_bytes
        if self._config.top_logprobs:  # a long answer's list is much longer than the answer
            most_bytes += _BYTES_A_LISTED_TOKEN * (self._config.top_logprobs + 1) * sampling.max_tokens
        return await self.ask(body, read, most_bytes=most_bytes)

    async def ask(
        self, body: bytes, read: Callable[[bytes], _Reply], *, most_bytes: int | None = None
    ) -> _Reply | Trouble:
        """One request of any route.

        Args:
            body: The JSON request.
            read: Makes a reply of the bytes that came with status 200; raises EndpointError when they are unusable.
            most_bytes: A reply beyond it is not read to its end; None: ``max_reply_bytes``.

        Raises:
            EndpointError: The endpoint is unusable.
        """
        begun: list[int] = []  # the status, as soon as it is there
        try:
            most_bytes = self._config.max_reply_bytes if most_bytes is None else most_bytes
            status, headers, data = await self.post(body, begun.append, most_bytes)
        except TimeoutError:
            reason = f"timeout: no complete answer within {self._config.timeout_s:g} s"
            return Trouble(reason=reason, again=True, begun=begun == [200], timed_out=True)
        except aiohttp.ClientConnectorDNSError as error:
            return self._unknown_host(error)
        except aiohttp.InvalidURL as error:
            raise self.fatal(f"this is no address to connect to ({printable(str(error))})", "Write it out.") from error
        except aiohttp.ClientSSLError as error:
            raise self.fatal(
                f"the secure connection failed ({printable(str(error))})", "Check the certificate, or http/https."
            ) from error
        except aiohttp.ClientConnectorError as error:
            return Trouble(reason=f"no connection: {error.strerror or error}", again=True, unreachable=True)
        except (aiohttp.ClientError, OSError) as error:
            self.was_reached = True
            what = printable(str(error), secret=self._api_key) or type(error).__name__
            return Trouble(reason=f"the connection broke: {what}", again=True, begun=begun == [200])
        self.was_reached = True
        self._has_succeeded = self._has_succeeded or status == 200
        if status != 200:
            return self._judge_status(status, headers, data or b"")
        if data is None:
            return Trouble(reason=f"garbage reply: longer than {most_bytes} bytes", answered=True)
        try:
            return read(data)
        except EndpointError as error:
            content_type = printable(headers.get("Content-Type", "none"), secret=self._api_key)
            is_json = content_type.startswith("application/json")
            reason = error.message if is_json else f"{error.message} (content type {content_type})"
            return Trouble(reason=reason, answered=True)

    async def post(
        self, body: bytes, on_status: Callable[[int], None] = lambda _: None, most_bytes: int | None = None
    ) -> tuple[int, Mapping[str, str], bytes | None]:
        """Status, headers and body of one exchange, unjudged; body None when it is beyond the byte limit.

        ``on_status`` hears the status before the body is read.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._config.concurrency),
                timeout=aiohttp.ClientTimeout(
                    total=self._config.timeout_s, sock_connect=self._config.connect_timeout_s
                ),
                headers=self._headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        # Redirects are not followed: they would take prompts and key to an address that nobody chose.
        async with self._session.post(self._url, data=body, allow_redirects=False) as response:
            on_status(response.status)
            limit = self._config.max_reply_bytes if most_bytes is None else most_bytes
            if response.content_length is not None and response.content_length <= limit:
                return response.status, response.headers, await response.read()
            parts: list[bytes] = []
            size = 0
            async for part in response.content.iter_any():
                size += len(part)
                if size > limit:
                    response.close()  # the connection is given up, the rest is never received
                    return response.status, response.headers, None
                parts.append(part)
            return response.status, response.headers, b"".join(parts)

    def _unknown_host(self, error: aiohttp.ClientConnectorDNSError) -> Trouble:
        reason = f"the host name cannot be resolved ({printable(str(error.os_error)) or 'DNS failure'})"
        if error.os_error.errno == socket.EAI_NONAME and not self.was_reached:
            raise self.fatal(reason, "Check the spelling of the base URL and the network.") from error
        return Trouble(reason=reason, again=True, unreachable=True)

    def _judge_status(self, status: int, headers: Mapping[str, str], data: bytes) -> Trouble:
        complaint = parse_complaint(data, secret=self._api_key)
        reason = f"HTTP {status}{': ' if complaint.text else ''}{complaint.text}"
        if complaint.is_refusal:
            return Trouble(reason=reason, refused=True, answered=True)
        if 300 <= status < 400:
            target = printable(headers.get("Location", ""), secret=self._api_key) or "nowhere"
            raise self.fatal(f"it redirects (HTTP {status}) to {target}", "Give that address as the base URL.")
        if status == 402 or complaint.code in _USED_UP:
            raise self.fatal(reason, "The account's credit or quota is used up: top it up, then run again.")
        if status == 401 or (status == 403 and not self._has_succeeded):
            raise self.fatal(reason, "Check that api_key_env names a variable with a valid key for this endpoint.")
        if status == 404:
            raise self.fatal(reason, f"Check the base URL, and that the endpoint serves the model {self._model!r}.")
        again = status in _RETRIED
        wait_s = retry_after_s(headers.get("Retry-After")) if again else None
        return Trouble(reason=reason, again=again, wait_s=wait_s, answered=not again and status != 403 and status < 500)
