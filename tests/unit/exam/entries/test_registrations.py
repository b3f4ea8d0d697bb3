from __future__ import annotations

import pytest
from exam_parts import ToyModel

from spiritsafe.exam.entries.registrations import (
    are_apart,
    ignored_words,
    is_lapse,
    last_sign_of_life,
    malformed_registrations,
    read_registration,
    registrations_of,
)
from spiritsafe.ledger import KeyPair

MALLORY = KeyPair.generate("Mallory")


def body_of(registration, /, **changes):
    body = {
        "paper_id": registration.paper_id,
        "digest": registration.content_digest,
        "registration": registration.to_json(),
    }
    return {**body, **changes}


def test_what_its_maker_signed_is_a_registration(stage):
    one, two = stage.register(ToyModel(name="one")), stage.register(ToyModel(name="two"))
    found = registrations_of(stage.ledger.entries(), stage.paper.header)
    assert [registration for _, registration in found] == [one, two]
    assert [entry.index for entry, _ in found] == [1, 2]
    assert malformed_registrations(stage.ledger.entries(), stage.paper.header) == []


def test_entered_twice_it_is_one(stage):
    one = stage.register(ToyModel())
    stage.ledger.append("registration", body_of(one), stage.maker)
    assert [entry.index for entry, _ in registrations_of(stage.ledger.entries(), stage.paper.header)] == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"registration": None},
        {"registration": [[[]]]},
        {"registration": {"maker": 7}},
        {"digest": []},
        {"digest": "sha256:" + "0" * 64},
    ],
    ids=["none", "nested", "fields", "digest of another type", "another digest"],
)
def test_what_is_malformed_is_nobodys_and_named(stage, changes):
    registration = stage.register(ToyModel())
    for key in (MALLORY, stage.maker):
        entry = stage.ledger.append("registration", body_of(registration, **changes), key)
        assert read_registration(entry) is None
        assert ignored_words(entry) == f"malformed entry {entry.index} by key {key.public.key_id}, ignored"
    assert [e.index for e in malformed_registrations(stage.ledger.entries(), stage.paper.header)] == [2, 3]
    assert len(registrations_of(stage.ledger.entries(), stage.paper.header)) == 1


def test_numbers_in_quotes_are_no_numbers(stage):
    """A record reads "1" as 1; its digest would then not be that of what stands in the ledger."""
    value = {**stage.register(ToyModel()).to_json(), "num_tries": "9" * 30}
    entry = stage.ledger.append(
        "registration", {"paper_id": stage.paper.header.paper_id, "digest": "", "registration": value}, stage.maker
    )
    assert read_registration(entry) is None


def test_anothers_signature_makes_no_registration(stage):
    registration = stage.register(ToyModel())
    assert read_registration(stage.ledger.append("registration", body_of(registration), MALLORY)) is None
    assert read_registration(stage.ledger.append("note", body_of(registration), stage.maker)) is None


def test_the_last_sign_of_a_sitting_is_its_examiners_access(stage):
    registration = stage.register(ToyModel())
    digest = {"paper_id": registration.paper_id, "registration": registration.content_digest}

    def last():
        entry = last_sign_of_life(stage.ledger.entries(), registration, stage.paper.header)
        return entry.index if entry else None

    assert last() == 1
    stage.ledger.append("access", digest, MALLORY)
    stage.ledger.append("registration", body_of(registration), MALLORY)
    assert last() == 1
    stage.ledger.append("access", digest, stage.examiner)
    assert last() == 4
    other = registration.model_copy(update={"hypothesis": "never entered"})
    assert last_sign_of_life(stage.ledger.entries(), other, stage.paper.header) is None


def test_days_between_two_times():
    assert are_apart("2026-01-01T00:00:00.000Z", "2026-01-08T00:00:00.000Z", 7)
    assert not are_apart("2026-01-01T00:00:00.001Z", "2026-01-08T00:00:00.000Z", 7)
    assert not are_apart("2026-99-99T99:99:99.000Z", "2026-12-08T00:00:00.000Z", 7)


@pytest.mark.parametrize("days", [None, True, "30", 6, 0, -5, 30.5, 10**9, [30]])
def test_a_lapse_names_its_days(stage, days):
    registration = stage.register(ToyModel())
    body = {"paper_id": registration.paper_id, "registration": registration.content_digest, "days": days}
    entry = stage.ledger.append("lapse", body, stage.examiner)
    late = entry.model_copy(update={"time": "9998-01-01T00:00:00.000Z"})
    assert not is_lapse(stage.ledger.entries(), late, registration, stage.paper.header)
    good = late.model_copy(update={"body": {**body, "days": 7}})
    assert is_lapse(stage.ledger.entries(), good, registration, stage.paper.header)
