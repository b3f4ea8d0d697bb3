from __future__ import annotations

import pytest
from openai.types import CompletionUsage
from openai.types.shared import ErrorObject
from openai_answers import strictly

from spiritsafe.serve.answers.openai_forms import error_body, token_usage
from spiritsafe.serve.interface import Totals
from spiritsafe.serve.refusals import Refusal


def test_usage() -> None:
    usage = strictly(CompletionUsage, token_usage(Totals(5, 2, 7, 3)).model_dump(mode="json"))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 7, 12)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error"), (500, "server_error")],
)
def test_errors(status: int, kind: str) -> None:
    body = error_body(Refusal("No.", hint="Do this.", status=status, param="a", code="b"))
    error = strictly(ErrorObject, body["error"])
    assert (error.message, error.type, error.param, error.code) == ("No. Do this.", kind, "a", "b")
