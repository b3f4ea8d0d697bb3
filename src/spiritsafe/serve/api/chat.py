"""``/v1/chat/completions``: OpenAI's chat interface.

In: a conversation. Out: ``chat.completion``, or ``chat.completion.chunk`` events. Thoughts go in ``reasoning_content``,
as DeepSeek's and vLLM's servers have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, final

import orjson
from pydantic import Field

from spiritsafe.core.records import omit_default
from spiritsafe.core.serving import AnswerPiece, EndReason, Job, Part, ServedModel, Token
from spiritsafe.serve.answers.chunks import ChunkWriter, head_fields, usage_of
from spiritsafe.serve.answers.openai_forms import SEED_HEADER, AnswerPart, UsageBody, error_body
from spiritsafe.serve.asking.conversation import (
    MOST_TOOLS,
    ChatMessage,
    ToolChoice,
    ToolDefinition,
    chat_messages,
    ignored_names,
    tool_choice_fields,
)
from spiritsafe.serve.asking.fields import (
    JOB_PARAMS,
    Off,
    RequestBody,
    RequestPart,
    SamplingFields,
    StreamOptions,
    check_stream_options,
    choice_seeds,
    drawn_seed,
)
from spiritsafe.serve.asking.form import ResponseFormat, StructuredOutputs, form_of, ignored_in
from spiritsafe.serve.asking.going_on import thinking_of, with_beginning
from spiritsafe.serve.asking.refusing import one_of
from spiritsafe.serve.interface import Ask, Context, JobAnswer
from spiritsafe.serve.refusals import Refusal

_STATELESS = "Nothing is kept here; leave it out."
_TEXT_ONLY = "Models here read and write text; leave it out."
_PREFIX = "chatcmpl"
_REASONS: Mapping[EndReason, str] = {"stop": "stop", "length": "length", "calls": "tool_calls"}


@final
class TemplateOptions(RequestPart):
    """Options of the chat template that servers of open weights take."""

    enable_thinking: bool | None = Field(default=None, description="Whether the model thinks, where it has a switch")


@final
class ChatRequest(SamplingFields, RequestBody):
    """The body of a chat request."""

    refused: ClassVar[Mapping[str, str]] = {
        "audio": _TEXT_ONLY,
        "function_call": "Use tool_choice.",
        "functions": "Use tools.",
        "moderation": "Nothing is moderated here; leave it out.",
        "prediction": "Drafts are the server's own affair; leave it out.",
        "prompt_cache_options": "What is kept of prompts is the server's own affair; leave it out.",
        "prompt_cache_retention": "What is kept of prompts is the server's own affair; leave it out.",
        "web_search_options": "Nothing is searched here; leave it out.",
    }
    ignored: ClassVar[Mapping[str, str]] = {
        "messages.name": "no template writes who speaks beyond the role; a tool's name counts",
        "metadata": "it labels what is stored, and nothing is",
        "prompt_cache_key": "it only says where a prompt may be found again; it is found without",
        "response_format.json_schema.description": "the schema alone says what is wanted",
        "response_format.json_schema.name": "the schema alone says what is wanted",
        "response_format.json_schema.strict": "a schema is always enforced, also where it need not be",
        "safety_identifier": "it names the user to who moderates, and nobody does",
        "service_tier": "there is one tier",
        "user": "it names the user to who moderates, and nobody does",
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)]
    max_tokens: int | None = Field(default=None, ge=1, lt=1 << 31)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=1 << 31)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: Annotated[list[ToolDefinition], Field(max_length=MOST_TOOLS, fail_fast=True)] = Field(default=[])
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    stream_options: StreamOptions | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    store: Off | None = None
    reasoning_effort: (
        Annotated[
            Literal["none"],
            one_of("none", otherwise="how long a model thinks cannot be set; max_completion_tokens bounds it"),
        ]
        | None
    ) = None
    chat_template_kwargs: TemplateOptions | None = None
    continue_final_message: bool = Field(default=False, description="The last message is the answer's beginning")
    add_generation_prompt: bool | None = Field(
        default=None, description="Begin a new turn; false where the last message is gone on from, and only there"
    )
    verbosity: Literal["medium"] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    user: str | None = None

    def ignored_fields(self) -> tuple[str, ...]:
        """The fields that were given and change nothing: those inside others by what they say, not by being there."""
        inside = {*ignored_in(self.response_format), *ignored_names(self.messages)}
        return tuple(name for name in super().ignored_fields() if "." not in name or name in inside)


class TopLogprob(AnswerPart):
    """A token that might have been drawn."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


