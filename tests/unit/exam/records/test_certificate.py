from __future__ import annotations

import hashlib
import json

import pytest

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Message, Problem, Sampling
from spiritsafe.exam.records.certificate import ExposureRecord, RegistrationState
from spiritsafe.exam.records.paper import PaperProblem, SealedHalf
from spiritsafe.exam.records.registration import Claim, Registration
from spiritsafe.exam.records.review import Revealed
from spiritsafe.ledger.records import LedgerEntry, PublicKey, Signature, SignedHead
from spiritsafe.stats.sequential.design import BettingRule, StopRule

KEY = PublicKey(holder="Eve", signing="ab" * 32, recipient="age1xyz")
SIGNATURE = Signature(key="ab" * 32, value="cd" * 64)
PROBLEM = Problem(task="t:x", canonical_text="1+1", messages=(Message(role="user", content="secret words"),))


def entry() -> LedgerEntry:
    return LedgerEntry(
        index=3,
        previous="sha256:" + "0" * 64,
        time="2026-01-02T03:04:05.678Z",
        kind="paper",
        body={"a": 1},
        signature=SIGNATURE,
    )


def test_key_id_is_the_start_of_the_keys_hash():
    assert KEY.key_id == hashlib.sha256(bytes.fromhex("ab" * 32)).hexdigest()[:32]
    assert KEY.label == f"Eve (key {KEY.key_id})"


def test_signed_bytes_are_everything_but_the_signature():
    value = entry().to_json()
    del value["signature"]
    assert entry().signed_bytes() == canonical_json(value)
    head = SignedHead(size=2, root="00" * 32, time="2026-01-02T03:04:05.678Z", signature=SIGNATURE)
    assert json.loads(head.signed_bytes()) == {"size": 2, "root": "00" * 32, "time": "2026-01-02T03:04:05.678Z"}


def test_commitment_depends_on_index_salt_and_every_word():
    base = PaperProblem(index=0, salt="00" * 16, problem=PROBLEM)
    others = [
        PaperProblem(index=1, salt="00" * 16, problem=PROBLEM),
        PaperProblem(index=0, salt="01" * 16, problem=PROBLEM),
        PaperProblem(index=0, salt="00" * 16, problem=PROBLEM.model_copy(update={"facts": {"answer": 2}})),
    ]
    assert base.commitment == digest(base.to_json()).removeprefix("sha256:")
    assert len({base.commitment, *(other.commitment for other in others)}) == 4


def test_a_sealed_half_does_not_print_itself():
    half = SealedHalf(
        bank_root="00" * 32, secret="12" * 32, problems=(PaperProblem(index=0, salt="00" * 16, problem=PROBLEM),)
    )
    for text in (repr(half), str(half), f"{half}"):
        assert "secret words" not in text
        assert "12" * 32 not in text


def test_records_survive_their_json():
    registration = Registration(
        paper_id="sha256:" + "1" * 64,
        model_name="m",
        model_digest="sha256:" + "2" * 64,
        sampling=Sampling(),
        num_tries=2,
        seed=5,
        hypothesis="h",
        maker=KEY,
    )
    for record in (registration, entry(), KEY):
        again = type(record).from_json(json.loads(record.canonical()))
        assert again == record
        assert again.content_digest == record.content_digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time", "yesterday"),
        ("previous", "0" * 64),
        ("index", -1),
        ("extra", 1),
        ("signature", {"key": "AB" * 32, "value": "cd" * 64}),  # upper-case hex would be a second spelling
    ],
)
def test_malformed_entries_are_refused(field, value):
    with pytest.raises(IntegrityError):
        LedgerEntry.from_json({**entry().to_json(), field: value})


def test_what_came_later_does_not_show_in_first_records():
    """Digests of papers, registrations and outcomes that were published stay what they are."""
    registration = Registration(
        paper_id="sha256:" + "1" * 64, model_name="m", model_digest="d", sampling=Sampling(), num_tries=1, seed=5,
        hypothesis="h", maker=KEY,
    )  # fmt: skip
    assert set(registration.to_json()) == {
        "paper_id", "model_name", "model_digest", "sampling", "num_tries", "seed", "primary_metric", "hypothesis",
        "maker",
    }  # fmt: skip
    assert set(PaperProblem(index=0, salt="00" * 16, problem=PROBLEM).to_json()) == {"index", "salt", "problem"}
    state = RegistrationState(registration="sha256:" + "1" * 64, model_name="m", state="open")
    assert set(state.to_json()) == {"registration", "model_name", "state", "sealed_accuracy"}


@pytest.mark.parametrize("stop", [StopRule(num_problems=10, num_looks=2), BettingRule(num_problems=10, num_looks=2)])
def test_either_stop_rule_comes_back_as_itself(stop):
    registration = Registration(
        paper_id="sha256:" + "1" * 64, model_name="m", model_digest="d", sampling=Sampling(), num_tries=1, seed=5,
        hypothesis="h", maker=KEY, claim=Claim(kind="score at least", score=0.5), stop=stop,
    )  # fmt: skip
    again = Registration.from_json(json.loads(registration.canonical()))
    assert again.stop == stop
    assert type(again.stop) is type(stop)


def test_exposures_and_openings_come_back():
    exposure = ExposureRecord(index=3, half="twin", party="Eve", first="2026-01-02T03:04:05.678Z", times=1, has=True)
    revealed = Revealed(
        paper_id="sha256:" + "1" * 64, registration="sha256:" + "2" * 64, sample_index=0,
        problem=PaperProblem(index=0, salt="00" * 16, problem=PROBLEM), attempt={"text": "4"}, verdict=None,
        salt="0" * 32,
    )  # fmt: skip
    for record in (exposure, revealed):
        assert type(record).from_json(json.loads(record.canonical())) == record
