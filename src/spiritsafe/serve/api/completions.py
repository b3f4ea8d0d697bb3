"""``/v1/completions``: OpenAI's older interface, which goes on from a text without a chat template.

In: one or several prompts, as text or tokens. Out: ``text_completion``, whole or in events. With ``echo`` and
``logprobs`` a prompt is scored, which is what evaluation harnesses ask for.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, final

import orjson
from pydantic import Field

from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, EndReason, Job, LikelyToken, Token
from spiritsafe.serve.answers.openai_forms import SEED_HEADER, AnswerPart, UsageBody, error_body, token_usage
from spiritsafe.serve.answers.sse import DONE, data_event
from spiritsafe.serve.asking.fields import (
    JOB_PARAMS,
    MOST_CHOICES,
    One,
    RequestBody,
    SamplingFields,
    StreamOptions,
    check_stream_options,
    choice_seeds,
    drawn_seed,
)
from spiritsafe.serve.asking.form import StructuredOutputs, form_of
from spiritsafe.serve.interface import Ask, Context, JobAnswer, answering_name, fingerprint, totals
from spiritsafe.serve.refusals import Refusal

_REASONS: Mapping[EndReason, str] = {"stop": "stop", "length": "length", "calls": "stop"}

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]


@final
class CompletionRequest(SamplingFields, RequestBody):
    """The body of a completion request."""

    ignored: ClassVar[Mapping[str, str]] = {"user": "it names the user to who moderates, and nobody does"}

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_CHOICES, fail_fast=True)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MOST_CHOICES, fail_fast=True)]
    )
    max_tokens: int = Field(default=16, ge=0, lt=1 << 31, description="0 with echo scores the prompt")
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=20)
    structured_outputs: StructuredOutputs | None = None
    stream_options: StreamOptions | None = None
    best_of: One | None = Field(default=None, description="Ask for several with n, and choose")
    suffix: Literal[""] | None = Field(default=None, description="Nothing is filled in before a suffix")
    user: str | None = None

    def prompts(self) -> tuple[Mapping[str, Any], ...]:
        """Each prompt as a job's field."""
        if isinstance(self.prompt, str):
            return ({"text": self.prompt},)
        if isinstance(self.prompt[0], int):
            return ({"token_ids": tuple(self.prompt)},)
        return tuple({"text": one} if isinstance(one, str) else {"token_ids": one} for one in self.prompt)


@final
class CompletionLogprobs(AnswerPart):
    """Tokens of a text side by side; the first of a prompt has no log-probability."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    top_logprobs: tuple[dict[str, float] | None, ...]
    text_offset: tuple[int, ...]


@final
class CompletionChoice(AnswerPart):
    """One text."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str


@final
class Completion(AnswerPart):
    """A whole answer."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: tuple[CompletionChoice, ...]
    usage: UsageBody


@final
class CompletionInterface:
    """OpenAI's older interface."""

    path = "/v1/completions"
    summary = "How a text goes on."
    request = CompletionRequest
    answer = Completion

    def read(self, body: CompletionRequest, context: Context) -> Ask:
        """The jobs of a completion request: prompt by prompt, ``n`` each.

        Raises:
            Refusal: Something cannot be had.
        """
        check_stream_options(body.stream_options, body.stream)
        prompts = body.prompts()
        if len(prompts) * body.n > MOST_CHOICES:
            raise _refusal("n", f"{len(prompts)} prompts with {body.n} answers each are too many.", "Ask in parts.")
        if any(token >= context.model.vocab_size for prompt in prompts for token in prompt.get("token_ids", ())):
            raise _refusal("prompt", f"Tokens of {context.name} end at {context.model.vocab_size - 1}.", "Mend it.")
        seed = drawn_seed() if body.seed is None else body.seed
        shared = {
            **body.sampling(context.model, context.cache_key),
            "form": form_of(None, body.structured_outputs),
            "max_tokens": body.max_tokens,
            "top_logprobs": body.logprobs,
            "echo": body.echo,
        }
        seeds = choice_seeds(seed, body.n)
        return Ask(
            jobs=tuple(Job(**prompt, seed=one, **shared) for prompt in prompts for one in seeds),
            body=body,
            context=context,
            stream=body.stream,
            prompt_of=tuple(number for number in range(len(prompts)) for _ in seeds),
            params={
                **JOB_PARAMS,
                "text": "prompt",
                "token_ids": "prompt",
                "form": "structured_outputs",
                "top_logprobs": "logprobs",
            },
            ignored=body.ignored_fields(),
            headers={SEED_HEADER: str(seed)},
        )

    def whole(self, ask: Ask, answers: Sequence[JobAnswer]) -> Mapping[str, object]:
        """The answer in one piece."""
        context, first = ask.context, answers[0].accepted
        used = totals(ask.prompt_of, [(answer.accepted, answer.ended) for answer in answers])
        return Completion(
            id=_id(context),
            created=context.created,
            model=answering_name(context, first),
            system_fingerprint=fingerprint(context, first),
            choices=tuple(
                CompletionChoice(
                    index=index,
                    text="".join(part.text for part in answer.parts),
                    logprobs=None if ask.body.logprobs is None else _Offsets().logprobs(answer.tokens),
                    finish_reason=_REASONS[answer.ended.reason],
                )
                for index, answer in enumerate(answers)
            ),
            usage=token_usage(used),
        ).model_dump(mode="json")

    def stream(self, ask: Ask) -> CompletionWriter:
        """Who writes the answer in events."""
        return CompletionWriter(ask)

    def failure(self, refusal: Refusal, request_id: str) -> Mapping[str, object]:
        """The body of a refusal."""
        return error_body(refusal)


