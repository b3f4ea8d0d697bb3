from __future__ import annotations

import pytest
from exam_parts import ToyModel

from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import (
    LapseEntry,
    RegistrationEntry,
    are_apart,
    is_due,
    last_sign_of_life,
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
    found = registrations_of(PaperLog(stage.ledger.entries(), stage.paper.header))
    assert [entry.registration for entry in found] == [one, two]
    assert [entry.index for entry in found] == [1, 2]
    assert PaperLog(stage.ledger.entries(), stage.paper.header).ignored(RegistrationEntry) == []


def test_entered_twice_it_is_one(stage):
    one = stage.register(ToyModel())
    stage.ledger.append("registration", body_of(one), stage.maker)
    assert [entry.index for entry in registrations_of(PaperLog(stage.ledger.entries(), stage.paper.header))] == [1]


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
        assert not RegistrationEntry(entry).is_whole()
        words = PaperLog(stage.ledger.entries(), stage.paper.header).ignored(RegistrationEntry)[-1].words
        assert words == f"malformed entry {entry.index} by key {key.public.key_id}, ignored"
    log = PaperLog(stage.ledger.entries(), stage.paper.header)
    assert [e.entry.index for e in log.ignored(RegistrationEntry)] == [2, 3]
    assert len(registrations_of(log)) == 1


def test_numbers_in_quotes_are_no_numbers(stage):
    """A record reads "1" as 1; its digest would then not be that of what stands in the ledger."""
    value = {**stage.register(ToyModel()).to_json(), "num_tries": "9" * 30}
    entry = stage.ledger.append(
        "registration", {"paper_id": stage.paper.header.paper_id, "digest": "", "registration": value}, stage.maker
    )
    assert not RegistrationEntry(entry).is_whole()


def test_anothers_signature_makes_no_registration(stage):
    registration = stage.register(ToyModel())
    assert not RegistrationEntry(stage.ledger.append("registration", body_of(registration), MALLORY)).is_whole()
    stage.ledger.append("note", body_of(registration), stage.maker)
    assert len(PaperLog(stage.ledger.entries(), stage.paper.header).of(RegistrationEntry)) == 1


def test_the_last_sign_of_a_sitting_is_its_examiners_access(stage):
    registration = stage.register(ToyModel())
    digest = {"paper_id": registration.paper_id, "registration": registration.content_digest}

    def last():
        entry = last_sign_of_life(PaperLog(stage.ledger.entries(), stage.paper.header), registration.content_digest)
        return entry.index if entry else None

    assert last() == 1
    stage.ledger.append("access", digest, MALLORY)
    stage.ledger.append("registration", body_of(registration), MALLORY)
    assert last() == 1
    stage.ledger.append("access", digest, stage.examiner)
    assert last() == 4
    other = registration.model_copy(update={"hypothesis": "never entered"})
    log = PaperLog(stage.ledger.entries(), stage.paper.header)
    assert last_sign_of_life(log, other.content_digest) is None


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
    log = PaperLog(stage.ledger.entries(), stage.paper.header)
    assert not LapseEntry(late).is_whole()
    assert log.of(LapseEntry) == []
    good = LapseEntry(late.model_copy(update={"body": {**body, "days": 7}}))
    assert good.is_whole()
    assert is_due(good, log)