class TokenLogprob(AnswerPart):
    """A token that was drawn."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top_logprobs: tuple[TopLogprob, ...]


class ChoiceLogprobs(AnswerPart):
    """All tokens of an answer, thoughts and calls included."""

    content: tuple[TokenLogprob, ...]
    refusal: None = None


class AnsweredFunction(AnswerPart):
    """A function that is called; its arguments are JSON text."""

    name: str
    arguments: str


class AnsweredCall(AnswerPart):
    """A tool that is called."""

    id: str
    type: Literal["function"] = "function"
    function: AnsweredFunction


class AnsweredMessage(AnswerPart):
    """What the model says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | None = omit_default(None)
    tool_calls: tuple[AnsweredCall, ...] | None = omit_default(None)


class ChatChoice(AnswerPart):
    """One answer."""

    index: int
    message: AnsweredMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: str


@final
class ChatCompletion(AnswerPart):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: tuple[ChatChoice, ...]
    usage: UsageBody


@final
class ChatInterface:
    """OpenAI's chat interface."""

    path = "/v1/chat/completions"
    summary = "The next turn of a conversation."
    request = ChatRequest
    answer = ChatCompletion

    def read(self, body: ChatRequest, context: Context) -> Ask:
        """The jobs of a chat request.

        Raises:
            Refusal: Something cannot be had.
        """
        _check(body)
        seed = drawn_seed() if body.seed is None else body.seed
        messages, prefix = chat_messages(body.messages, body.tools, context.model), ""
        if body.continue_final_message:
            messages, prefix = with_beginning(messages, f"messages[{len(messages) - 1}]")
        job = Job(
            messages=messages,
            prefix=prefix,
            thinking=thinking_of(*_thinking(body, context.model)),
            **tool_choice_fields(body.tool_choice, body.tools),
            parallel_tool_calls=body.parallel_tool_calls is not False,
            form=form_of(body.response_format, body.structured_outputs),
            max_tokens=body.max_completion_tokens or body.max_tokens,
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            **body.sampling(context.model, context.cache_key),
        )
        seeds = choice_seeds(seed, body.n)
        return Ask(
            jobs=tuple(job.model_copy(update={"seed": one}) for one in seeds),
            body=body,
            context=context,
            stream=body.stream,
            prompt_of=(0,) * body.n,
            params=_params(body),
            ignored=body.ignored_fields(),
            headers={SEED_HEADER: str(seed)},
        )

    def whole(self, ask: Ask, answers: Sequence[JobAnswer]) -> Mapping[str, object]:
        """The answer in one piece."""
        return ChatCompletion(
            **head_fields(ask, answers[0].accepted, _PREFIX, "chat.completion"),
            choices=tuple(_choice(ask, index, answer) for index, answer in enumerate(answers)),
            usage=usage_of(ask, [(answer.accepted, answer.ended) for answer in answers]),
        ).model_dump(mode="json")

    def stream(self, ask: Ask) -> ChatWriter:
        """Who writes the answer in events."""
        return ChatWriter(ask)

    def failure(self, refusal: Refusal, request_id: str) -> Mapping[str, object]:
        """The body of a refusal."""
        return error_body(refusal)


@final
class ChatWriter(ChunkWriter):
    """Writes ``chat.completion.chunk`` events."""

    prefix, kind, reasons = _PREFIX, "chat.completion.chunk", _REASONS
    first, last = b'"delta":{"role":"assistant","content":"","refusal":null}', b'"delta":{}'

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self._num_calls = [0] * len(ask.jobs)

    def pieces(self, index: int, piece: AnswerPiece) -> Iterable[bytes]:
        """A delta for each part."""
        return (b'"delta":' + self._delta(index, part) for part in piece.parts)

    def logprobs(self, index: int, tokens: Sequence[Token]) -> Mapping[str, Any]:
        """As in a whole answer."""
        return _logprobs(tokens).model_dump(mode="json")

    def _delta(self, index: int, part: Part) -> bytes:
        if part.kind == "text":
            return b'{"content":%b}' % orjson.dumps(part.text)
        if part.kind == "thought":
            return b'{"reasoning_content":%b}' % orjson.dumps(part.text)
        if part.kind == "arguments":
            call: dict[str, Any] = {"index": self._num_calls[index] - 1, "function": {"arguments": part.text}}
            return orjson.dumps({"tool_calls": [call]})
        number = self._num_calls[index]
        self._num_calls[index] += 1
        call = {
            "index": number,
            "id": _call_id(self._ask.context, index, number),
            "type": "function",
            "function": {"name": part.text, "arguments": ""},
        }
        return orjson.dumps({"tool_calls": [call]})


