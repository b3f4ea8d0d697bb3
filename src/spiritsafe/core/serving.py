"""What a served model is asked and what it answers, between the server and the process that holds the weights.

In: a :class:`Job`. Out: :class:`Accepted`, then pieces as they are drawn, then :class:`Ended`; or :class:`Failed` at
any time. A router, which may hold back what is drawn, says :class:`Withheld` before. The server knows nothing of
tokenizers, templates or tensors; the worker knows nothing of HTTP, keys or other people's interfaces. Everything has
one JSON form, which is what goes through the pipe.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol, final

from pydantic import Field, model_validator

from spiritsafe.core.records import Message, Record

EndReason = Literal["stop", "length", "calls"]
PartKind = Literal["thought", "text", "call", "arguments"]


@final
class ServedModel(Record):
    """What a worker says of the model that it holds.

    Attributes:
        digest: Of the checkpoint, or of the GGUF file: of the bytes that answer.
        kind: "weights": a checkpoint on the own engine; "file": a GGUF file on llama.cpp; "router": it asks others.
        context: Most tokens of prompt and answer together.
        max_prompt_bytes: A longer text cannot fit the context, whatever it says.
        shows_tools: Definitions of tools can be given: the template has them, or they are written into the prompt.
        thinks: Its template knows thoughts.
        switches_thinking: Its template has a switch that lets it think or not.
        platform: Machine and number format in a few words.
        memory_bytes: Resident bytes of the processes that hold it, once it is loaded; None: nobody looked.
        notes: What a user should know of the model.
    """

    name: str
    digest: str
    kind: Literal["weights", "file", "router"]
    context: int = Field(ge=2)
    max_prompt_bytes: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    shows_tools: bool = False
    thinks: bool = False
    switches_thinking: bool = False
    platform: str = ""
    memory_bytes: int | None = Field(default=None, ge=0)
    notes: tuple[str, ...] = ()


@final
class Form(Record):
    """What an answer's text must look like; the worker lets no other token be drawn.

    Attributes:
        kind: "json": any JSON object; "schema": JSON of a schema; "regex"; "grammar": in Lark's notation.
        source: The schema's JSON text, the expression or the grammar.
    """

    kind: Literal["json", "schema", "regex", "grammar"]
    source: str = ""


@final
class Job(Record):
    """One completion that is asked for. Exactly one of ``messages``, ``text`` and ``token_ids`` is given.

    Attributes:
        messages: A conversation; definitions of tools stand in its first message.
        text: A text to go on from, without a chat template.
        token_ids: The same as tokens.
        prefix: How the answer to ``messages`` begins; what is drawn goes on behind it and does not repeat it.
        thinking: Whether the model thinks in front of its answer; None: as it does unasked.
        tool_choice: "required": it must call; with ``tool_name`` this very tool.
        parallel_tool_calls: It may call several tools in one turn.
        form: Of the answer's text; thoughts in front of it are free.
        max_tokens: None: whatever the context leaves. 0: nothing is drawn (with ``echo``: the prompt is scored).
        stop: Strings that end the answer and are not part of it.
        seed: With the other fields it fixes the answer.
        logit_bias: Added to the logits of tokens.
        presence_penalty: Taken from the logits of tokens that the answer holds already.
        frequency_penalty: The same for each time that it holds them.
        repetition_penalty: Logits of tokens that prompt or answer hold are divided by it where positive, multiplied
            where negative; 1 changes nothing.
        top_logprobs: None: no log-probabilities; n: those of the drawn tokens and of the n likeliest at each place.
        echo: The prompt's own text (and its log-probabilities) come first, as pieces.
        ignore_end: End tokens do not end it; they are not drawn.
        cache_key: What is kept of a prompt is used again for the same key only.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    prefix: str = ""
    thinking: bool | None = None
    tool_choice: Literal["none", "auto", "required"] = "auto"
    tool_name: str | None = None
    parallel_tool_calls: bool = True
    form: Form | None = None
    max_tokens: int | None = Field(default=None, ge=0)
    stop: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    temperature: float = Field(default=1.0, ge=0.0, le=10.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    logit_bias: tuple[tuple[int, float], ...] = ()
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=10.0)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool = False
    ignore_end: bool = False
    cache_key: str = ""

    @model_validator(mode="after")
    def _one_prompt(self) -> Job:
        if (bool(self.messages), self.text is not None, self.token_ids is not None).count(True) != 1:
            raise ValueError("give exactly one of messages, text and token_ids")
        if not self.messages and (self.prefix or self.thinking is not None):
            raise ValueError("prefix and thinking stand beside messages")
        return self


