"""Strangers: whoever can append to the ledger writes garbage, forgeries and other people's digests into it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attack_parts import MALLORY, WANDA, caught, exam, look, passes, reissue
from click.testing import CliRunner
from exam_parts import SAMPLING, Forger, Stage, ToyModel, make_stage
from stranger_parts import IMPOSSIBLE, append_at, garbage

from spiritsafe.cli.exam import command
from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam import (
    PaperLog,
    PaperTerms,
    exposures,
    file_rerun,
    find_registration,
    lapse,
    open_paper,
    register,
    rerun,
    trust_page,
    withdraw,
)
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.registration import Claim, Registration
from spiritsafe.ledger import KeyPair, Ledger, NoteKey, origin_of, utc_now

CLAIM = Claim(kind="score at least", score=0.3)
SAM = KeyPair.generate("Sam Stranger")


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return exam(tmp_path)


def body_of(registration: Registration) -> dict[str, Any]:
    return {
        "paper_id": registration.paper_id,
        "digest": registration.content_digest,
        "registration": registration.to_json(),
    }


def certified(stage: Stage, certificate: Certificate) -> dict[str, Any]:
    """What a certificate says, issued now, without what follows from the ledger's length alone."""
    value = reissue(Forger(stage, certificate)).to_json()
    return {name: value[name] for name in value if name not in ("head", "evidence", "signatures")}


