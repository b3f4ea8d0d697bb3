from __future__ import annotations

import pytest
from exam_parts import ToyModel, make_stage

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.registrations import registration_entry
from spiritsafe.exam.paper.files import paper_entry
from spiritsafe.exam.results.certificate import host_software, issue_certificate
from spiritsafe.exam.results.statements import separation_of
from spiritsafe.ledger import KeyPair

MAKER, EXAMINER, HOST = (KeyPair.generate(name).public for name in ("Mary", "Eve", "Hugo"))


@pytest.mark.parametrize(
    ("maker", "examiner", "host", "expected"),
    [
        (MAKER, MAKER, MAKER, "self-examined"),
        (MAKER, MAKER, HOST, "self-examined"),
        (MAKER, KeyPair.generate(" mary ").public, HOST, "self-examined"),  # a second key of the same name
        (MAKER, EXAMINER, MAKER, "separate key"),
        (MAKER, EXAMINER, EXAMINER, "third party"),
        (MAKER, EXAMINER, HOST, "third party"),
    ],
)
def test_separation_follows_from_the_keys(maker, examiner, host, expected):
    assert separation_of(maker, examiner, host) == expected


def test_one_person_is_told_so(tmp_path):
    stage = make_stage(tmp_path, one_key=True)
    certificate = stage.certificate(ToyModel())
    assert certificate.separation == "self-examined"
    assert certificate.statements[0].startswith("Self-examined: maker and examiner are the same key holder")
    assert len(certificate.signatures) == 1


def test_three_keys_sign(stage):
    host = KeyPair.generate("Hugo Host")
    certificate = stage.sit(ToyModel(), stage.register(ToyModel()), host=host)
    assert certificate.separation == "third party"
    assert [s.key for s in certificate.signatures] == [stage.examiner.public.signing, host.public.signing]
    assert any("their holders' word" in text for text in certificate.statements)


def test_the_maker_as_host(stage):
    certificate = stage.sit(ToyModel(), stage.register(ToyModel()), host=stage.maker)
    assert certificate.separation == "separate key"


def test_local_and_remote_models_are_told_apart(stage):
    local = stage.certificate(ToyModel())
    assert [record.exposed for record in local.access] == [False, False]
    assert any(text.startswith("Class A") for text in local.statements)
    remote = stage.certificate(ToyModel(name="far away", kind="remote"), name="remote")
    assert [record.exposed for record in remote.access] == [False, False, True]
    assert any(text.startswith("Class B") for text in remote.statements)
    assert any("exposed to: far away (remote)" in text for text in remote.statements)
    # Whoever sits after that learns that the paper is no longer fresh.
    later = stage.certificate(ToyModel(name="later"), name="later")
    assert any("exposed to: far away (remote)" in text for text in later.statements)


def test_access_history_says_who_saw_what_when(stage):
    certificate = stage.certificate(ToyModel(), num_tries=2)
    sealing, sitting = certificate.access
    assert sealing.who == stage.examiner.public.recorded_label
    assert (sealing.num_public, sealing.num_sealed) == (10, 10)
    assert sitting.who == "toy-model (local)"
    assert (sitting.num_public, sitting.num_sealed) == (10, 10)
    assert sealing.time <= sitting.time == certificate.result.started


def test_all_registrations_of_the_maker_are_reported(stage):
    stage.register(ToyModel(name="never sat"))
    stage.certificate(ToyModel(name="first"), name="first")
    certificate = stage.certificate(ToyModel(name="second"), name="second")
    assert [(state.model_name, state.state) for state in certificate.registrations] == [
        ("never sat", "open"),
        ("first", "result"),
        ("second", "result"),
    ]
    assert any(
        "registrations for this paper: 3 (2 with a result, 0 withdrawn, 1 open)" in t for t in certificate.statements
    )


def test_failures_are_stated(stage):
    replies = iter(["error", "stop", "stop", "stop"] * 5)

    def reply(prompt, index):
        finish = next(replies)
        return ("break the verifier" if finish == "stop" else "", finish)

    certificate = stage.certificate(ToyModel(reply=reply))
    assert any("20 of 20 tries failed or could not be graded" in text for text in certificate.statements)
    assert certificate.result.sealed.accuracy.value == 0


def test_a_result_that_the_ledger_does_not_hold_is_not_certified(stage):
    registration = stage.register(ToyModel())
    result = stage.sit(ToyModel(), registration).result
    with pytest.raises(IntegrityError, match="another result"):
        issue_certificate(
            ledger=stage.ledger,
            header=stage.paper.header,
            registration=registration,
            result=result.model_copy(update={"num_tokens": 0}),
            paper_entry=paper_entry(stage.ledger, stage.paper),
            registration_entry=registration_entry(stage.ledger, registration),
            examiner=stage.examiner,
            host=stage.examiner,
        )


def test_software_names_versions():
    assert {"python", "spiritsafe", "numpy", "scipy", "cryptography", "pyrage"} <= set(host_software())
