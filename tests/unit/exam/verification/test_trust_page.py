from __future__ import annotations

from pathlib import Path

from exam_parts import ToyModel, make_stage

from spiritsafe.exam import trust_lines, trust_page
from spiritsafe.exam.records.trust import TrustPage
from spiritsafe.exam.verification.promises import PROMISE_RULES


def page_of(root: Path) -> TrustPage:
    stage = make_stage(root, count=8)
    certificate = stage.certificate(ToyModel())
    return trust_page(certificate, stage.verify(), entries=stage.ledger.entries())


def test_the_page_names_its_certificate_and_all_promises(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert page.verified
    assert page.model_name == "toy-model"
    assert [promise.name for promise in page.promises] == [rule.name for rule in PROMISE_RULES]
    assert all(promise.steps == tuple(sorted(promise.steps)) for promise in page.promises)


def test_one_line_a_promise_by_default(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    lines = trust_lines(page)
    assert len(lines) == len(PROMISE_RULES)
    assert lines[0] == "holds             The problems were fixed before anybody sat."
    assert "not checked here  The examiner is one that you trust. Give --trust KEY_ID." in lines


def test_the_long_form_says_what_was_found_and_what_is_left(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    lines = trust_lines(page, long=True)
    for promise in page.promises:
        at = lines.index(f"{promise.state:16s}  {promise.text}")
        assert promise.finding in lines[at + 1]
        assert f"(step {', '.join(map(str, promise.steps))})" in lines[at + 1]
        block = lines[at + 1 : at + 4]
        assert f"    left to a cheater: {promise.cheat}" in block
        assert (f"    to check it, give {promise.give}" in block) == bool(promise.give)


def test_a_failed_step_takes_its_promises_and_nothing_behind_it_counts(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    certificate = stage.certificate(ToyModel())
    other = make_stage(tmp_path / "other", count=8)
    page = trust_page(certificate, stage.verify(paper=other.papers))
    assert not page.verified
    assert {promise.state for promise in page.promises} == {"not checked here"}
    assert page.of("committed").finding.startswith("step 3 failed: The paper file is another paper")
    assert page.of("committed").give == "a certificate that passes every step"
    steps = stage.verify(trusted_keys=["0" * 16])
    page = trust_page(certificate, steps)
    assert page.of("examiner").state == "does not hold"
    assert page.of("committed").state == "holds"


def test_the_short_form_of_a_failure_names_what_still_stands(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    certificate = stage.certificate(ToyModel())
    (stage.papers / "sealed.age").write_bytes(b"another half")
    lines = trust_lines(trust_page(certificate, stage.verify()))
    assert lines[0] == "holds             Which problems became public was drawn by lot."
    assert "does not hold     Nobody but the parties named here could open the sealed half." in lines
    assert lines[-1] == "nothing else: that takes a certificate that passes every step."
    path = stage.root / "sitting" / "certificate.json"
    path.write_bytes(path.read_bytes().replace(b'"third party"', b'"self-examined"'))
    assert trust_lines(trust_page(certificate, stage.verify())) == [
        "nothing: that takes a certificate that passes every step."
    ]
