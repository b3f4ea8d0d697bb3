from __future__ import annotations

import pytest
from dispute_parts import MALLORY, ZERO, make_case

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.edits import amendment_entries, applied_edits
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import ReissueEntry


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path)


def of(case, read):
    return read(PaperLog(case.stage.ledger.entries(), case.certificate.paper), case.certificate.result.registration)


def test_edits_are_listed_with_who_when_and_why(case):
    place = case.places("wrong")[0]
    entry = case.edit(place)
    (applied,) = of(case, applied_edits)
    assert applied.edit.index == place
    assert applied.time == entry.time
    assert applied.editor == case.stage.examiner.public.recorded_label
    assert applied.disputed_by.startswith("Dora Disputer (key ")
    assert applied.dispute_reason == "The answer is right."
    assert applied.edit.reason == "The gold answer was wrong."


def bare_edit(case, place, **change):
    """An edit by an examiner with a tool of their own."""
    digest = case.certificate.result.registration
    edit = {
        "dispute": ZERO, "index": place, "sample_index": 0, "before": "wrong", "after": "correct", "score_before": 0,
        "score_after": 1, "reason": "because", **change,
    }  # fmt: skip
    body = {"paper_id": case.certificate.paper.paper_id, "registration": digest, "edit": edit}
    return case.stage.ledger.append("grade edit", body, case.stage.examiner)


def test_an_edit_without_a_dispute_about_it_is_refused(case):
    first, second = case.places("wrong")[:2]
    dispute = case.dispute(first)
    case.reveal(second)
    bare_edit(case, second, dispute=dispute.content_digest)  # a dispute about another problem
    with pytest.raises(IntegrityError, match=f"The edit of problem {second} answers no dispute"):
        of(case, applied_edits)


def test_an_edit_that_nobody_can_judge_is_refused(case):
    place = case.places("wrong")[0]
    bare_edit(case, place, dispute=case.dispute(place).content_digest)
    case.reveal(place)  # too late
    with pytest.raises(IntegrityError, match=f"Nobody can judge the edit of problem {place}"):
        of(case, applied_edits)


def test_a_dispute_is_answered_once(case):
    place = case.places("wrong")[0]
    entry = case.edit(place)
    digest = entry.body["edit"]["dispute"]
    bare_edit(case, place, dispute=digest, before="correct", after="unparsed", score_before=1, score_after=0)
    with pytest.raises(IntegrityError, match="answers what was answered before"):
        of(case, applied_edits)


def test_what_a_re_issue_shows_is_the_whole_story_and_nothing_else(case):
    first, second = case.places("wrong")[:2]
    case.edit(first)
    case.dispute(second)
    case.stage.ledger.append("note", {}, MALLORY)
    case.reveal(second)
    kinds = [entry.kind for entry in of(case, amendment_entries)]
    assert kinds == ["dispute", "reveal", "grade edit", "dispute"]
    case.open()
    case.reissue()
    kinds = [entry.kind for entry in of(case, amendment_entries)]
    assert kinds == ["dispute", "reveal", "grade edit", "dispute", "open", "reissue"]
    assert len(of(case, lambda log, sitting: log.of(ReissueEntry, sitting=sitting))) == 1
