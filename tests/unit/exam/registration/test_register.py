from __future__ import annotations

import pytest
from exam_parts import SAMPLING, ToyModel, make_stage

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.records import Message, Sampling
from spiritsafe.exam import PaperLog, PaperTerms, find_registration, register, withdraw
from spiritsafe.exam.entries.registrations import registration_entry, registration_states
from spiritsafe.exam.records.paper import PaperProtocol
from spiritsafe.exam.records.registration import Budget, Claim
from spiritsafe.exam.registration.register import sitting_seed
from spiritsafe.ledger import Ledger
from spiritsafe.stats.sequential.design import BettingRule, StopRule


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
        PaperLog(stage.ledger.entries(), stage.paper.header), maker_key=stage.maker.public.signing
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


CLAIM = Claim(kind="score at least", score=0.3)
PREAMBLE = (Message(role="system", content="Be brief."),)
PROTOCOL = PaperProtocol(sampling=SAMPLING, num_tries=2, preamble=PREAMBLE)


def test_a_plain_registration_is_what_it_was(stage):
    """Later fields do not show in a registration that does not use them."""
    value = stage.register(ToyModel()).to_json()
    assert not {"claim", "budget", "stop", "num_probes", "preamble", "deviations"} & value.keys()


@pytest.mark.parametrize(
    "stop", [StopRule(num_problems=10, num_looks=4), BettingRule(num_problems=10, num_looks=3), None]
)
def test_all_that_was_promised_is_in_the_ledger(stage, stop):
    registration = stage.register(
        ToyModel(), claim=CLAIM, budget=Budget(max_tokens=500), stop=stop, num_probes=3, preamble=PREAMBLE
    )
    found = find_registration(Ledger(stage.ledger.path), registration.content_digest)
    assert found == registration
    assert (found.claim, found.stop, found.num_probes, found.preamble) == (CLAIM, stop, 3, PREAMBLE)
    assert type(found.stop) is type(stop)


def test_a_rule_needs_a_claim_and_fits_the_paper(stage):
    with pytest.raises(ProcedureError, match="there is none"):
        stage.register(ToyModel(), stop=StopRule(num_problems=10))
    with pytest.raises(ProcedureError, match="made for 11 problems"):
        stage.register(ToyModel(), claim=CLAIM, stop=StopRule(num_problems=11))
    with pytest.raises(ProcedureError, match="at level"):
        stage.register(ToyModel(), claim=CLAIM, stop=BettingRule(num_problems=10, num_looks=2, alpha=0.05))
    assert stage.ledger.find("registration") == []


def test_everybody_sits_by_the_protocol_or_says_in_what_not(tmp_path):
    stage = make_stage(tmp_path, terms=PaperTerms(protocol=PROTOCOL))
    plain = stage.register(ToyModel(), sampling=None, num_tries=None)
    assert (plain.sampling, plain.num_tries, plain.preamble, plain.deviations) == (SAMPLING, 2, None, ())
    same = stage.register(ToyModel(name="b"), sampling=SAMPLING, num_tries=2, preamble=PREAMBLE)
    assert (same.preamble, same.deviations) == (None, ())
    hotter = Sampling(**{**SAMPLING.to_json(), "temperature": 1.0, "top_p": 0.9})
    ways = {
        "num_tries": {"num_tries": 1, "sampling": None},
        "sampling.temperature, sampling.top_p": {"sampling": hotter, "num_tries": None},
        "preamble": {"sampling": None, "num_tries": None, "preamble": ()},
    }
    for number, (names, change) in enumerate(ways.items()):
        model = ToyModel(name=f"m{number}")
        with pytest.raises(ProcedureError, match=names):
            stage.register(model, **change)
        deviating = stage.register(model, **change, deviate=True)
        assert ", ".join(deviating.deviations) == names
    certificate = stage.certificate(ToyModel(name="own way"), num_tries=1, deviate=True)
    assert any("deviates from the paper's protocol in: num_tries" in text for text in certificate.statements)
    stage.check()


def test_without_a_protocol_the_sampling_is_ones_own_to_say(stage):
    with pytest.raises(ProcedureError, match="no protocol"):
        stage.register(ToyModel(), sampling=None)


def test_the_preamble_is_what_the_model_sees(tmp_path):
    stage = make_stage(tmp_path, terms=PaperTerms(protocol=PROTOCOL))
    seen = []

    def reply(prompt, index):
        seen.append(prompt.messages[0])
        return None

    stage.certificate(ToyModel(reply=reply), num_tries=None, sampling=None)
    assert set(seen) == {PREAMBLE[0]}


def test_states_say_what_was_claimed(stage):
    stage.certificate(ToyModel(name="claims", skill=1.0), claim=CLAIM)
    stage.register(ToyModel(name="never sits"), claim=CLAIM)
    stage.register(ToyModel(name="only measures"))
    claims, open_, plain = registration_states(
        PaperLog(stage.ledger.entries(), stage.paper.header), maker_key=stage.maker.public.signing
    )
    assert claims.has_claim
    assert claims.p_value is not None
    assert 0 < claims.p_value < 0.025
    assert (open_.has_claim, open_.p_value, open_.state) == (True, None, "open")
    assert (plain.has_claim, plain.p_value) == (False, None)
    assert "p_value" not in plain.to_json()


@pytest.mark.parametrize("kind", ["better than", "no worse than"])
def test_a_claim_with_a_margin_that_decides_nothing_is_refused(stage, kind):
    claim = Claim(kind=kind, reference="sha256:" + 64 * "0", margin=0.26)
    with pytest.raises(ProcedureError, match="26 points"):
        stage.register(ToyModel(), claim=claim)


@pytest.mark.parametrize("level", [0.0501, 0.1, 0.49])
def test_a_claim_at_a_level_that_decides_nothing_is_refused(stage, level):
    claim = Claim(kind="score at least", score=0.5, level=level)
    with pytest.raises(ProcedureError, match="decides next to nothing") as caught:
        stage.register(ToyModel(), claim=claim)
    assert "0.05 or less" in caught.value.hint
    assert stage.ledger.find("registration") == []
    stage.register(ToyModel(), claim=claim.model_copy(update={"level": 0.05}))
