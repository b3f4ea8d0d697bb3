"""One certificate of each kind that was ever issued: byte for byte as published, and verified by the code of today.

A new kind gets files of its own. A test that fails here says that published certificates no longer hold: mend the code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from spiritsafe.exam import load_certificate, load_paper, load_rerun, separation_words, verify
from spiritsafe.exam.results.amendment import original_result

ROOT = Path(__file__).parent / "certificates"

DIGESTS = {
    "claimed.certificate.json": "5103fc7f59e854e2ef0f9283933b09e520b053c73c592c2e89d871427900aa8b",
    "ledger.jsonl": "a34cc787ff5562a797c4ffe53e892f0c65db5fcae548e220274ad7d42c3d27c6",
    "opened/474b0cd55948.answers.json": "04d9a3c7403dabb3e541a17b6c6f9585e4533d3329a272dc65f2afb6a2ba57cb",
    "opened/e2907cf18877.answers.json": "08e87b50acd79b9d04951bbe4798e92aef1d5ca23349f24bfa113c1f639e0891",
    "opened/paper.json": "980c3c58b6a25395524fb1eb5cbefd4873385bad436364e81ab7bf13809cec81",
    "paper.json": "43b901d7b8d14efccd219c4c2d1192eb98bfcf133f12dd888139118ba523481e",
    "plain.certificate.json": "20f1d8b2cb446452497dae27ca8dc246bc69751d916915b24fc2c11a25823010",
    "reissued.certificate.json": "e7a19656f8abf0aa85384e8569f741d2b7d0ed46982842bbea81d4de2a42ce5b",
    "rerun.json": "3bf5090a90e273401c5c21161a6e5d6c85a469cc32155f38a67623841e2edb7c",
    "revealed.json": "c3cad378c7b94afe6653bf2acda460b45523c4afb7591a1eeba8c00b34352422",
}

ALWAYS_SKIPPED = {
    "sealed file", "reference", "training overlap", "signs of memory", "witnessed heads", "trusted keys",
}  # fmt: skip
KINDS = {
    "plain": {"revealed": [ROOT / "revealed.json"], "reruns": [ROOT / "rerun.json"]},
    "claimed": {},
    "reissued": {"revealed": [ROOT / "revealed.json"]},
}


def test_the_files_are_those_that_were_published() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(ROOT.rglob("*"))
        if path.is_file()
    }
    assert found == DIGESTS


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_of_each_kind_verifies(kind: str) -> None:
    steps = verify(
        ROOT / f"{kind}.certificate.json", paper=ROOT / "paper.json", ledger=ROOT / "ledger.jsonl",
        opened=ROOT / "opened", **KINDS[kind],
    )  # fmt: skip
    assert [step for step in steps if not step.ok] == []
    assert any(step.detail.endswith("graded again by arith.number/1: the same") for step in steps)
    skipped = {step.name for step in steps if not step.checked}
    assert skipped <= ALWAYS_SKIPPED | ({"revealed answers"} if kind == "claimed" else set()) | (
        set() if kind == "plain" else {"re-runs"}
    )
    details = {step.name: step.detail for step in steps}
    assert details["published answers"].startswith("all ")  # another version of the verifier may not grade them again
    assert ("SUPERSEDED" in details["disputes"]) == (kind == "plain")
    assert details["ending"].startswith("stopped by rule" if kind == "claimed" else "complete")
    assert ("counter-signed by Sam Stranger" in details["re-runs"]) == (kind == "plain")


@pytest.mark.parametrize("kind", KINDS)
def test_certificate_and_paper_alone_will_do(kind: str) -> None:
    steps = verify(ROOT / f"{kind}.certificate.json", paper=ROOT / "paper.json")
    assert [step for step in steps if not step.ok] == []


def test_what_they_say() -> None:
    plain, claimed, reissued = (load_certificate(ROOT / f"{kind}.certificate.json") for kind in KINDS)
    assert load_paper(ROOT / "paper.json").header == plain.paper == claimed.paper == reissued.paper
    assert original_result(reissued) == plain.result
    assert reissued.amendment is not None
    assert reissued.amendment.supersedes == plain.content_digest
    assert claimed.correction is not None
    assert claimed.correction.finding == "supported"
    report = load_rerun(ROOT / "rerun.json", certificate=plain).report
    assert separation_words(plain, [report]).startswith("third party, counter-signed by Sam Stranger")
