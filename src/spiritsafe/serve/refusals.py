"""What a request gets instead of an answer: a status, words, and the field that is to blame.

In: what is wrong. Out: a :class:`Refusal`, which each interface writes down as its own clients expect it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from spiritsafe.core.errors import EndpointError, SpiritsafeError
from spiritsafe.core.serving import Failed


@final
class Refusal(EndpointError):
    """A request is not answered, or not to its end.

    Args:
        status: Of HTTP: 4xx where the asker is at fault, 5xx where the house is.
        param: The field of the request that is to blame, as in ``messages[0].content``.
        code: In one word, for programs.
        headers: Added to the answer's, such as ``Retry-After``.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def kind(self) -> str:
        """What OpenAI's interface calls errors of this status."""
        return _KINDS.get(self.status) or ("server_error" if self.status >= 500 else "invalid_request_error")


SHUTTING_DOWN = "shutting_down"
"""The code of what is refused, or breaks off, because the server ends."""

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


def refusal_of(failed: Failed, params: Mapping[str, str]) -> Refusal:
    """What the asker is told when a worker has no answer.

    Args:
        params: What the interface calls fields of a job, where the names differ.
    """
    param = None if failed.param is None else params.get(failed.param, failed.param)
    if failed.fault == "asker":
        hint = failed.hint or "Change the request."
        return Refusal(failed.message, hint=hint, status=400, param=param, code=failed.code)
    hint = failed.hint or "Ask again; if it happens again, tell who runs this server."
    status = 503 if failed.code == SHUTTING_DOWN else 500
    return Refusal(failed.message, hint=hint, status=status, code=failed.code)


def refusal_of_error(error: SpiritsafeError) -> Refusal:
    """The same for an error of the house."""
    if isinstance(error, Refusal):
        return error
    return Refusal(error.message, hint=error.hint, status=500, code="failed")
