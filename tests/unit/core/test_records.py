from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import (
    Attempt,
    Checkpoint,
    Message,
    Parent,
    Problem,
    Prompt,
    Record,
    Sampling,
    Verdict,
    omit_default,
)

MESSAGE = Message(role="user", content="2 + 2?")
PROBLEM = Problem(task="t", canonical_text="2+2", messages=(MESSAGE,), facts={"answer": "4", "depth": [1, {"a": None}]})


def attempt(**changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "problem_id": "p",
        "sample_index": 0,
        "model": "m",
        "sampling": Sampling(),
        "seed": 1,
        "text": "4",
        "finish_reason": "stop",
    }
    return Attempt(**{**fields, **changes})


RECORDS: list[Record] = [
    MESSAGE,
    PROBLEM,
    Sampling(temperature=0.5, stop=("a", "b")),
    Prompt(problem_id="p", messages=(MESSAGE,), num_samples=3, seed=2**52),
    attempt(token_ids=(1, 2), logprobs=(-0.5, -1e-9), error="e"),
    Verdict(status="wrong", score=0.5, answer="5", reason="off by one", verifier="v", version="1"),
    Parent(name="n", digest="d", license="MIT", used_as=("weights", "outputs")),
    Checkpoint(
        name="n",
        digest="d",
        license="Apache-2.0",
        num_parameters=7,
        weight_bytes=14,
        parents=(Parent(name="n", digest="d", license="MIT", used_as=("logits",)),),
    ),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_is_frozen_strict_and_comes_back(record: Record) -> None:
    assert type(record).from_json(record.to_json()) == record
    assert record.content_digest == digest(record.to_json())
    assert type(record).from_json(record.to_json()).canonical() == record.canonical()
    name = next(iter(type(record).model_fields))
    with pytest.raises(ValidationError):
        setattr(record, name, "other")
    with pytest.raises(IntegrityError, match="unheard_of"):
        type(record).from_json({**record.to_json(), "unheard_of": 1})
    required = next(n for n, field in type(record).model_fields.items() if field.is_required() or n == "temperature")
    if type(record) is not Sampling:
        with pytest.raises(IntegrityError, match=required):
            type(record).from_json({k: v for k, v in record.to_json().items() if k != required})


@pytest.mark.parametrize("value", [None, 3, "x", [], {"role": "robot", "content": ""}, {"role": "user", "content": 3}])
def test_what_is_no_record_is_named(value: Any) -> None:
    with pytest.raises(IntegrityError, match="Not a valid Message"):
        Message.from_json(value)


def test_a_copy_does_not_carry_the_originals_digests() -> None:
    before = (PROBLEM.content_digest, PROBLEM.id)
    other = PROBLEM.model_copy(update={"canonical_text": "2+3"})
    assert other.id != before[1]
    assert other.content_digest != before[0]
    assert PROBLEM.model_copy().id == before[1]


def test_the_id_of_a_problem_is_its_task_and_text() -> None:
    assert PROBLEM.id == digest({"task": "t", "text": "2+2"})
    reworded = PROBLEM.model_copy(update={"messages": (), "facts": {}})
    assert reworded.id == PROBLEM.id
    assert hash(reworded) == hash(PROBLEM)
    assert len({PROBLEM, Problem.from_json(PROBLEM.to_json())}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": 1.5},
        {"max_tokens": 0},
    ],
)
def test_samplings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sampling(**wrong)


def test_attempts_keep_tokens_and_logprobs_together() -> None:
    with pytest.raises(ValidationError, match="1 logprobs for 2 tokens"):
        attempt(token_ids=(1, 2), logprobs=(-0.5,))
    assert attempt(logprobs=(-0.5,)).token_ids == ()  # an endpoint may hide the ids
    assert attempt(token_ids=(1, 2)).logprobs == ()
    for wrong in ({"sample_index": -1}, {"num_tokens": -1}, {"seconds": float("inf")}, {"finish_reason": "tired"}):
        with pytest.raises(ValidationError):
            attempt(**wrong)


@pytest.mark.parametrize(
    ("status", "score", "good"),
    [
        ("correct", 1.0, True),
        ("correct", 0.9, False),
        ("wrong", 0.0, True),
        ("wrong", 0.5, True),
        ("wrong", 1.0, False),
        ("unparsed", 0.0, True),
        ("unparsed", 0.1, False),
        ("unscored", 0.0, True),
        ("unscored", 1.0, False),
        ("correct", 1.5, False),
        ("wrong", -0.1, False),
    ],
)
def test_score_fits_status(status: Any, score: float, good: bool) -> None:
    if good:
        assert Verdict(status=status, score=score, verifier="v", version="1").score == score
    else:
        with pytest.raises(ValidationError):
            Verdict(status=status, score=score, verifier="v", version="1")


def test_a_prompt_may_lower_the_limit_of_tokens() -> None:
    prompt = Prompt(problem_id="p", messages=(MESSAGE,))
    assert prompt.token_limit(Sampling(max_tokens=9)) == 9
    assert prompt.model_copy(update={"max_tokens": 4}).token_limit(Sampling(max_tokens=9)) == 4
    assert prompt.model_copy(update={"max_tokens": 40}).token_limit(Sampling(max_tokens=9)) == 9


class First(Record):
    """A record as it was published."""

    name: str
    number: int = 3


class Later(Record):
    """The same with what came since."""

    name: str
    number: int = 3
    note: str = omit_default("", max_length=5)
    parts: tuple[int, ...] = omit_default(())
    inner: First | None = omit_default(None)
    flag: bool = omit_default(False)


class Holder(Record):
    held: tuple[Later, ...]


def test_later_fields_leave_old_records_their_digests() -> None:
    first, later = First(name="a"), Later(name="a")
    assert later.to_json() == first.to_json() == {"name": "a", "number": 3}  # other defaults stay
    assert later.canonical() == first.canonical()
    assert later.content_digest == first.content_digest
    assert Later.from_json(first.to_json()) == later
    assert Holder(held=(later,)).to_json() == {"held": [{"name": "a", "number": 3}]}  # inside others too


def test_later_fields_show_when_they_say_something() -> None:
    later = Later(name="a", note="x", parts=(1,), inner=First(name="b"), flag=True)
    value = later.to_json()
    assert value == {
        "name": "a", "number": 3, "note": "x", "parts": [1], "inner": {"name": "b", "number": 3}, "flag": True,
    }  # fmt: skip
    assert Later.from_json(value) == later
    assert later.content_digest != First(name="a").content_digest
    assert Later(name="a", flag=True).to_json() == {"name": "a", "number": 3, "flag": True}


def test_later_fields_are_as_strict_as_others() -> None:
    with pytest.raises(ValidationError):
        Later(name="a", note="too long")
    with pytest.raises(IntegrityError):
        First.from_json(Later(name="a", note="x").to_json())  # an old reader does not guess
