"""A teacher that only writes: its own answers, with the likeliest tokens at each place, become a teacher cache.

In: answers that :func:`spiritsafe.rollouts.collect` drew from an endpoint with ``top_logprobs`` (llama.cpp, vLLM,
OpenAI and servers like it), and a local copy of the teacher's tokenizer. Out: a cache for
:class:`spiritsafe.distil.cache.CachedTeacher`, and the documents that it is of: train on exactly these.

1. A server names a token by its id (llama.cpp), by its bytes (OpenAI), or by its text. Where it gives no id, the bytes
   are looked up in the local vocabulary.
2. The tokens of an answer must spell its text. An answer with a token that cannot be looked up, or whose tokens spell
   another text (llama.cpp leaves parts of characters out; servers cut at stop strings), is *refused* and counted.
3. Kept exactly are the listed tokens and the one that was drawn; the rest is laid evenly, as for
   :mod:`spiritsafe.distil.cache.served`, and as *biased*. A listed token that cannot be looked up falls into the rest.
4. An end that a server does not list is taken for certain: the one draw that is known of it.

Probabilities must be those at temperature 1 whatever the answers were drawn at, so endpoints are asked for them at
temperature 1 or 0 only. Shapes: R supervised rows of a document.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import Attempt, Message
from spiritsafe.core.text.thoughts import split
from spiritsafe.distil.cache.config import CaptureConfig, Fingerprint, TeacherIdentity
from spiritsafe.distil.cache.estimate import Ints, RowEstimates
from spiritsafe.distil.cache.estimator import draw_offsets, num_roundings
from spiritsafe.distil.cache.served import require_sizes, served_identity, top_k_estimates
from spiritsafe.distil.cache.writer import CaptureReport, capture_from, supervised_positions
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes
from spiritsafe.distil.signal import document_key
from spiritsafe.models import ChatFormat, Document
from spiritsafe.rollouts import EndpointConfig, ReadTopLogprobs
from spiritsafe.stats import Floats

AnswerRefusal = Literal["not listed", "unknown token", "another text", "impossible"]
"""Why an answer is not captured: no likeliest tokens are on disk; a token of it is not in the local vocabulary; its
tokens spell another text; its probabilities cannot be true."""

_LEAST_LOGPROB = -100.0
"""Servers write a stand-in (-9999) for what they do not know; nothing that a model may draw is as unlikely as this."""

_MASS_SLACK = 2e-3


class _RefusedError(Exception):
    def __init__(self, reason: AnswerRefusal) -> None:
        super().__init__(reason)
        self.reason: AnswerRefusal = reason


@final
@dataclass(frozen=True, kw_only=True)
class CapturedAnswers:
    """What became of a teacher's answers.

    Attributes:
        documents: The answers that are in the cache, in their order; prompts unsupervised.
        report: Of the cache; ``report.bias`` says how far it can be from the teacher.
        refused: Count of each reason that occurred.
    """

    documents: tuple[Document, ...]
    report: CaptureReport
    refused: dict[AnswerRefusal, int]


@final
class _Listings:
    """Listed tokens as rows of a vocabulary."""

    def __init__(self, chat: ChatFormat, num_head: int, vocab_size: int) -> None:
        self._chat = chat
        self._num_head = num_head
        self._vocab_size = vocab_size
        vocabulary = TokenBytes.of_chat(chat)
        self._spellings = vocabulary.spellings
        # Of several ids with the same bytes the highest: fallback bytes come before the pieces that are used.
        self._ids = {spelled: index for index, spelled in enumerate(vocabulary.spellings) if spelled}
        self._ids |= {
            role.removeprefix("special:").encode(): index
            for index, role in vocabulary.roles.items()
            if role.startswith("special:")
        }
        self._ids |= {chat.spell([index]).encode(): index for index in chat.eos_ids}

    def token(self, entry: Mapping[str, Any]) -> int | None:
        """The id of a listed token; None where it cannot be told, or the server's vocabulary is another one."""
        number, spelled = entry["id"], None if entry["bytes"] is None else bytes.fromhex(entry["bytes"])
        if number is None:
            return self._ids.get(spelled) if spelled else None
        if not 0 <= number < min(self._vocab_size, len(self._spellings)):
            return None
        own = self._spellings[number]
        # A token without text is shown as nothing or by its name; llama.cpp puts bytes of an unfinished character
        # before those of the next token. A server that spells a token otherwise has another vocabulary.
        is_same = not spelled or (spelled.endswith(own) if own else self._ids.get(spelled) == number)
        return int(number) if is_same else None

    def completion(self, attempt: Attempt, tokens: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids that an answer was drawn in, its end included."""
        chat, ids = self._chat, list[int]()
        has_ended = attempt.finish_reason == "stop"
        for place, entry in enumerate(tokens):
            token = self.token(entry)
            if token is None and has_ended and place == len(tokens) - 1 and not entry["bytes"] and entry["id"] is None:
                token = chat.end_id  # an end that is shown as nothing
            if token is None:
                raise _RefusedError("unknown token")
            ids.append(token)
        if has_ended and (not ids or ids[-1] not in chat.eos_ids):
            ids.append(chat.end_id)
        shown = ids[:-1] if has_ended else ids
        if any(token in chat.eos_ids for token in shown) or attempt.num_tokens > len(ids):
            raise _RefusedError("another text")
        if _told(chat.completion_text(shown)) != _told(attempt.text):
            raise _RefusedError("another text")
        return ids

    def rows(self, ids: Sequence[int], tokens: Sequence[Mapping[str, Any]]) -> list[tuple[Ints, Floats]]:
        """For each token its place's known ids, ascending, and their log-probabilities."""
        rows = [self._row(token, entry) for token, entry in zip(ids, tokens, strict=False)]
        if len(ids) > len(tokens):
            rows.append((np.array(ids[-1:]), np.zeros(1)))
        return rows

    def _row(self, token: int, entry: Mapping[str, Any]) -> tuple[Ints, Floats]:
        top = sorted(entry["top"], key=lambda other: -float(other["logprob"]))[: self._num_head]
        found: dict[int, float] = {}
        for other, logprob in [(self.token(other), float(other["logprob"])) for other in top]:
            if other is not None and logprob > _LEAST_LOGPROB:
                if other in found:
                    raise _RefusedError("impossible")
                found[other] = logprob
        if float(entry["logprob"]) > _LEAST_LOGPROB:
            found.setdefault(token, float(entry["logprob"]))
        if not found or sum(math.exp(value) for value in found.values()) > 1.0 + _MASS_SLACK:
            raise _RefusedError("impossible")
        ids = np.array(sorted(found))
        return ids, np.array([found[index] for index in ids.tolist()])


def _told(text: str) -> tuple[str, str, bool]:
    """A text for comparison: servers trim white space around thoughts and answers."""
    parts = split(text)
    return parts.thought.strip(), parts.answer.strip(), parts.closed


@final
class _AnswerSource:
    """Listings on disk, read again for the documents of one shard at a time."""

    def __init__(
        self,
        *,
        identity: TeacherIdentity,
        config: CaptureConfig,
        listings: _Listings,
        answers: ReadTopLogprobs,
        attempts: Mapping[str, Attempt],
    ) -> None:
        self._identity = identity
        self._config = config
        self._listings = listings
        self._answers = answers
        self._attempts = attempts

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(
            identity=self._identity,
            estimator="served_top_k",
            parameters=self._config.parameters,
            seed=self._config.seed,
        )

    def num_roundings(self) -> int:
        # The drawn token may stand beside the likeliest ids.
        return num_roundings(self._config, self._identity.vocab_size) + 1

    def estimates(self, documents: Sequence[Document]) -> Iterator[tuple[int, RowEstimates]]:
        num_draws = require_sizes(self._config)[1]
        for index, document in enumerate(documents):
            key = document_key(document.token_ids)
            tokens = self._answers.of(self._attempts[key]) or []
            positions = supervised_positions(document)
            rows = self._listings.rows([document.token_ids[place + 1] for place in positions], tokens)
            offsets_R = draw_offsets(self._config.seed, key, positions)
            yield (
                index,
                top_k_estimates(rows, vocab_size=self._identity.vocab_size, num_draws=num_draws, offsets_R=offsets_R),
            )


def capture_answers(
    answers: Iterable[tuple[str, Attempt]],
    messages: Mapping[str, Sequence[Message]],
    collection: Path,
    config: CaptureConfig,
    directory: Path,
    *,
    endpoint: EndpointConfig,
    chat: ChatFormat,
    vocab_size: int | None = None,
    events: EventSink | None = None,
) -> CapturedAnswers:
    """Write what a served model said beside its own answers into a cache; nothing is asked.

    Args:
        answers: Problem id and attempt of those to be learnt from, as :class:`spiritsafe.rollouts.VerifiedAttempts`
            gives them.
        messages: Of each problem, by its id.
        collection: The directory that the answers were collected in, with ``top_logprobs``.
        config: ``num_head`` of the listed tokens are kept, ``num_draws`` stand for all others.
        directory: Of the cache; a repeated call goes on there, and gives the same documents.
        endpoint: The teacher.
        chat: Of a local copy of its tokenizer and chat template.
        vocab_size: Of the served model; None: the tokenizer's.
        events: Hears of progress, in rows.

    Raises:
        RecipeError: The configuration gives a threshold.
        SourceError: The collection holds no likeliest tokens.
        CompatibilityError: No answer could be captured; an answer is of another model; or the directory holds another
            capture.
        IntegrityError: A file is damaged.
    """
    num_head, _ = require_sizes(config)
    identity = served_identity(endpoint, chat, vocab_size=vocab_size)
    listings, listed = _Listings(chat, num_head, identity.vocab_size), ReadTopLogprobs(collection)
    documents: list[Document] = []
    attempts: dict[str, Attempt] = {}
    refused: Counter[AnswerRefusal] = Counter()
    for problem_id, attempt in answers:
        if attempt.model != endpoint.digest:
            raise CompatibilityError(
                f"An answer in {collection} is of the model {attempt.model}, the endpoint's is {endpoint.digest}.",
                hint="Name the endpoint that the answers were sampled from, with the same extra_body.",
            )
        if attempt.sampling.temperature not in (0.0, 1.0):
            raise RecipeError(
                f"The answers in {collection} were drawn at temperature {attempt.sampling.temperature:g}.",
                hint="Sample at temperature 1 (or 0): only there all servers list the model's own probabilities.",
            )
        try:
            document = _document(attempt, messages[problem_id], listed, listings, chat)
        except _RefusedError as error:
            refused[error.reason] += 1
            continue
        documents.append(document)
        attempts.setdefault(document_key(document.token_ids), attempt)
    if not documents:
        raise CompatibilityError(
            f"No answer in {collection} could be captured: {dict(refused)}.",
            hint="Check that the local tokenizer is the served model's, and that its server lists every token.",
        )
    source = _AnswerSource(identity=identity, config=config, listings=listings, answers=listed, attempts=attempts)
    report = capture_from(source, documents, directory, config=config, events=events)
    return CapturedAnswers(documents=tuple(documents), report=report, refused=dict(refused))


def _document(
    attempt: Attempt, messages: Sequence[Message], listed: ReadTopLogprobs, listings: _Listings, chat: ChatFormat
) -> Document:
    tokens = listed.of(attempt)
    if tokens is None:
        raise _RefusedError("not listed")
    ids = listings.completion(attempt, tokens)
    listings.rows(ids, tokens)  # refused now, not in the middle of a capture
    return chat.document_from_tokens(messages, ids)