@final
class CompletionWriter:
    """Writes ``text_completion`` events."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._accepted: dict[int, Accepted] = {}
        self._ends: dict[int, tuple[Accepted, Ended]] = {}
        self._offsets = [_Offsets() for _ in ask.jobs]
        options = ask.body.stream_options
        self._usage = options is not None and options.include_usage
        self._head = self._tail = b""

    def event(self, index: int, event: Accepted | AnswerPiece | Ended) -> bytes:
        """The event of a job's event; a prompt that is in is none."""
        if isinstance(event, Accepted):
            self._accepted[index] = event
            if not self._head:
                self._begin(event)
            return b""
        if isinstance(event, AnswerPiece):
            text = "".join(part.text for part in event.parts)
            return self._chunk(index, text, event.tokens) if text or event.tokens else b""
        self._ends[index] = (self._accepted[index], event)
        return self._chunk(index, "", (), _REASONS[event.reason])

    def closing(self) -> bytes:
        """Usage, where it was asked for, and the end mark."""
        if not self._usage:
            return DONE
        ends = [self._ends[index] for index in range(len(self._ends))]
        usage = token_usage(totals(self._ask.prompt_of, ends)).model_dump(mode="json")
        return self._head + b'],"usage":' + orjson.dumps(usage) + b"}\n\n" + DONE

    def failure(self, refusal: Refusal) -> bytes:
        """An error, which clients raise; no end mark follows it."""
        return data_event(error_body(refusal))

    def _begin(self, accepted: Accepted) -> None:
        context = self._ask.context
        head = {
            "id": _id(context),
            "object": "text_completion",
            "created": context.created,
            "model": answering_name(context, accepted),
            "system_fingerprint": fingerprint(context, accepted),
            "choices": [],
        }
        self._head = b"data: " + orjson.dumps(head)[:-2]
        self._tail = b'}],"usage":null}\n\n' if self._usage else b"}]}\n\n"

    def _chunk(self, index: int, text: str, tokens: Sequence[Token], reason: str | None = None) -> bytes:
        logprobs = b"null"
        if self._ask.body.logprobs is not None and tokens:
            logprobs = orjson.dumps(self._offsets[index].logprobs(tokens).model_dump(mode="json"))
        return b'%b{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b%b' % (
            self._head, index, orjson.dumps(text), logprobs, orjson.dumps(reason), self._tail,
        )  # fmt: skip


class _Offsets:
    """Where tokens begin in their text, in characters: a character may be spread over several tokens."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._length = 0

    def logprobs(self, tokens: Sequence[Token]) -> CompletionLogprobs:
        return CompletionLogprobs(
            tokens=tuple(token.drawn.text for token in tokens),
            token_logprobs=tuple(token.drawn.logprob for token in tokens),
            top_logprobs=tuple(_top(token) for token in tokens),
            text_offset=tuple(self._next(token.drawn) for token in tokens),
        )

    def _next(self, drawn: LikelyToken) -> int:
        begin = self._length
        self._length += len(self._decoder.decode(bytes(drawn.bytes)))
        return begin


def _top(token: Token) -> dict[str, float] | None:
    """The likeliest tokens and the drawn one by their text; of several with one text the likeliest counts."""
    if token.drawn.logprob is None:
        return None
    found: dict[str, float] = {}
    for candidate in (*token.top, token.drawn):
        if candidate.logprob is not None:
            found[candidate.text] = max(candidate.logprob, found.get(candidate.text, candidate.logprob))
    return found


def _refusal(param: str, message: str, hint: str) -> Refusal:
    return Refusal(message, hint=hint, param=param, code="invalid_value")


def _id(context: Context) -> str:
    return f"cmpl-{context.request_id.removeprefix('req_')}"


INTERFACE = CompletionInterface()
