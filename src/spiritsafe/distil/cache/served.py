"""A teacher behind an endpoint: its prompt log-probabilities become the same cache that a live teacher fills.

In: documents, and an OpenAI-compatible server that takes token ids as a prompt and gives ``prompt_logprobs`` (vLLM's
``/v1/completions``). Out: a cache directory for :class:`spiritsafe.distil.cache.CachedTeacher`. Each document is one
request; its reply is checked row by row before anything of it is kept.

1. ``full_vocabulary``: the server gives every id (``prompt_logprobs: -1``, where its ``--max-logprobs`` allows); rows
   are estimated as those of a live teacher, unbiased.
2. Otherwise it gives the ``num_head`` likeliest ids and the document's own token. These are kept exactly. Of the rest
   only its mass is known: it is laid evenly over all other ids, held as ``num_draws`` of them. Its shape is a guess, so
   the estimate is *biased* and says so (``unbiased=False``); the entropy is the one of this guess, an upper bound, so
   the KL that training reports is too small by the same amount for every student. It is still far better than
   renormalising the head, which claims that all other ids are impossible.

Servers that know nothing of given texts, but list the likeliest tokens of what they write themselves:
:mod:`spiritsafe.distil.served_answers`. Shapes: R supervised rows of a document, V vocabulary.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import BudgetError, EndpointError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.distil.cache.config import CaptureConfig, Fingerprint, TeacherIdentity
from spiritsafe.distil.cache.estimate import Ints, RowEstimates
from spiritsafe.distil.cache.estimator import draw_offsets, estimate_chunk, num_roundings
from spiritsafe.distil.cache.writer import CaptureReport, capture_from, merge_documents, supervised_positions
from spiritsafe.distil.signal import document_key
from spiritsafe.models import ChatFormat, Document
from spiritsafe.rollouts import (
    EndpointConfig,
    Exchange,
    RateLimiter,
    RemoteConfig,
    api_root,
    ask_until_answered,
    printable,
    read_api_key,
)
from spiritsafe.stats import Floats

_HINT = (
    "Check that the server gives prompt_logprobs for token-id prompts (vLLM does), and serves the tokenizer of the "
    "documents. Others: sample its answers with top_logprobs, and capture those."
)
_MASS_SLACK = 2e-3
"""Sums of rounded probabilities may be above 1 by so much."""

_FULL_ROWS = 64
"""Rows of a full vocabulary that are estimated at a time."""

_BYTES_AN_ID = 256
"""More than a reply takes to list one id."""


def _lie(what: str) -> EndpointError:
    return EndpointError(f"unusable prompt_logprobs: {what}", hint=_HINT)


def parse_prompt_logprobs(
    data: bytes, document: Document, *, vocab_size: int, num_head: int | None
) -> list[tuple[Ints, Floats]]:
    """Check and read the reply to one document.

    Args:
        vocab_size: Of the served model.
        num_head: How many of the likeliest ids were asked for; None: all.

    Returns:
        For each supervised row its ids, ascending, and their natural-log probabilities.

    Raises:
        EndpointError: The reply is not what was asked for; the message says why.
    """
    try:
        choice = json.loads(data)["choices"][0]
        listed = choice["prompt_logprobs"] if isinstance(choice, dict) else None
    except (ValueError, RecursionError, KeyError, IndexError, TypeError):
        raise _lie("the reply holds none") from None
    if not isinstance(listed, list):
        raise _lie("the reply holds none")
    if len(listed) != len(document.token_ids):
        raise _lie(f"{len(listed)} positions for a document of {len(document.token_ids)} tokens")
    return [
        _row(listed[position + 1], int(position) + 1, document.token_ids[position + 1], vocab_size, num_head)
        for position in supervised_positions(document)
    ]


def _row(value: Any, place: int, token: int, vocab_size: int, num_head: int | None) -> tuple[Ints, Floats]:
    if not isinstance(value, dict):
        raise _lie(f"position {place} has no probabilities")
    found: dict[int, float] = {}
    for name, entry in value.items():
        if not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < vocab_size):
            raise _lie(f"position {place} names the id {printable(name)!r}, outside the vocabulary of {vocab_size}")
        number = entry.get("logprob") if isinstance(entry, dict) else None
        if isinstance(number, bool) or not isinstance(number, int | float) or not -math.inf < number <= 1e-3:
            raise _lie(f"position {place} gives the logprob {printable(repr(number))}")
        found[int(name)] = min(float(number), 0.0)
    if token not in found:
        raise _lie(f"position {place} does not list its own token {token}; the server read other tokens")
    if len(found) < min(num_head or vocab_size, vocab_size):
        raise _lie(f"position {place} lists {len(found)} ids instead of {num_head or vocab_size}")
    ids = np.array(sorted(found))
    logs = np.array([found[index] for index in ids.tolist()])
    mass = float(np.exp(logs).sum())
    if mass > 1.0 + _MASS_SLACK:
        raise _lie(f"the probabilities of position {place} add up to {mass:.4f}")
    return ids, logs


def top_k_estimates(
    rows: Sequence[tuple[Ints, Floats]], *, vocab_size: int, num_draws: int, offsets_R: Floats
) -> RowEstimates:
    """Listed ids exactly, the remaining mass evenly over all others; see the module for what that means.

    Args:
        rows: Ids, ascending, and log-probabilities of each row.
        vocab_size: Of the served model.
        num_draws: Ids that stand for the others, at equal distances in order of id.
        offsets_R: Where they start, in [0, 1).
    """
    log_mass, entropy, tails = [], [], []
    for (ids, logs), offset in zip(rows, offsets_R, strict=True):
        num_others = vocab_size - len(ids)
        mass = max(0.0, 1.0 - float(np.exp(logs).sum())) if num_others else 0.0
        ranks = np.floor((np.arange(num_draws if mass > 0.0 else 0) + offset) / num_draws * num_others).astype(np.int64)
        # The rank among the ids that are not listed, turned into an id: skip those listed up to it.
        tails.append(ranks + np.searchsorted(ids - np.arange(len(ids)), ranks, side="right"))
        log_mass.append(math.log(mass) if mass > 0.0 else -math.inf)
        rest = mass * (math.log(num_others) - math.log(mass)) if mass > 0.0 else 0.0
        entropy.append(rest - float((np.exp(logs) * logs).sum()))
    return RowEstimates(
        num_head_R=np.array([len(ids) for ids, _ in rows]),
        head_ids_F=np.concatenate([ids for ids, _ in rows]),
        head_log_probs_F=np.concatenate([logs for _, logs in rows]),
        num_draws_R=np.array([len(tail) for tail in tails]),
        tail_ids_D=np.concatenate(tails),
        log_tail_mass_R=np.array(log_mass),
        entropy_R=np.array(entropy),
    )


@final
class _ServedSource:
    """A server asked about one document at a time, over several connections."""

    def __init__(
        self,
        *,
        root: str,
        model: str,
        identity: TeacherIdentity,
        config: CaptureConfig,
        remote: RemoteConfig,
        api_key: str | None,
        full_vocabulary: bool,
    ) -> None:
        self._extra: dict[str, JSON] = dict(remote.extra_body)
        self._url = f"{root}/completions"
        self._model = model
        self._identity = identity
        self._config = config
        self._remote = remote
        self._api_key = api_key
        self._full = full_vocabulary

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(
            identity=self._identity,
            estimator=self._config.estimator if self._full else "served_top_k",
            parameters=self._config.parameters,
            seed=self._config.seed,
        )

    def num_roundings(self) -> int:
        # The document's own token may stand beside the likeliest ids.
        return num_roundings(self._config, self._identity.vocab_size) + (0 if self._full else 1)

    def estimates(self, documents: Sequence[Document]) -> Iterator[tuple[int, RowEstimates]]:
        # A thread of its own, so that a caller inside an event loop can capture as well.
        with ThreadPoolExecutor(1) as thread:
            rows = thread.submit(asyncio.run, self._ask_all(documents)).result()
        yield from enumerate(rows)

    async def _ask_all(self, documents: Sequence[Document]) -> list[RowEstimates]:
        exchange = Exchange(url=self._url, model=self._model, api_key=self._api_key, config=self._remote)
        limiter = RateLimiter(self._remote.requests_per_minute, self._remote.tokens_per_minute)
        turns = iter(range(len(documents)))
        answers: dict[int, RowEstimates] = {}

        async def work() -> None:
            for index in turns:
                answers[index] = await self._ask(exchange, limiter, documents[index])

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._remote.concurrency, len(documents)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await exchange.close()
        return [answers[index] for index in range(len(documents))]

    async def _ask(self, exchange: Exchange, limiter: RateLimiter, document: Document) -> RowEstimates:
        """All tries of one document."""
        num_head = None if self._full else self._config.num_head
        request = {
            "model": self._model,
            "prompt": list(document.token_ids),
            "prompt_logprobs": -1 if num_head is None else num_head,
            "max_tokens": 1,
            "temperature": 1.0,
            **self._extra,
        }
        body = json.dumps(request, separators=(",", ":")).encode("ascii")

        def read(data: bytes) -> RowEstimates:
            vocab_size = self._identity.vocab_size
            return self._estimate(
                document, parse_prompt_logprobs(data, document, vocab_size=vocab_size, num_head=num_head)
            )

        async def turn() -> bool:
            await limiter.acquire(len(document.token_ids) + 1)
            return True

        outcome, num_tries = await ask_until_answered(
            lambda: exchange.ask(body, read),
            config=self._remote,
            limiter=limiter,
            turn=turn,
            rest=asyncio.sleep,
            seed_parts=(document_key(document.token_ids),),
            most_timeouts=self._remote.max_tries,
        )
        if isinstance(outcome, RowEstimates):
            return outcome
        raise EndpointError(
            f"{self._url} gave nothing usable for a document of {len(document.token_ids)} tokens "
            f"(after {num_tries} tries): {outcome.reason if outcome else ''}.",
            hint=f"{_HINT} Finished shards are kept; run the capture again to go on from there.",
        )

    def _estimate(self, document: Document, rows: list[tuple[Ints, Floats]]) -> RowEstimates:
        config, vocab_size = self._config, self._identity.vocab_size
        offsets_R = draw_offsets(config.seed, document_key(document.token_ids), supervised_positions(document))
        if not self._full:
            return top_k_estimates(rows, vocab_size=vocab_size, num_draws=config.num_draws or 1, offsets_R=offsets_R)
        parts = []
        for start in range(0, len(rows), _FULL_ROWS):
            logits_CV = torch.from_numpy(np.stack([logs for _, logs in rows[start : start + _FULL_ROWS]])).float()
            parts.append(estimate_chunk(logits_CV, config, offsets_R[start : start + _FULL_ROWS]))
        return RowEstimates.joined(parts)


def served_identity(endpoint: EndpointConfig, chat: ChatFormat, *, vocab_size: int | None = None) -> TeacherIdentity:
    """What a cache of a served model must say of itself.

    Args:
        chat: Of a local copy of its tokenizer and chat template.
        vocab_size: Of the served model; None: the tokenizer's.
    """
    return TeacherIdentity(
        teacher=endpoint.digest,
        tokenizer=chat.vocab_fingerprint,
        chat_template=chat.template_fingerprint,
        compute_dtype="served",
        vocab_size=chat.vocab_size if vocab_size is None else vocab_size,
    )


def require_sizes(config: CaptureConfig) -> tuple[int, int]:
    """``num_head`` and ``num_draws`` of a configuration for a server that lists the likeliest ids only.

    Raises:
        RecipeError: It says a threshold instead.
    """
    if config.num_head is None or config.num_draws is None:
        raise RecipeError(
            "A threshold needs every id's probability, which this server is not asked for.",
            hint="Give num_head and num_draws, or set full_vocabulary where the server allows it.",
        )
    return config.num_head, config.num_draws


def capture_served(
    documents: Sequence[Document],
    config: CaptureConfig,
    directory: Path,
    *,
    endpoint: EndpointConfig,
    chat: ChatFormat,
    vocab_size: int | None = None,
    full_vocabulary: bool = False,
    events: EventSink | None = None,
) -> CaptureReport:
    """Write what a served model says of the supervised tokens of some documents; go on where it was stopped.

    Args:
        documents: In its tokens.
        config: What to keep; without ``full_vocabulary`` it must give ``num_head`` and ``num_draws``.
        endpoint: The server, and how it is spoken to.
        chat: Of a local copy of the model's tokenizer and chat template: what documents are made with.
        vocab_size: Of the served model; None: the tokenizer's.
        full_vocabulary: Ask for every id; a reply then takes some 60 bytes an id and token.
        events: Hears of progress, in rows.

    Raises:
        RecipeError: The key or the configuration makes no sense.
        BudgetError: The endpoint's budget is too small for these documents; nothing was asked.
        CompatibilityError: The directory holds another capture.
        EndpointError: The server is unusable, or what it says cannot be true; the message says why.
    """
    if not full_vocabulary:
        require_sizes(config)
    identity = served_identity(endpoint, chat, vocab_size=vocab_size)
    lengths = [len(document.token_ids) for document in merge_documents(documents)]
    if endpoint.budget is not None and not endpoint.budget.allows(sum(lengths), len(lengths)):
        raise BudgetError(
            f"Reading {len(lengths)} documents takes {endpoint.budget.words(sum(lengths), len(lengths))}.",
            hint="Raise the endpoint's budget, or capture fewer documents. Nothing was asked.",
        )
    remote = endpoint.remote()
    num_listed = identity.vocab_size if full_vocabulary else require_sizes(config)[0] + 1
    most_bytes = _BYTES_AN_ID * num_listed * max(lengths, default=1)
    source = _ServedSource(
        root=api_root(endpoint.endpoint),
        model=endpoint.model,
        identity=identity,
        config=config,
        remote=remote.model_copy(update={"max_reply_bytes": max(remote.max_reply_bytes, most_bytes)}),
        api_key=read_api_key(endpoint.api_key_env),
        full_vocabulary=full_vocabulary,
    )
    return capture_from(source, documents, directory, config=config, events=events)