def _check(body: ChatRequest) -> None:
    """Refuses what contradicts itself or could not take effect."""
    both = (body.max_tokens, body.max_completion_tokens)
    if None not in both and both[0] != both[1]:
        raise _refusal("max_tokens", "max_tokens and max_completion_tokens differ.", "Give one of them.")
    if body.top_logprobs is not None and not body.logprobs:
        raise _refusal("top_logprobs", "top_logprobs needs logprobs.", "Set logprobs to true.")
    check_stream_options(body.stream_options, body.stream)
    if body.continue_final_message and body.messages[-1].role != "assistant":
        raise _refusal("continue_final_message", "The last message is not the assistant's.", "Leave it out.")
    if body.add_generation_prompt not in (None, not body.continue_final_message):
        raise _refusal(
            "add_generation_prompt",
            "It is false where continue_final_message is true, and true elsewhere.",
            "Leave it out, or set both.",
        )
    if body.parallel_tool_calls is not None and not body.tools:
        raise _refusal("parallel_tool_calls", "There are no tools to call.", "Give tools or leave it out.")


def _thinking(body: ChatRequest, model: ServedModel) -> tuple[bool | None, ServedModel, str]:
    """Whether the model shall think, and which field says so."""
    switch = None if body.chat_template_kwargs is None else body.chat_template_kwargs.enable_thinking
    if body.reasoning_effort is None:
        return switch, model, "chat_template_kwargs.enable_thinking"
    if switch:
        raise _refusal("reasoning_effort", "It says not to think, and enable_thinking to think.", "Give one of them.")
    return False, model, "reasoning_effort"


def _refusal(param: str, message: str, hint: str) -> Refusal:
    return Refusal(message, hint=hint, param=param, code="invalid_value")


def _params(body: ChatRequest) -> Mapping[str, str]:
    return {
        **JOB_PARAMS,
        "prefix": "continue_final_message",
        "thinking": "chat_template_kwargs.enable_thinking" if body.reasoning_effort is None else "reasoning_effort",
        "form": "structured_outputs" if body.structured_outputs is not None else "response_format",
        "max_tokens": "max_completion_tokens" if body.max_completion_tokens is not None else "max_tokens",
        "tool_name": "tool_choice",
    }


def _call_id(context: Context, index: int, number: int) -> str:
    return f"call_{context.request_id.removeprefix('req_')}_{index}_{number}"


def _choice(ask: Ask, index: int, answer: JobAnswer) -> ChatChoice:
    calls = tuple(
        AnsweredCall(
            id=_call_id(ask.context, index, number),
            function=AnsweredFunction(name=call.name, arguments=call.arguments),
        )
        for number, call in enumerate(answer.calls)
    )
    return ChatChoice(
        index=index,
        message=AnsweredMessage(
            content=answer.text or (None if calls else ""),
            reasoning_content=answer.thought or None,
            tool_calls=calls or None,
        ),
        logprobs=_logprobs(answer.tokens) if ask.body.logprobs else None,
        finish_reason=_REASONS[answer.ended.reason],
    )


def _logprobs(tokens: Sequence[Token]) -> ChoiceLogprobs:
    return ChoiceLogprobs(
        content=tuple(
            TokenLogprob(
                token=token.drawn.text,
                bytes=token.drawn.bytes,
                logprob=token.drawn.logprob or 0.0,
                top_logprobs=tuple(
                    TopLogprob(token=top.text, bytes=top.bytes, logprob=top.logprob or 0.0) for top in token.top
                ),
            )
            for token in tokens
        )
    )


INTERFACE = ChatInterface()
