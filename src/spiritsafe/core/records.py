"""The records that carry everything from room to room.

``Problem → Attempt → Verdict → Checkpoint`` here; ``ExamResult → Certificate`` in
:mod:`spiritsafe.exam.records.certificate`. All are frozen, refuse unknown fields, and have one canonical JSON form.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.errors import IntegrityError

UNKNOWN_LICENCE = "LicenseRef-unknown"
"""What a record says of a licence that nobody stated."""

_MOST_PARTS = 8
_MOST_PLACE = 120


def omit_default(default: Any, **constraints: Any) -> Any:
    """A field that came to its record after records of its kind were published: absent from the JSON at its default.

    A digest is taken over the whole JSON, so a field that older records do not have must not show in them: they keep
    their digests and signatures for ever. A file that spells such a default out is not canonical and is refused.

    Args:
        default: An immutable value.
    """
    return Field(default=default, exclude_if=lambda value: value == default, **constraints)


def _place(location: tuple[int | str, ...]) -> str:
    """Where in a record, in few words: who wrote it may have nested and named things without end."""
    place = ".".join(str(part) for part in location[:_MOST_PARTS])
    return f"{place[:_MOST_PLACE]}…" if len(location) > _MOST_PARTS or len(place) > _MOST_PLACE else place


class Record(BaseModel):
    """Frozen data with a canonical form."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON value of this record."""
        return self.model_dump(mode="json")

    @cached_property
    def content_digest(self) -> str:
        """``sha256:<hex>`` of the canonical JSON."""
        return digest(self.to_json())

    def canonical(self) -> bytes:
        """RFC 8785 bytes."""
        return canonical_json(self.to_json())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields replaced; digests and ids cached on the original are not carried over."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Validate a JSON value.

        Raises:
            IntegrityError: A field is missing, unknown or of the wrong type; the message names it.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = _place(first["loc"]) or "the record"
            raise IntegrityError(
                f"Not a valid {cls.__name__}: {where}: {first['msg']}.",
                hint="The file is damaged or was written by another version; restore it from a good copy.",
            ) from error


def _json_object(text: str) -> str:
    """JSON is kept as text, so that the order of its keys, which a model reads and learns, outlives every file."""
    try:
        if isinstance(json.loads(text), dict):
            return text
    except (ValueError, RecursionError):
        pass
    raise ValueError("this is no JSON object")


JsonObject = Annotated[str, AfterValidator(_json_object)]
"""The JSON text of an object."""


class ToolCall(Record):
    """A tool that an assistant calls.

    Attributes:
        name: Of the tool.
        arguments: What it is given.
        id: What the tool's answer refers to, where the conversation has such names.
    """

    name: str
    arguments: JsonObject = "{}"
    id: str | None = omit_default(None)


