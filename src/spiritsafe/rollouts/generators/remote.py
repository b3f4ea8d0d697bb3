"""A model behind an OpenAI-compatible endpoint (``/v1/chat/completions``), as a Generator.

In: a base URL, the endpoint's name of the model, the name of the environment variable that holds the key. Out:
Attempts as they finish. Each sample is a request of its own with its own seed, so a server that ignores ``n`` or
shares a seed among its choices makes no difference. The network runs in a thread with its own event loop: the caller
may grade one attempt while the others are still on their way.

``python tests/support/fake_endpoint.py`` measures what it costs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from queue import SimpleQueue
from typing import Any, Self, final
from urllib.parse import urlsplit

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import CompatibilityError, EndpointError, ProcedureError, RecipeError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.rollouts.generators.addresses import canonical_address
from spiritsafe.rollouts.generators.endpoint import ChatEndpoint, Listings
from spiritsafe.rollouts.generators.exchange import RemoteConfig
from spiritsafe.rollouts.generators.reply import printable
from spiritsafe.rollouts.generators.usage import EndpointSpending, UsageAccount, UsageReport

_MOST_LISTED = 1 << 20
_NAME_IT = "Name the model yourself, as the server knows it."
_VERSION_SEGMENT = re.compile(r"/v\d+[a-z0-9]*(/|$)")


def api_root(base_url: str) -> str:
    """The root of an OpenAI-compatible API: no trailing slash, ``/v1`` added when the path names no version.

    Raises:
        RecipeError: It is no http(s) URL, or it carries a password, a query or a fragment.
    """
    hint = 'Give it like "http://127.0.0.1:8000/v1".'
    try:
        parts = urlsplit(base_url.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise RecipeError("The base URL is not an http or https address.", hint=hint)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise RecipeError(
            "The base URL carries more than an address.",
            hint=f"{hint} A key belongs into an environment variable, named by api_key_env.",
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path}{'' if _VERSION_SEGMENT.search(path) else '/v1'}"


def served_models(base_url: str, *, api_key_env: str | None = None, timeout_s: float = 5.0) -> tuple[str, ...]:
    """What an endpoint says that it serves (``/v1/models``), in its order.

    Args:
        base_url: With or without ``/v1``.
        api_key_env: Name of the environment variable that holds the key.
        timeout_s: For all of it.

    Raises:
        RecipeError: The URL is none, or the variable is not set.
        EndpointError: It cannot be reached, or answers something else.
    """
    parts, key = urlsplit(api_root(base_url)), read_api_key(api_key_env)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=timeout_s)
    headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        connection.request("GET", f"{parts.path}/models", headers=headers)
        with connection.getresponse() as reply:
            found = json.loads(_read_within(reply, time.monotonic() + timeout_s)) if reply.status == 200 else None
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        what = printable(str(error), secret=key) or type(error).__name__
        raise EndpointError(f"{parts.netloc} lists no models: {what}.", hint=_NAME_IT) from error
    finally:
        connection.close()
    entries = found.get("data") if isinstance(found, dict) else None
    names = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    served = tuple(name for name in names if isinstance(name, str) and name.isprintable() and 0 < len(name) < 300)
    if not served:
        raise EndpointError(f"{parts.netloc} lists no models (HTTP {reply.status}).", hint=_NAME_IT)
    return served


def _read_within(reply: HTTPResponse, deadline: float) -> bytes:
    """The body of a reply, up to a size and a time.

    Raises:
        TimeoutError: It takes too long.
        ValueError: It is too long.
    """
    data = bytearray()
    while part := reply.read1(65_536):
        data += part
        if time.monotonic() > deadline:
            raise TimeoutError("it takes too long")
        if len(data) > _MOST_LISTED:
            raise ValueError("the list is too long")
    return bytes(data)


def read_api_key(variable: str | None) -> str | None:
    """The key in an environment variable; None without a variable.

    Raises:
        RecipeError: The variable is not set, or holds no key.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise RecipeError(
            f"The environment variable {variable} is not set.",
            hint=f"Put the endpoint's key into it: export {variable}=…, or leave api_key_env out if it needs none.",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise RecipeError(
            f"The environment variable {variable} does not hold a key: it has spaces or characters outside ASCII.",
            hint="Copy the key again.",
        )
    return key


def served_digest(root: str, model: str, config: RemoteConfig) -> str:
    """What a served model is known by: address and name, and what else changes its answers where it is set."""
    more: dict[str, JSON] = {
        **({"extra_body": config.extra_body} if config.extra_body else {}),
        **({"reasoning": config.reasoning} if config.reasoning != "keep" else {}),
    }
    return digest({"url": root, "model": model, **more})


@final
class _Mailbox:
    """Hands attempts from the event loop to the caller's thread, all that one turn of the loop finished at once.

    Waking the other thread costs more than reading a reply does, so it is not done for each.
    """

    def __init__(self) -> None:
        self._batches: SimpleQueue[list[Attempt] | None] = SimpleQueue()
        self._batch: list[Attempt] = []
        self.num_put = 0
        self.num_taken = 0  # the caller counts them: each of the two numbers has one writer

    def put(self, attempt: Attempt) -> None:
        """Called inside the loop."""
        self.num_put += 1
        if not self._batch:
            asyncio.get_running_loop().call_later(0.002, self._flush)
        self._batch.append(attempt)

    def end(self) -> None:
        """Called when nothing will be put any more."""
        self._flush()
        self._batches.put(None)

    def get(self) -> list[Attempt] | None:
        """The next attempts; None when there are no more."""
        return self._batches.get()

    def _flush(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            self._batches.put(batch)


@final
class RemoteGenerator:
    """A remote model. Use it as a context manager, or close it.

    Args:
        base_url: With or without ``/v1`` and a trailing slash.
        model: The endpoint's name of the model.
        api_key_env: Name of the environment variable that holds the key; None: no key is sent.
        config: Concurrency, limits, patience.
        registered: A digest that this model is known by. Older versions took it of the address as it was spelled; one
            of this very spelling stays valid.
        tell: Hears, from the network's thread, who is waited for and why.

    Raises:
        RecipeError: The URL is malformed, or the variable is not set.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        config: RemoteConfig | None = None,
        registered: str | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config = config or RemoteConfig()
        root = api_root(base_url)
        as_spelled = digest({"url": root, "model": model}) == registered
        named = root if as_spelled else canonical_address(root)
        self._info = GeneratorInfo(
            name=f"{model} at {named}",
            digest=served_digest(named, model, self._config),
            kind="remote",
            has_logprobs=self._config.logprobs,
        )
        self._account = UsageAccount()
        self._spending = EndpointSpending(self._config.budget)
        self._listings: Listings = {}
        self._endpoint = ChatEndpoint(
            url=f"{root}/chat/completions",
            model=model,
            model_digest=self._info.digest,
            api_key=read_api_key(api_key_env),
            config=self._config,
            account=self._account,
            spending=self._spending,
            listings=self._listings,
            tell=tell,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._is_stopped = False

    def describe(self) -> GeneratorInfo:
        """Kind "remote"; the digest is of address and model name, for nobody outside can know which weights answer."""
        return self._info

    def usage(self) -> UsageReport:
        """What was sent and used so far."""
        return self._account.report()

    def take_listing(self, problem_id: str, sample_index: int) -> JSON:
        """What the endpoint listed of each token of an answer (``top_logprobs``); None where it did not."""
        return self._listings.pop((problem_id, sample_index), None)

    def count_earlier(self, what: str, num_prompt_tokens: int, num_tokens: int) -> None:
        """Tokens that a piece of work used before; they count for the budget, once."""
        self._spending.count_earlier(what, num_prompt_tokens, num_tokens)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Draw every sample; attempts come as they finish, failed ones with the reason.

        Raises:
            EndpointError: The endpoint is unusable: wrong key, unknown model or host, a redirect; or it answers
                nothing. Attempts that were under way come first.
            BudgetError: What may be used is used up. Attempts that were under way come first.
            StoppedError: :meth:`stop` was called. Attempts that were under way come first.
            RecipeError: The sampling sets what ``extra_body`` sets.
            CompatibilityError: Logprobs at a temperature at which endpoints do not give them; or a prompt with a
                ``prefix``, and the configuration does not say that this server continues one.
            ProcedureError: It is closed.
        """
        return self.generate_announced(prompts, sampling, None)

    def generate_announced(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        before: Callable[[str, int], None] | None,
        not_asked: Callable[[str, int], None] | None = None,
    ) -> Iterator[Attempt]:
        """As :meth:`generate`; ``before`` is called, from the network's thread, before a sample is first sent.

        ``not_asked`` is called there of a sample that was given up without a byte of an answer.

        Then no more is asked than the caller comes after with: what a kill would lose is at most what is under way and
        as much again.
        """
        if (self._config.logprobs or self._config.top_logprobs) and sampling.temperature not in (0.0, 1.0):
            raise CompatibilityError(
                f"Endpoints give logprobs at temperature 1, not at {sampling.temperature:g}.",
                hint="Sample at temperature 1 (or 0), or leave logprobs out.",
            )
        if not self._config.continues and any(prompt.prefix for prompt in prompts):
            raise CompatibilityError(
                f"{self._info.name} is not known to continue an answer that is begun.",
                hint="If it is vLLM or SGLang, set continues=True in its RemoteConfig; else use local weights.",
            )
        mailbox = _Mailbox()
        most = sys.maxsize if before is None else self._config.concurrency

        def has_room() -> bool:
            return mailbox.num_put - mailbox.num_taken < most

        future = self._submit(self._endpoint.run(prompts, sampling, mailbox.put, before, has_room, not_asked))
        future.add_done_callback(lambda _: mailbox.end())
        try:
            while (batch := mailbox.get()) is not None:
                for attempt in batch:
                    yield attempt
                    mailbox.num_taken += 1
            future.result()
        finally:
            future.cancel()

    def stop(self) -> None:
        """Send no new question, now or later; what is under way is waited for. May be called from a signal handler."""
        self._is_stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._endpoint.stop)

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Not possible: chat endpoints give probabilities of what they drew, not of a given text.

        Raises:
            CompatibilityError: Always.
        """
        raise CompatibilityError(
            "A chat endpoint cannot score a given completion.", hint="Use local weights where scores are needed."
        )

    def close(self) -> None:
        """Close connections and end the thread; a second call does nothing."""
        self._closed = True
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _shut_down(self) -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._endpoint.close()

    def _submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        if self._closed:
            work.close()
            raise ProcedureError("This remote generator is closed.", hint="Make a new one.")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="spiritsafe-remote", daemon=True)
            self._thread.start()
        if self._is_stopped:
            self._loop.call_soon_threadsafe(self._endpoint.stop)
        return asyncio.run_coroutine_threadsafe(work, self._loop)
