"""Certificates of the very bytes: told only where they verify and name them; else the server does not start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from places import TESTS

from spiritsafe.core.errors import IntegrityError, SpiritsafeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.serving import ServedModel
from spiritsafe.exam import Materials
from spiritsafe.serve.operation.certificates import (
    CERTIFICATE_HEADER,
    CertificateFiles,
    ModelCertificates,
    verified_certificates,
)

RELEASE = TESTS / "golden" / "release"


def model_of(digest: str) -> ServedModel:
    return ServedModel(name="student-q8", digest=digest, kind="file", context=256, max_prompt_bytes=1000, vocab_size=10)


def files(folder: Path, name: str = "student-q8", *, own: bool = False, paper: bool = True) -> CertificateFiles:
    exam = folder / "exams" / "exam"
    materials = Materials(
        certificate=exam / f"{name}.certificate.json",
        paper=exam / "paper.json" if paper else None,
        ledger=exam / "ledger.jsonl",
    )
    return CertificateFiles(exam="exam", materials=materials, is_models_own=own)


@pytest.fixture(scope="module")
def digest() -> str:
    return digest_file(RELEASE / "rel-student-Q8_0.gguf")


def test_what_is_told_is_what_the_certificate_says(digest: str) -> None:
    model, every = model_of(digest), [files(RELEASE, name) for name in ("base", "student", "student-q8")]
    (found,) = verified_certificates(model, every)
    told = ModelCertificates({digest: [found]})
    said = read_json(RELEASE / "exams" / "exam" / "student-q8.certificate.json")
    accuracy = said["result"]["sealed"]["accuracy"]
    assert told.facts(model) == {
        "certificate": {
            "digest": found.certificate.content_digest,
            "exam": "exam",
            "task": said["paper"]["task"],
            "paper": found.certificate.paper.paper_id,
            "score": accuracy["value"],
            "interval": [accuracy["low"], accuracy["high"]],
            "confidence": accuracy["confidence"],
            "predicted": False,
            "separation": "self-examined",
            "verified": True,
        }
    }
    assert told.headers(model) == {CERTIFICATE_HEADER: found.certificate.content_digest}
    other = model_of("sha256:" + "0" * 64)
    assert verified_certificates(other, every) == ()
    assert (told.headers(other), told.facts(other)) == ({}, {"certificate": None})


def test_several_exams_are_all_told(digest: str) -> None:
    model = model_of(digest)
    both = verified_certificates(model, [files(RELEASE), files(RELEASE)])
    told = ModelCertificates({digest: both})
    assert len(told.facts(model)["certificates"]) == 2  # type: ignore[arg-type]
    assert told.headers(model)[CERTIFICATE_HEADER].count("sha256:") == 2


def test_a_certificate_of_other_bytes_is_refused_where_it_is_said_to_be_the_models() -> None:
    with pytest.raises(IntegrityError, match=r"student-q8.certificate.json is of sha256:.* is sha256:0000"):
        verified_certificates(model_of("sha256:" + "0" * 64), [files(RELEASE, own=True)])


@pytest.mark.parametrize("spoilt", ["student-q8.certificate.json", "paper.json", "ledger.jsonl"])
def test_a_certificate_that_does_not_verify_is_refused(spoilt: str, digest: str, tmp_path: Path) -> None:
    shutil.copytree(RELEASE / "exams", tmp_path / "exams")
    path = tmp_path / "exams" / "exam" / spoilt
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"num_tokens":', b'"num_tokens":1', 1) if spoilt[0] == "s" else data[:-200])
    with pytest.raises(SpiritsafeError, match=spoilt if spoilt[0] == "s" else "does not verify"):
        verified_certificates(model_of(digest), [files(tmp_path)])
