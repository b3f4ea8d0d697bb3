from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.core.records import UNKNOWN_LICENCE, Checkpoint
from spiritsafe.pipeline.recipe.given import GivenRecipe

SERVED: dict[str, Any] = {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give source, or endpoint and model"),
        ({"licence": "MIT"}, "give source"),
        ({"endpoint": "http://x"}, "give both"),
        ({"source": "tiny:0", "model": "m"}, "give both"),
        ({**SERVED, "date": "2026-11-28"}, "for a source"),
        ({**SERVED, "template_kwargs": {"a": 1}}, "for a source"),
        ({"source": "tiny:0", "licence": ""}, "at least 1"),
        ({"source": "tiny:0", "dtype": "float16"}, "dtype"),
    ],
)
def test_a_model_is_somewhere(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GivenRecipe.model_validate(given)


def test_a_served_model_is_known_by_its_address_and_name() -> None:
    one = GivenRecipe(**SERVED).served_checkpoint()
    assert (one.name, one.license, one.weight_bytes) == ("m", UNKNOWN_LICENCE, 0)
    assert GivenRecipe(**SERVED, licence="MIT").served_checkpoint().license == "MIT"
    others = [{**SERVED, "model": "n"}, {**SERVED, "endpoint": "http://127.0.0.1:2/v1"}]
    assert len({one.digest, *(GivenRecipe(**other).served_checkpoint().digest for other in others)}) == 3


def test_who_answers_is_under_what_is_known_of_it() -> None:
    source = Checkpoint(name="s", digest="sha256:s", license="Apache-2.0", num_parameters=1, weight_bytes=4)
    relay = GivenRecipe(source="tiny:0", **SERVED)
    assert (relay.speaker(source).name, relay.speaker(source).license) == ("m", "Apache-2.0")
    closed = GivenRecipe(source="tiny:0", endpoint="https://api.openai.com/v1", model="gpt-4o")
    assert closed.speaker(source).license == "LicenseRef-openai-services"
    said = GivenRecipe(source="tiny:0", **SERVED, licence="MIT", licence_granted="by mail of 3 May 2026")
    assert said.speaker(source).license == said.stated(source).license == "MIT"
    assert said.speaker(source).license_granted == said.stated(source).license_granted == "by mail of 3 May 2026"
    alone = GivenRecipe(source="tiny:0")
    assert alone.speaker(source) is source
    assert alone.stated(source).to_json() == source.to_json()


def test_a_model_may_be_both_weights_and_endpoint() -> None:
    assert GivenRecipe(source="tiny:0", **SERVED, date="2026-11-28").tells_template
