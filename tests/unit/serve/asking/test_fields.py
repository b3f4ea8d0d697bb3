from __future__ import annotations

import pytest
from pydantic import ValidationError
from served_engine import served_model

from spiritsafe.core.serving import Job
from spiritsafe.serve.asking.fields import Off, RequestPart, SamplingFields, choice_seeds, drawn_seed
from spiritsafe.serve.refusals import Refusal


class Switch(RequestPart):
    off: Off = False


@pytest.mark.parametrize("value", [0, 0.0, True, "false"])
def test_zero_is_not_false(value: object) -> None:
    with pytest.raises(ValidationError):
        Switch.model_validate({"off": value})


def test_the_schema_allows_null_where_a_field_may_be_absent() -> None:
    properties = SamplingFields.model_json_schema()["properties"]
    assert all({"type": "null"} in one["anyOf"] for one in properties.values())


def test_defaults_are_those_of_a_job() -> None:
    plain = Job(text="x")
    made = Job(text="x", **SamplingFields().sampling(served_model(), ""))
    assert made == plain


@pytest.mark.parametrize("bias", [{"x": 1.0}, {"-1": 1.0}, {"1000": 1.0}, {"²": 1.0}, {"1": 1.0, "01": 2.0}])
def test_bias_is_of_tokens_of_the_model(bias: dict[str, float]) -> None:
    with pytest.raises(Refusal) as found:
        SamplingFields(logit_bias=bias).sampling(served_model(vocab_size=1000), "")
    assert found.value.param == "logit_bias"


def test_a_salt_parts_what_is_kept_and_never_joins_callers() -> None:
    keys = {
        SamplingFields(cache_salt=salt).sampling(served_model(), key)["cache_key"]
        for key in ("ann", "bob")
        for salt in (None, "ann", "bob")
    }
    assert len(keys) == 6


def test_seeds_are_apart_and_fit_a_job() -> None:
    assert choice_seeds(5, 1) == (5,)
    assert choice_seeds(5, 3)[:2] == choice_seeds(5, 2)
    assert len({*choice_seeds(5, 20), *choice_seeds(6, 20)}) == 40
    assert Job(text="x", seed=drawn_seed()).seed != drawn_seed()
