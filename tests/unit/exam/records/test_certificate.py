from __future__ import annotations

import json

import pytest
from record_parts import KEY, PROBLEM, entry

from spiritsafe.core.records import Sampling
from spiritsafe.exam.records.certificate import ExposureRecord, RegistrationState
from spiritsafe.exam.records.paper import PaperProblem
from spiritsafe.exam.records.registration import Claim, Registration
from spiritsafe.exam.records.review import Revealed
from spiritsafe.stats.sequential.design import BettingRule, StopRule


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
