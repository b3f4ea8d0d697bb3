from __future__ import annotations

from spiritsafe.core.errors import SourceError
from spiritsafe.core.serving import Failed
from spiritsafe.serve.refusals import Refusal, refusal_of, refusal_of_error


def test_a_worker_speaks_of_its_job_and_the_asker_of_the_request() -> None:
    failed = Failed(fault="asker", message="Too long.", param="form", code="unsupported")
    refusal = refusal_of(failed, {"form": "response_format"})
    assert (refusal.status, refusal.param, refusal.code) == (400, "response_format", "unsupported")
    assert refusal.hint
    assert refusal_of(failed, {}).param == "form"


def test_an_error_of_the_house_is_not_the_askers() -> None:
    refusal = refusal_of_error(SourceError("No disk.", hint="Buy one."))
    assert (refusal.status, refusal.message, refusal.kind) == (500, "No disk.", "server_error")
    own = Refusal("x", hint="y", status=429)
    assert refusal_of_error(own) is own
