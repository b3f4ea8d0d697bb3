from __future__ import annotations

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.exam.records.contamination import (
    FileSeen,
    MemoryReport,
    OverlapHit,
    OverlapReport,
    SignedMemory,
    SignedOverlap,
)
from spiritsafe.ledger.records import PublicKey, Signature

KEY = PublicKey(holder="Eve", signing="1" * 64, recipient="age1abc")
SIGNATURE = Signature(key="1" * 64, value="2" * 128)
DIGEST = "sha256:" + "0" * 64


def overlap_report() -> OverlapReport:
    return OverlapReport(
        paper_id=DIGEST,
        about="student",
        files=(FileSeen(name="a.jsonl", digest=DIGEST, num_bytes=3, layout="text", num_words=1),),
        ngram=13,
        shingle=3,
        enough_ngrams=0.5,
        near=0.5,
        mask_names=False,
        num_short=0,
        num_controls=(2,),
        num_control_twins=(),
        findings=(),
        hits=(
            OverlapHit(
                index=1, half="sealed", form="words", kind="near", score=0.75, whole=False, file=0, passage="0" * 64
            ),
        ),
        verdict="nothing found",
        statements=("One.",),
        finished="2026-11-27T10:00:00.000Z",
        examiner=KEY,
        software={},
    )


def memory_report() -> MemoryReport:
    return MemoryReport(
        paper_id=DIGEST,
        generator=GeneratorInfo(name="m", digest=DIGEST, kind="local"),
        has_spread=True,
        scores=(),
        order=None,
        statements=("One.",),
        finished="2026-11-27T10:00:00.000Z",
        examiner=KEY,
        software={},
    )


@pytest.mark.parametrize(
    "signed",
    [
        SignedOverlap(report=overlap_report(), signature=SIGNATURE),
        SignedMemory(report=memory_report(), signature=SIGNATURE),
    ],
)
def test_signed_reports_read_back_and_sign_the_report_alone(signed: SignedOverlap | SignedMemory) -> None:
    assert type(signed).from_json(signed.to_json()) == signed
    assert signed.signed_bytes() == signed.report.canonical()
    with pytest.raises(IntegrityError):
        type(signed).from_json({**signed.to_json(), "text": "of a problem"})


def test_a_report_has_no_room_for_text() -> None:
    value = overlap_report().to_json()
    value["hits"][0]["passage"] = "What is 12 + 34?"
    with pytest.raises(IntegrityError, match="passage"):
        OverlapReport.from_json(value)
