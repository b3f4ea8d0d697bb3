"""What answers of OpenAI's interfaces have in common: errors, usage, log-probabilities."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from spiritsafe.serve.interface import Totals
from spiritsafe.serve.refusals import Refusal

SEED_HEADER = "spiritsafe-seed"


class AnswerPart(BaseModel):
    """An object in an answer; nothing else stands in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CompletionDetails(AnswerPart):
    """Of what kinds drawn tokens are."""

    reasoning_tokens: int


class PromptDetails(AnswerPart):
    """Of what kinds tokens of the prompt are."""

    cached_tokens: int


class UsageBody(AnswerPart):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def token_usage(used: Totals) -> UsageBody:
    """What was used, as OpenAI's interfaces tell it."""
    return UsageBody(
        prompt_tokens=used.num_prompt_tokens,
        completion_tokens=used.num_tokens,
        total_tokens=used.num_prompt_tokens + used.num_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=used.num_cached),
        completion_tokens_details=CompletionDetails(reasoning_tokens=used.num_thought_tokens),
    )


def error_body(refusal: Refusal) -> dict[str, Any]:
    """A refusal as OpenAI's clients read it."""
    return {
        "error": {
            "message": refusal.diagnostics(),
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }
