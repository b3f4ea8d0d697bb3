"""``/v1/messages/count_tokens``: how many tokens the prompt of a message has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from spiritsafe.serve.answers.openai_forms import AnswerPart
from spiritsafe.serve.api.messages.events import MessageWriter, anthropic_error
from spiritsafe.serve.api.messages.interface import ask_of
from spiritsafe.serve.api.messages.request import CountTokensRequest
from spiritsafe.serve.interface import Ask, Context, JobAnswer
from spiritsafe.serve.refusals import Refusal


class TokensCount(AnswerPart):
    """How many tokens there are."""

    input_tokens: int


@final
class CountTokensInterface:
    """Counts a prompt."""

    path = "/v1/messages/count_tokens"
    summary = "How many tokens the prompt of a message has."
    request = CountTokensRequest
    answer = TokensCount

    def read(self, body: CountTokensRequest, context: Context) -> Ask:
        """The job whose prompt is counted.

        Raises:
            Refusal: Something cannot be had.
        """
        if body.stream:
            raise Refusal("A count is no stream.", hint="Leave it out.", param="stream", code="unsupported_value")
        return ask_of(body, context, {}, counting=True)

    def whole(self, ask: Ask, answers: Sequence[JobAnswer]) -> Mapping[str, object]:
        """The count."""
        return TokensCount(input_tokens=answers[0].accepted.num_prompt_tokens).model_dump()

    def stream(self, ask: Ask) -> MessageWriter:
        """Who would write events; nothing asks for them."""
        return MessageWriter(ask)

    def failure(self, refusal: Refusal, request_id: str) -> Mapping[str, object]:
        """The body of a refusal."""
        return anthropic_error(refusal, request_id)


INTERFACE = CountTokensInterface()
