from __future__ import annotations

import pytest
from exam_parts import SAMPLING, ToyModel

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam import find_registration, register, withdraw
from spiritsafe.exam.registration import registration_entry, registration_states, sitting_seed
from spiritsafe.ledger import Ledger


def test_a_registration_is_signed_by_its_maker_and_found_again(stage):
    registration = stage.register(ToyModel(), num_tries=3)
    entry = registration_entry(stage.ledger, registration)
    assert entry.signature.key == stage.maker.public.signing
    assert find_registration(Ledger(stage.ledger.path), registration.content_digest) == registration
    assert (registration.num_tries, registration.sampling) == (3, SAMPLING)
    assert registration.paper_id == stage.paper.header.paper_id


def test_the_same_registration_is_entered_once(stage):
    assert stage.register(ToyModel()) == stage.register(ToyModel())
    assert len(stage.ledger.find("registration")) == 1
    stage.register(ToyModel(), hypothesis="another")
    assert len(stage.ledger.find("registration")) == 2


def test_the_seed_follows_from_paper_and_model_only(stage):
    one, two = stage.register(ToyModel()), stage.register(ToyModel(), hypothesis="try my luck again", num_tries=2)
    assert one.seed == two.seed == sitting_seed(stage.paper.header.bank_root, one.model_digest)
    assert stage.register(ToyModel(name="other")).seed != one.seed


def test_a_paper_outside_the_ledger_cannot_be_registered_for(stage, tmp_path):
    with pytest.raises(ProcedureError, match="not in the ledger"):
        register(
            ledger=Ledger(tmp_path / "empty.jsonl"),
            paper=stage.paper,
            maker=stage.maker,
            model_name="m",
            model_digest="d",
            sampling=SAMPLING,
            hypothesis="h",
        )


def test_unknown_digest(stage):
    with pytest.raises(ProcedureError, match="no registration"):
        find_registration(stage.ledger, "sha256:" + "0" * 64)


def test_somebody_elses_entry_is_no_registration(stage):
    registration = stage.register(ToyModel())
    forged = registration.model_copy(update={"hypothesis": "forged"})
    body = {"paper_id": forged.paper_id, "digest": forged.content_digest, "registration": forged.to_json()}
    stage.ledger.append("registration", body, stage.examiner)  # names the maker, signed by another
    with pytest.raises(ProcedureError, match="not registered"):
        registration_entry(stage.ledger, forged)


def test_states_and_withdrawal(stage):
    kept, dropped = stage.register(ToyModel(name="kept")), stage.register(ToyModel(name="dropped"))
    sat = stage.register(ToyModel(name="sat"))
    certificate = stage.sit(ToyModel(name="sat"), sat)

    def drop(registration, key):
        withdraw(ledger=stage.ledger, paper=stage.paper, registration=registration, maker=key, reason="too dear")

    with pytest.raises(ProcedureError, match="Only the maker"):
        drop(dropped, stage.examiner)
    drop(dropped, stage.maker)
    for ended in (dropped, sat):
        with pytest.raises(ProcedureError, match="ended already"):
            drop(ended, stage.maker)
    states = registration_states(
        stage.ledger.entries(), header=stage.paper.header, maker_key=stage.maker.public.signing
    )
    assert [(state.model_name, state.state) for state in states] == [
        ("kept", "open"),
        ("dropped", "withdrawn"),
        ("sat", "result"),
    ]
    assert states[2].sealed_accuracy == certificate.result.sealed.accuracy.value
    assert states[0].registration == kept.content_digest
    with pytest.raises(ProcedureError, match="ended already"):
        stage.sit(ToyModel(name="dropped"), dropped, "late")


def test_a_stranger_cannot_end_a_registration(stage):
    registration = stage.register(ToyModel())
    for kind in ("withdrawal", "result"):
        body = {"paper_id": registration.paper_id, "registration": registration.content_digest}
        stage.ledger.append(kind, body, stage.maker if kind == "result" else stage.examiner)
    assert stage.sit(ToyModel(), registration).result.sealed.accuracy.n == 10
