"""Certificates as in-toto attestations: nothing lost, nothing added, and signed as DSSE says."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from exam_parts import ToyModel, make_stage
from places import ROOT

from spiritsafe.exam import load_certificate
from spiritsafe.exam.interop.in_toto import exam_tests, in_toto_statement, sign_dsse
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.registration import Claim
from spiritsafe.ledger import KeyPair

PUBLISHED = sorted((ROOT / "experiments").glob("*/*.certificate.json"))


def result_of(certificate: Certificate) -> str:
    said: Any = in_toto_statement(certificate)
    return str(said["predicate"]["result"])


@pytest.mark.parametrize("path", PUBLISHED, ids=[f"{p.parent.name}/{p.name}" for p in PUBLISHED])
def test_a_published_certificate_becomes_a_statement(path: Path) -> None:
    certificate = load_certificate(path)
    said: Any = in_toto_statement(certificate)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    (subject,) = said["subject"]
    assert subject["digest"]["sha256"] == certificate.registration.model_digest.removeprefix("sha256:")
    studied = not certificate.result.gap_statement.startswith("No sign of studying")
    assert exam_tests(certificate)["the public half was not studied"] == ("warned" if studied else "passed")
    predicate = said["predicate"]
    assert predicate["result"] in ("PASSED", "WARNED", "FAILED")
    assert len(predicate["passedTests"] + predicate["warnedTests"] + predicate["failedTests"]) == len(
        exam_tests(certificate)
    )
    paper, registration, own = predicate["configuration"]
    assert own["digest"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for named, record in ((paper, certificate.paper), (registration, certificate.registration)):
        assert named["digest"]["sha256"] == hashlib.sha256(record.canonical()).hexdigest()
    sealed = own["annotations"]["sealed"]
    assert sealed["accuracy"] == certificate.result.sealed.accuracy.to_json()
    assert sum(sealed["counts"].values()) == certificate.paper.num_sealed * certificate.registration.num_tries


def test_a_supported_claim_of_a_third_party_passes(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=400)
    claim = Claim(kind="score at least", score=0.3)
    certificate = stage.certificate(ToyModel(skill=0.6), claim=claim)
    tests = exam_tests(certificate)
    assert tests["claim: the sealed score is at least 30 %"] == "passed"
    assert tests["the examiner is not the maker"] == "passed"
    assert certificate.result.gap.p_value > 0.05
    # a paper of 400 cannot rule a leak of 20 % out, and the export says so
    assert tests["the public half was not studied"] == "warned"
    assert result_of(certificate) == "WARNED"
    gap = certificate.result.gap.model_copy(update={"smallest_leak": 0.1})
    larger = certificate.model_copy(update={"result": certificate.result.model_copy(update={"gap": gap})})
    assert result_of(larger) == "PASSED"


@pytest.mark.parametrize(
    ("skill", "score", "end"), [(0.2, 0.5, "failed"), (0.9, 0.5, "passed")], ids=["below", "above"]
)
def test_a_claim_that_is_not_supported_fails(tmp_path: Path, skill: float, score: float, end: str) -> None:
    stage = make_stage(tmp_path, count=60)
    certificate = stage.certificate(ToyModel(skill=skill), claim=Claim(kind="score at least", score=score))
    assert exam_tests(certificate)["claim: the sealed score is at least 50 %"] == end
    assert (result_of(certificate) == "FAILED") == (end == "failed")


def test_a_sign_of_memory_warns(tmp_path: Path) -> None:
    certificate = make_stage(tmp_path).certificate(ToyModel())
    assert not [name for name in exam_tests(certificate) if "twin" in name]
    for p_value, end in ((0.5, "passed"), (0.01, "warned")):
        memory = certificate.result.gap.model_copy(update={"p_value": p_value})
        result = certificate.result.model_copy(update={"memory": memory})
        tests = exam_tests(certificate.model_copy(update={"result": result}))
        assert tests["no public text was remembered, by its twin"] == end


def test_what_warns(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=40, one_key=True)
    model = ToyModel(skill=0.5, reply=lambda prompt, index: ("", "error") if prompt.problem_id.endswith("0") else None)
    certificate = stage.certificate(model)
    assert certificate.result.public.counts["error"] + certificate.result.sealed.counts["error"] > 0
    tests = exam_tests(certificate)
    assert {name for name, end in tests.items() if end == "warned"} == {
        "claim: none was registered",
        "the public half was not studied",
        "every try was answered and graded",
        "the examiner is not the maker",
    }
    assert "one model all the time" not in tests  # nobody probed


def test_another_model_in_the_middle_fails(tmp_path: Path) -> None:
    seen: list[str] = []

    def reply(prompt: Any, index: int) -> Any:
        if "+" in prompt.messages[-1].content:
            seen.append(prompt.problem_id)
            return None
        return ("I am one" if len(seen) < 5 else "I am another", "stop")

    stage = make_stage(tmp_path)
    certificate = stage.certificate(ToyModel(kind="remote", reply=reply), num_probes=2)
    assert certificate.result.identity is not None
    assert certificate.result.identity.same is False
    assert exam_tests(certificate)["one model all the time"] == "failed"
    assert result_of(certificate) == "FAILED"


def test_an_endpoint_is_no_directory_of_weights(tmp_path: Path) -> None:
    said: Any = in_toto_statement(make_stage(tmp_path).certificate(ToyModel(kind="remote")))
    assert set(said["subject"][0]["digest"]) == {"spiritsafeEndpoint"}


def test_the_envelope_is_signed() -> None:
    key = KeyPair.generate("Eve Examiner")
    said = in_toto_statement(load_certificate(PUBLISHED[0]))
    envelope: Any = json.loads(json.dumps(sign_dsse(said, key)))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    assert json.loads(payload) == json.loads(json.dumps(said))
    (signature,) = envelope["signatures"]
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public.signing))
    head = f"DSSEv1 28 application/vnd.in-toto+json {len(payload)} ".encode()
    public.verify(base64.b64decode(signature["sig"]), head + payload)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(signature["sig"]), head + payload.replace(b"WARNED", b"PASSED"))
