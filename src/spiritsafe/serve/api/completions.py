"""``/v1/completions``: OpenAI's older interface, which goes on from a text without a chat template.

In: one or several prompts, as text or tokens. Out: ``text_completion``, whole or in events. With ``echo`` and
``logprobs`` a prompt is scored, which is what evaluation harnesses ask for.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, final

import orjson
from pydantic import Field

from spiritsafe.core.serving import AnswerPiece, EndReason, Job, LikelyToken, Token
from spiritsafe.serve.answers.chunks import ChunkWriter, head_fields, usage_of
from spiritsafe.serve.answers.openai_forms import SEED_HEADER, AnswerPart, UsageBody, error_body
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
from spiritsafe.serve.interface import Ask, Context, JobAnswer
from spiritsafe.serve.refusals import Refusal

_PREFIX = "cmpl"
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
        return Completion(
            **head_fields(ask, answers[0].accepted, _PREFIX, "text_completion"),
            choices=tuple(
                CompletionChoice(
                    index=index,
                    text="".join(part.text for part in answer.parts),
                    logprobs=None if ask.body.logprobs is None else _Offsets().logprobs(answer.tokens),
                    finish_reason=_REASONS[answer.ended.reason],
                )
                for index, answer in enumerate(answers)
            ),
            usage=usage_of(ask, [(answer.accepted, answer.ended) for answer in answers]),
        ).model_dump(mode="json")

    def stream(self, ask: Ask) -> CompletionWriter:
        """Who writes the answer in events."""
        return CompletionWriter(ask)

    def failure(self, refusal: Refusal, request_id: str) -> Mapping[str, object]:
        """The body of a refusal."""
        return error_body(refusal)


@final
class CompletionWriter(ChunkWriter):
    """Writes ``text_completion`` events; a prompt that is in is none."""

    prefix, kind, reasons, last = _PREFIX, "text_completion", _REASONS, b'"text":""'

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self._offsets = [_Offsets() for _ in ask.jobs]

    def pieces(self, index: int, piece: AnswerPiece) -> Iterable[bytes]:
        """Its text; empty where only tokens are told."""
        text = "".join(part.text for part in piece.parts)
        return [b'"text":' + orjson.dumps(text)] if text or piece.tokens else []

    def logprobs(self, index: int, tokens: Sequence[Token]) -> Mapping[str, Any]:
        """As in a whole answer."""
        return self._offsets[index].logprobs(tokens).model_dump(mode="json")


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


INTERFACE = CompletionInterface()