def test_garbage_of_every_kind_blocks_and_changes_nothing(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    silent = stage.register(ToyModel(name="silent"), claim=CLAIM)
    certificate = stage.certificate(ToyModel(), claim=CLAIM)
    stage.ledger.append("registration", {"paper_id": silent.paper_id, "registration": 5}, stage.maker)
    before = certified(stage, certificate)
    seen = exposures(PaperLog(stage.ledger.entries(), stage.paper.header))
    page = trust_page(certificate, stage.verify(), entries=stage.ledger.entries())
    for kind, body in garbage(stage, certificate):
        append_at(stage.ledger, utc_now(), MALLORY, kind, body)  # by hand: some are nested deeper than we append
    assert certified(stage, certificate) == before
    assert exposures(PaperLog(stage.ledger.entries(), stage.paper.header)) == seen
    passes(stage.verify())
    again = trust_page(certificate, stage.verify(), entries=stage.ledger.entries())
    assert [(p.name, p.state) for p in again.promises] == [(p.name, p.state) for p in page.promises]
    later = stage.certificate(ToyModel(name="later"), name="later", claim=CLAIM)
    passes(stage.verify("later"))
    assert later.correction is not None
    assert later.correction.num_claims == 3
    opened = stage.root / "opened"
    open_paper(paper=stage.papers, examiner=stage.examiner, ledger=stage.ledger, reason="r", directory=opened)
    passes(stage.verify(opened=opened))


def test_what_only_looks_like_a_registration_is_named_and_ignored(forger: Forger) -> None:
    stage = forger.stage
    body = {**body_of(forger.certificate.registration), "registration": {"model_name": "\x1b[2K\nnobody"}}
    index = stage.ledger.append("registration", body, MALLORY).index
    words = f"malformed entry {index} by key {MALLORY.public.key_id}, ignored"
    done = CliRunner().invoke(command, ["registrations", str(stage.papers), "--ledger", str(stage.ledger.path)])
    assert done.exit_code == 0, done.exception
    assert done.output.splitlines()[-1] == words
    assert len(done.output.splitlines()) == 4
    steps = stage.verify()
    passes(steps)
    assert words in next(step.detail for step in steps if step.name == "ledger file")


def test_a_registration_that_somebody_entered_before_its_maker(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    twin = replace(stage, ledger=Ledger(tmp_path / "draft.jsonl"))
    shutil.copy(stage.ledger.path, twin.ledger.path)
    wanted = twin.register(ToyModel())  # Mallory saw the file
    stage.ledger.append("registration", body_of(wanted), MALLORY)
    stage.ledger.append("registration", {**body_of(wanted), "registration": []}, MALLORY)
    assert stage.register(ToyModel()) == wanted
    assert find_registration(stage.ledger, wanted.content_digest) == wanted
    stage.sit(ToyModel(), wanted)
    passes(stage.verify())


def test_a_forged_result_makes_no_claim_known(tmp_path: Path) -> None:
    """Mallory registers Mary's model too and makes its result up: Mary's claim is still a prediction."""
    stage = make_stage(tmp_path, count=8)
    info = ToyModel().describe()
    theirs = register(
        ledger=stage.ledger, paper=stage.paper, maker=MALLORY, model_name="m", model_digest=info.digest,
        sampling=SAMPLING, num_tries=1, hypothesis="h",
    )  # fmt: skip
    about = {"paper_id": theirs.paper_id, "registration": theirs.content_digest}
    stage.ledger.append("result", {**about, "sealed_accuracy": 1.0}, MALLORY)
    certificate = stage.certificate(ToyModel(), claim=CLAIM)
    assert certificate.correction is not None
    assert not certificate.correction.known_before
    passes(stage.verify())


def test_a_claim_that_an_accomplice_announced_is_no_prediction(tmp_path: Path) -> None:
    """A digest under another key, entered before the result, does not make the claim older than it is."""
    stage = make_stage(tmp_path, count=8)
    twin = replace(stage, ledger=Ledger(tmp_path / "draft.jsonl"))
    shutil.copy(stage.ledger.path, twin.ledger.path)
    claimed = twin.register(ToyModel(), claim=CLAIM)
    stage.ledger.append("registration", body_of(claimed), MALLORY)
    stage.certificate(ToyModel(), name="look")
    certificate = stage.certificate(ToyModel(), name="claim", claim=CLAIM)
    assert certificate.registration == claimed
    assert certificate.correction is not None
    assert certificate.correction.known_before
    passes(stage.verify("claim"))


@pytest.mark.parametrize("p_value", [1e-9, 7.0, -1.0])
def test_a_withdrawal_that_names_scores(tmp_path: Path, p_value: float) -> None:
    """A maker's withdrawal with a made-up p-value neither eases the correction nor stops the list."""
    stage = make_stage(tmp_path, count=8)
    dropped = stage.register(ToyModel(name="dropped"), claim=CLAIM)
    body = {"paper_id": dropped.paper_id, "registration": dropped.content_digest}
    stage.ledger.append("withdrawal", {**body, "p_value": p_value, "sealed_accuracy": 1.0}, stage.maker)
    certificate = stage.certificate(ToyModel(skill=1.0), claim=CLAIM)
    assert [(s.state, s.p_value, s.sealed_accuracy) for s in certificate.registrations[:1]] == [
        ("withdrawn", None, None)
    ]
    assert certificate.correction is not None
    assert certificate.correction.adjusted_p == pytest.approx(2 * certificate.result.decision.p_value)  # type: ignore[union-attr]
    passes(stage.verify())


def test_what_a_stranger_says_was_shown_to_whom(forger: Forger) -> None:
    stage = forger.stage
    before = exposures(PaperLog(stage.ledger.entries(), stage.paper.header))
    everything = {"paper_id": stage.paper.header.paper_id, "places": [0, 1, 2], "public": [0], "sealed": [1, 2]}
    reader = ToyModel(name="big operator", kind="remote").describe().to_json()
    for kind in ("reveal", "access", "open", "answers"):
        index = stage.ledger.append(kind, {**everything, "reader": reader}, MALLORY).index
        said = CliRunner().invoke(command, ["exposure", str(stage.papers), "--ledger", str(stage.ledger.path)]).output
        assert f"unconfirmed: ledger entry {index} ({kind}) is by a key that cannot open this paper" in said
        assert "big operator" not in said
    assert exposures(PaperLog(stage.ledger.entries(), stage.paper.header)) == before
    stage.ledger.append("reveal", everything, stage.examiner)  # the examiner's word does count
    assert exposures(PaperLog(stage.ledger.entries(), stage.paper.header)) != before


def test_a_recipient_spoils_no_sitting_and_hides_no_opening(tmp_path: Path) -> None:
    rita = KeyPair.generate("Rita Recipient")
    stage = make_stage(tmp_path, count=8, terms=PaperTerms(recipients=(rita.public,)))
    registration = stage.register(ToyModel())
    about = {"paper_id": registration.paper_id, "registration": registration.content_digest}
    named = {"reader": ToyModel(name="other", kind="local").describe().to_json(), "public": [], "sealed": [0]}
    stage.ledger.append("access", {**about, **named}, rita)
    unread = stage.ledger.append("access", {**about, "reader": 7, "sealed": "all"}, rita).index
    certificate = stage.sit(ToyModel(), registration)
    passes(stage.verify())
    assert certificate.result.openings == 1
    record = next(r for r in certificate.access if r.who == f"an unknown reader (ledger entry {unread})")
    assert (record.exposed, record.num_sealed, record.num_public) == (True, 4, 4)  # it may have been anybody
    shown = [r for r in exposures(PaperLog(stage.ledger.entries(), stage.paper.header)) if r.party == record.who]
    assert len(shown) == 8
    assert all(r.has for r in shown)


def test_false_testimony_in_a_witness_ledger(forger: Forger) -> None:
    stage = forger.stage
    path = look(stage)
    own = Ledger(path)
    for junk in (None, "", -1, True, [], {}):
        own.append("witness", {"origin": origin_of(stage.ledger), "size": junk, "root": "ab"}, MALLORY)
    passes(stage.verify(witnesses=[path]))  # what is no head is nobody's testimony
    own.append("witness", {"origin": origin_of(stage.ledger), "size": 3, "root": "ab" * 32}, MALLORY)
    caught(stage.verify(witnesses=[path]), "witnessed heads", f"witness {MALLORY.public.key_id}")  # whom do you trust?
    key = str(NoteKey.of_witness(WANDA.public.signing))
    passes(stage.verify(witnesses=[path], witness_keys=[key]))
    theirs = str(NoteKey.of_witness(SAM.public.signing))
    caught(stage.verify(witnesses=[path], witness_keys=[theirs]), "witnessed heads", "holds no head of this ledger")


def test_a_sitting_under_way_that_its_examiner_wants_to_end(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=8)
    registration = stage.register(ToyModel())
    with pytest.raises(ProcedureError, match="less than 30 days ago"):
        lapse(ledger=stage.ledger, paper=stage.paper, registration=registration, examiner=stage.examiner, reason="slow")
    about = {"paper_id": registration.paper_id, "registration": registration.content_digest, "reason": "slow"}
    for days in (30, 7, 0, -1, None):  # written past the command: too early by the ledger's own times
        stage.ledger.append("lapse", {**about, "days": days}, stage.examiner)
    certificate = stage.sit(ToyModel(), registration)
    assert [state.state for state in certificate.registrations] == ["result"]
    passes(stage.verify())


def test_a_rerun_filed_under_anothers_name(forger: Forger) -> None:
    """Mallory files Sam's report, and an agreement that is none: neither counts as Sam's word."""
    stage, path = forger.stage, forger.stage.root / "rerun.json"
    files = {"paper": stage.papers, "certificate": stage.root / "sitting" / "certificate.json"}
    signed = rerun(
        files["certificate"], paper=stage.papers, generator=ToyModel(), task=stage.task, runner=SAM, output=path
    )
    with pytest.raises(ProcedureError, match="This report was made by Sam Stranger"):
        file_rerun(path, **files, ledger=stage.ledger, runner=MALLORY)
    report = {"certificate": signed.report.certificate, "report": signed.report.content_digest, "agrees": True}
    stage.ledger.append("rerun", report, MALLORY)

    def said() -> str:
        return next(step.detail for step in stage.verify(reruns=[path]) if step.name == "re-runs")

    assert "(not in the ledger)" in said()
    entry, _ = file_rerun(path, **files, ledger=stage.ledger, runner=SAM)
    assert f"(ledger entry {entry.index})" in said()
    assert f"a re-run by key {MALLORY.public.key_id} that agrees, its report not given" in said()


def test_an_end_of_somebody_elses_registration(forger: Forger) -> None:
    stage = forger.stage
    registration = stage.register(ToyModel(name="mine"))
    about = {"paper_id": registration.paper_id, "registration": registration.content_digest, "days": 7}
    for kind in ("withdrawal", "result", "lapse", "open"):
        stage.ledger.append(kind, about, MALLORY)
    with pytest.raises(ProcedureError, match="Only the maker"):
        withdraw(ledger=stage.ledger, paper=stage.paper, registration=registration, maker=MALLORY, reason="r")
    stage.sit(ToyModel(name="mine"), registration, "mine")
    passes(stage.verify("mine"))


def _promises(stage: Stage, certificate: Certificate, name: str) -> dict[str, str]:
    page = trust_page(certificate, stage.verify(name), entries=stage.ledger.entries())
    return {promise.name: promise.state for promise in page.promises}


@pytest.mark.parametrize("time", ["2099-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z", *IMPOSSIBLE])
def test_a_line_at_whatever_time_moves_nobodys_promise(tmp_path: Path, time: str) -> None:
    """Two sittings of an endpoint, as they are and with a stranger's lines before and between."""
    found = []
    for folder, lines in (("honest", 0), ("poisoned", 1)):
        stage = make_stage(tmp_path / folder, count=8)
        for name in ("first", "second"):
            for _ in range(lines):
                append_at(stage.ledger, time, KeyPair.generate("Anybody"))
            certificate = stage.certificate(ToyModel(name=name, kind="remote"), name=name, claim=CLAIM)
        steps = stage.verify("second")
        passes(steps)
        assert ("is wrong" in next(step.detail for step in steps if step.name == "ledger file")) == bool(lines)
        passes(stage.verify("first"))
        found.append(_promises(stage, certificate, "second"))
        assert certificate.result.started <= certificate.result.finished < "2099"
    assert found[0] == found[1]
    assert found[0]["fresh"] == "does not hold"