class Message(Record):
    """One chat turn.

    Attributes:
        role: Who speaks; "tool": what a called tool gave back.
        content: The text; an assistant's thought in front of it as :mod:`spiritsafe.core.text.thoughts` spells it.
        name: Of the speaker, or of the tool that answers.
        tool_calls: The tools that an assistant calls behind its text.
        tool_call_id: Which call a tool answers.
        tools: Definitions of the tools that may be called, as OpenAI's interface has them. In the first message only,
            so that whoever has a conversation has its tools too.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    name: str | None = omit_default(None)
    tool_calls: tuple[ToolCall, ...] = omit_default(())
    tool_call_id: str | None = omit_default(None)
    tools: tuple[JsonObject, ...] = omit_default(())


class Problem(Record):
    """One problem: what is asked, and what the verifier needs to judge an answer.

    Attributes:
        task: Name of the task that grades it, with its parameters (``arith:sums?terms=3``).
        canonical_text: The task's own normal form; trivial variants share it, so they share id and bucket.
        messages: What the model is shown.
        facts: What the verifier needs, the gold answer included (never shown to the model).
        solution: A worked solution in the form a model should write, when the task has one.
    """

    task: str
    canonical_text: str
    messages: tuple[Message, ...]
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    solution: str | None = None

    @cached_property
    def id(self) -> str:
        """``sha256:<hex>`` of task name and canonical text."""
        return digest({"task": self.task, "text": self.canonical_text})

    def __hash__(self) -> int:
        return hash(self.id)


class Sampling(Record):
    """How tokens are drawn.

    Attributes:
        temperature: 0 is greedy; logprobs are then those at temperature 1.
        top_p: Keep the smallest set of tokens whose probability reaches it; 1 keeps all.
        top_k: Keep the k likeliest tokens; 0 keeps all.
        min_p: Keep tokens at least this share as likely as the likeliest; 0 keeps all.
        max_tokens: Most tokens one completion may have.
        stop: Strings that end a completion; they are not part of its text.
    """

    temperature: float = Field(default=1.0, ge=0.0, le=10.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    max_tokens: int = Field(default=256, ge=1)
    stop: tuple[str, ...] = ()


class Prompt(Record):
    """What a Generator is asked: ``num_samples`` completions of one problem's messages.

    Sample ``i`` draws from ``derive_seed(seed, problem_id, i)``, so it does not depend on its neighbours.

    Attributes:
        prefix: Text that the assistant's turn already holds; the completion goes on after it and does not repeat it.
            A Generator that cannot go on from there refuses it.
        max_tokens: Fewer tokens than the sampling allows, for these samples only.
    """

    problem_id: str
    messages: tuple[Message, ...]
    num_samples: int = Field(default=1, ge=1)
    first_sample: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)
    prefix: str = ""
    max_tokens: int | None = Field(default=None, ge=1)

    def token_limit(self, sampling: Sampling) -> int:
        """Most tokens that one of these completions may have."""
        return min(sampling.max_tokens, self.max_tokens or sampling.max_tokens)


FinishReason = Literal["stop", "length", "refused", "error"]


class Attempt(Record):
    """One completion of one problem by one model.

    Attributes:
        seed: The prompt's seed; the sample drew from what :class:`Prompt` derives from it.
        token_ids: The drawn tokens, the end token included when it was drawn; empty when an endpoint hides them.
        logprobs: Natural-log probability of each token under the model's softmax at the sampling temperature,
            before any truncation (top-p, top-k, min-p); empty when unknown. An endpoint may give them and hide the ids.
        num_tokens: Tokens generated (``len(token_ids)`` for local models, the endpoint's usage otherwise).
        seconds: Wall time from request to finish; not part of any identity check.
        error: Why it failed, when ``finish_reason`` is "error".
    """

    problem_id: str
    sample_index: int = Field(ge=0)
    model: str
    sampling: Sampling
    seed: int
    text: str
    finish_reason: FinishReason
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    num_prompt_tokens: int = Field(default=0, ge=0)
    num_tokens: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0.0)
    error: str | None = None

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if self.logprobs and self.token_ids and len(self.logprobs) != len(self.token_ids):
            raise ValueError(f"{len(self.logprobs)} logprobs for {len(self.token_ids)} tokens")
        return self


Status = Literal["correct", "wrong", "unparsed", "unscored"]


class Verdict(Record):
    """What a verifier said of one attempt; never a bool.

    Attributes:
        status: "unparsed": no answer found in the text; "unscored": the verifier broke or timed out, which is
            the verifier's failure and never counts as a wrong answer of the model.
        score: 1.0 is full marks, partial credit between; 0.0 unless the answer earned something.
        answer: The extracted answer, if any.
        reason: One line for a human.
        verifier: Which verifier, with ``version``.
        sandbox: What held the code that was run to judge the attempt; None: no foreign code was run.
    """

    status: Status
    score: float = Field(ge=0.0, le=1.0)
    answer: str | None = None
    reason: str = ""
    verifier: str
    version: str
    sandbox: str | None = omit_default(None)

    @model_validator(mode="after")
    def _score_fits_status(self) -> Self:
        if (self.status == "correct") != (self.score == 1.0):
            raise ValueError(f"status {self.status!r} with score {self.score}")
        if self.status in ("unparsed", "unscored") and not math.isclose(self.score, 0.0):
            raise ValueError(f"status {self.status!r} with score {self.score}")
        return self


ModelUse = Literal["weights", "outputs", "logits", "hidden_states"]
"""How a model is used to make another one: its weights are inside, or what it said or computed was learnt from."""


class Parent(Record):
    """A model that another one was made from, and how it was used.

    Attributes:
        license_granted: The permission that its licence asks for, in the maker's words.
    """

    name: str
    digest: str
    license: str
    used_as: tuple[ModelUse, ...]
    license_granted: str | None = omit_default(None)


class Checkpoint(Record):
    """A model directory's ``lineage.json``: what it is, what it came from.

    Attributes:
        digest: Digest of the directory without ``lineage.json``; of a directory that holds one GGUF file, that file's.
        license: SPDX id, or a ``LicenseRef-``.
        recipe: Digest of the resolved recipe that made it; None for models made elsewhere.
        license_granted: The permission that its licence asks for, in the words of who used it.
    """

    name: str
    digest: str
    license: str
    num_parameters: int
    weight_bytes: int
    parents: tuple[Parent, ...] = ()
    recipe: str | None = None
    license_granted: str | None = omit_default(None)


Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
LedgerTime = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
"""A time as a ledger's entry says it, and what repeats that. It has the shape of one and may be no instant at all
("9999-99-99T99:99:99.999Z"): anybody may append, and a line that is there stays. See :func:`instant`."""

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def instant(time: str) -> datetime | None:
    """The instant that a record's time names; None where it names none."""
    if not _INSTANT.fullmatch(time):
        return None
    try:
        return datetime.fromisoformat(time)
    except ValueError:
        return None


def _real(time: str) -> str:
    if instant(time) is None:
        raise ValueError(f"{time!r} is no instant, written as 2026-01-31T12:00:00.000Z")
    return time


Timestamp = Annotated[LedgerTime, AfterValidator(_real)]
"""An instant: UTC with milliseconds."""


Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
