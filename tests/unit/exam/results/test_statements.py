from __future__ import annotations

import pytest
from exam_parts import ToyModel, make_stage

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