@final
class LikelyToken(Record):
    """A token that might have been drawn.

    Attributes:
        text: What it spells; bytes that are no text are shown as �.
        bytes: Its very bytes.
        logprob: Natural logarithm, at the sampling temperature, before tokens are excluded. None: the prompt's first
            token has none.
    """

    id: int
    text: str
    bytes: tuple[int, ...]
    logprob: float | None


@final
class Token(Record):
    """A token of an answer, with the likeliest at its place."""

    drawn: LikelyToken
    top: tuple[LikelyToken, ...] = ()


@final
class Part(Record):
    """Some of an answer, of one kind.

    Attributes:
        kind: "call": ``text`` is the name of a tool, a new call begins; "arguments": more of the newest call's JSON.
    """

    kind: PartKind
    text: str


@final
class Accepted(Record):
    """The prompt is in.

    Attributes:
        num_cached: How many of its tokens an earlier prompt of the same key left behind.
        answered_by: The model that answers, where the asked one only chooses.
        num_dropped: Tokens that models drew before it whose answers were not kept.
    """

    num_prompt_tokens: int
    num_cached: int = 0
    answered_by: ServedModel | None = None
    num_dropped: int = Field(default=0, ge=0)


@final
class Withheld(Record):
    """Of an answer that may not be kept there is more: nothing to show, but used, also if who asks leaves now.

    Attributes:
        accepted: As it will be told if the answer is kept.
        num_tokens: Drawn for it so far.
    """

    accepted: Accepted
    num_tokens: int = Field(default=0, ge=0)


@final
class AnswerPiece(Record):
    """What one step added to an answer. ``tokens`` are there only when log-probabilities were asked for."""

    parts: tuple[Part, ...] = ()
    num_tokens: int = 1
    tokens: tuple[Token, ...] = ()


@final
class Ended(Record):
    """The answer is whole.

    Attributes:
        stop: Which stop string ended it.
        num_tokens: Drawn, its end token included.
    """

    reason: EndReason
    num_tokens: int
    num_thought_tokens: int = 0
    stop: str | None = None


@final
class Failed(Record):
    """There is no answer, or no more of it.

    Attributes:
        fault: "asker": what was asked cannot be had; "model": the model or its process failed.
        param: Which field of the :class:`Job` is to blame.
        code: ``context_length_exceeded``, ``unsupported``, ``invalid`` or ``failed``.
    """

    fault: Literal["asker", "model"]
    message: str
    hint: str = ""
    param: str | None = None
    code: str = "failed"


JobEvent = Withheld | Accepted | AnswerPiece | Ended | Failed


class ServedEngine(Protocol):
    """A model that answers jobs, many at a time."""

    async def describe(self) -> ServedModel:
        """What it is.

        Raises:
            SpiritsafeError: It cannot be loaded.
        """
        ...

    def run(self, job: Job) -> AsyncIterator[JobEvent]:
        """Answer; closing the iterator (``aclose``, or cancelling who reads it) frees the slot within a step."""
        ...

    async def count(self, job: Job) -> int | Failed:
        """How many tokens the prompt has."""
        ...

    async def close(self) -> None:
        """End the process."""
        ...
