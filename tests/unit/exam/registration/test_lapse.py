"""Registrations that nobody finishes: when they lapse, what stays of them, and who cannot end what."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from exam_parts import ToyModel
from stranger_parts import IMPOSSIBLE, append_at

from spiritsafe.core.errors import ProcedureError, RecipeError
from spiritsafe.exam import PaperLog, lapse, open_paper, registration_states, trust_page, withdraw
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.registration import lapse as module
from spiritsafe.ledger import KeyPair, Ledger, log

CLAIM = Claim(kind="score at least", score=0.3)


@pytest.fixture
def days_later(monkeypatch):
    """Move the clock of ledger and command."""

    def move(days: float) -> None:
        def now() -> str:
            moment = datetime.now(UTC) + timedelta(days=days)
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

        monkeypatch.setattr(log, "utc_now", now)
        monkeypatch.setattr(module, "utc_now", now)

    return move


def give_up(stage, registration, **changes):
    given = {"examiner": stage.examiner, "reason": "nobody answers", "registration": registration}
    return lapse(ledger=stage.ledger, paper=stage.paper, **{**given, **changes})


def abandon(stage, name="silent"):
    """A sitting that dies at its second question."""

    class GoneError(Exception):
        pass

    def die():
        if len(model.asked) == 1:
            raise GoneError

    model = ToyModel(name=name, on_ask=die)
    registration = stage.register(model, claim=CLAIM)
    with pytest.raises(GoneError):
        stage.sit(model, registration, name)
    return registration


def states(stage):
    found = registration_states(
        PaperLog(stage.ledger.entries(), stage.paper.header), maker_key=stage.maker.public.signing
    )
    return [(state.model_name, state.state) for state in found]


def retire(stage):
    return open_paper(
        paper=stage.papers, examiner=stage.examiner, ledger=stage.ledger, reason="r", directory=stage.root / "opened"
    )


def test_an_abandoned_sitting_lapses_and_the_paper_can_be_retired(stage, days_later):
    registration = abandon(stage)
    with pytest.raises(ProcedureError, match="is sitting this paper") as stuck:
        retire(stage)
    assert "exam lapse" in stuck.value.hint
    with pytest.raises(ProcedureError, match="less than 30 days ago"):
        give_up(stage, registration)
    days_later(30.01)
    entry = give_up(stage, registration)
    assert (entry.kind, entry.body["days"], entry.body["reason"]) == ("lapse", 30, "nobody answers")
    assert states(stage) == [("silent", "lapsed")]
    assert len(retire(stage).problems) == 20


def test_what_lapsed_cannot_be_sat_withdrawn_or_lapse_again(stage, days_later):
    registration = abandon(stage)
    days_later(31)
    give_up(stage, registration)
    with pytest.raises(ProcedureError, match=r"has ended already \(ledger entry 3, lapse\)"):
        stage.sit(ToyModel(name="silent"), registration, "silent")
    with pytest.raises(ProcedureError, match="ended already"):
        withdraw(ledger=stage.ledger, paper=stage.paper, registration=registration, maker=stage.maker, reason="r")
    with pytest.raises(ProcedureError, match="ended already"):
        give_up(stage, registration)


def test_it_stays_a_sitting_that_its_maker_owes(stage, days_later):
    registration = abandon(stage)
    days_later(31)
    give_up(stage, registration)
    certificate = stage.certificate(ToyModel(name="second", skill=0.75), name="second", claim=CLAIM)
    assert [state.state for state in certificate.registrations] == ["lapsed", "result"]
    assert any("0 open, 1 lapsed: no result)" in text for text in certificate.statements)
    assert certificate.correction is not None
    assert certificate.correction.num_claims == 2  # as if the first had failed
    assert certificate.correction.adjusted_p == pytest.approx(min(1.0, 2 * certificate.result.decision.p_value))
    stage.check("second")
    page = trust_page(certificate, stage.verify("second"), entries=stage.ledger.entries())
    assert page.of("nothing left out").state == "does not hold"
    assert page.of("nothing left out").finding.endswith('1 lapsed without a result: "silent"')


def test_days_count_from_the_last_access(stage, days_later):
    """A sitting that goes on after weeks shows a sign of life, and its registration cannot lapse at once."""
    registration = abandon(stage)
    days_later(25)
    with pytest.raises(RuntimeError):
        stage.sit(ToyModel(name="silent", on_ask=fail), registration, "silent")
    days_later(40)
    with pytest.raises(ProcedureError, match=r"\(ledger entry 3\), less than 30 days ago"):
        give_up(stage, registration)
    days_later(55.1)
    assert give_up(stage, registration).index == 4


def fail():
    raise RuntimeError("again")


def test_only_the_examiner_and_no_sooner_than_a_week(stage, days_later):
    registration = stage.register(ToyModel())
    for days in (6, 0, -1, 4000):
        with pytest.raises(RecipeError, match="lapses after 7 to 3650 days"):
            give_up(stage, registration, days=days)
    days_later(8)
    with pytest.raises(ProcedureError, match="was sealed by Eve Examiner"):
        give_up(stage, registration, examiner=stage.maker, days=7)
    with pytest.raises(ProcedureError, match="not registered"):
        give_up(stage, registration.model_copy(update={"hypothesis": "other"}), days=7)
    give_up(stage, registration, days=7)
    assert states(stage) == [("toy-model", "lapsed")]


def test_a_registration_that_never_began_can_lapse_too_and_a_finished_one_cannot(stage, days_later):
    never = stage.register(ToyModel(name="never"))
    sat = stage.certificate(ToyModel(name="sat")).registration
    days_later(31)
    with pytest.raises(ProcedureError, match="ended already"):
        give_up(stage, sat)
    give_up(stage, never)
    assert states(stage) == [("never", "lapsed"), ("sat", "result")]


@pytest.mark.parametrize("time", ["2999-01-01T00:00:00.000Z", IMPOSSIBLE[0]])
def test_a_makers_clock_that_is_wrong_puts_no_lapse_off_for_ever(stage, days_later, monkeypatch, time):
    """Days are counted by the examiner's clock: from its next entry on, which the first attempt writes."""
    draft = replace(stage, ledger=Ledger(stage.root / "draft.jsonl"))
    shutil.copy(stage.ledger.path, draft.ledger.path)
    registration = draft.register(ToyModel(name="from the future"))
    append_at(stage.ledger, time, stage.maker, "registration", dict(draft.ledger.entries()[-1].body))
    with pytest.raises(
        ProcedureError, match=f"ledger entry 1\\) is of {time}: that clock was wrong.*ledger entry 2 on"
    ):
        give_up(stage, registration)
    assert [entry.kind for entry in stage.ledger.entries()] == ["paper", "registration", "lapse notice"]
    days_later(29)
    with pytest.raises(ProcedureError, match=r"\(ledger entry 2\), less than 30 days ago"):
        give_up(stage, registration)
    assert len(stage.ledger.entries()) == 3  # one notice is enough
    days_later(30.01)
    give_up(stage, registration)
    assert states(stage) == [("from the future", "lapsed")]


def test_a_makers_clock_that_is_a_little_ahead_is_no_wrong_one(stage, days_later):
    days_later(0.9)
    registration = stage.register(ToyModel(name="ahead"))
    days_later(0)
    with pytest.raises(ProcedureError, match="less than 30 days ago"):
        give_up(stage, registration)
    assert len(stage.ledger.entries()) == 2
    days_later(31)
    give_up(stage, registration)


def test_a_strangers_clock_moves_no_lapse(stage, days_later):
    registration = abandon(stage)
    for time in ("2999-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z", IMPOSSIBLE[1]):
        append_at(stage.ledger, time, KeyPair.generate("Anybody"))
    with pytest.raises(ProcedureError, match="less than 30 days ago"):
        give_up(stage, registration)
    days_later(30.01)
    give_up(stage, registration)
    assert states(stage) == [("silent", "lapsed")]
