from __future__ import annotations

import pytest
from dispute_parts import DORA, MALLORY, make_case

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam import PaperLog, disputes_of, reject_dispute
from spiritsafe.exam.entries.disputes import EditEntry


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path, num_tries=2)


def states(case):
    return disputes_of(
        PaperLog(case.stage.ledger.entries(), case.certificate.paper), case.certificate.result.registration
    )


def test_anybody_files_a_dispute_and_it_is_on_record_once(case):
    place = case.places("wrong")[0]
    dispute = case.dispute(place)
    assert case.dispute(place) == dispute
    (state,) = states(case)
    assert state.dispute == dispute
    assert (dispute.graded, dispute.proposed, dispute.author) == ("wrong", "correct", DORA.public)
    assert state.entry.key == DORA.public.signing
    assert state.answer is None
    case.dispute(place, author=MALLORY)
    assert len(states(case)) == 2
    said = case.detail("disputes")
    assert "2 disputes on record, 0 accepted, 0 rejected, 2 unanswered" in said
    assert f"unanswered: problem {place}, try 0, wrong → correct, by Dora Disputer" in said


def test_what_cannot_be_disputed(case):
    place = case.places("wrong")[0]
    with pytest.raises(ProcedureError, match="is graded 'wrong' already"):
        case.dispute(place, "wrong")
    for index, sample in ((99, 0), (place, 2)):
        with pytest.raises(ProcedureError, match="is not in the certificate"):
            case.dispute(index, sample_index=sample)
    other = make_case(case.stage.root / "other", count=4)
    with pytest.raises(ProcedureError, match="does not hold the certificate's result"):
        case.dispute(place, ledger=other.stage.ledger)
    assert states(case) == []


def test_a_grade_is_edited_where_everybody_can_judge_it(case):
    place = case.places("wrong")[0]
    dispute = case.dispute(place)
    with pytest.raises(ProcedureError, match="Nobody can judge this edit"):
        case.accept(dispute)
    case.reveal(place, 1)  # another try of the same problem
    with pytest.raises(ProcedureError, match="Nobody can judge this edit"):
        case.accept(dispute)
    case.reveal(place)
    entry = case.accept(dispute)
    edit = EditEntry(entry).edit
    assert (edit.index, edit.sample_index, edit.before, edit.after) == (place, 0, "wrong", "correct")
    assert (edit.score_before, edit.score_after) == (0.0, 1.0)
    assert states(case)[0].answer == EditEntry(entry)
    assert "grades edited since and not yet in a certificate" in case.detail("disputes")


def test_an_open_paper_with_its_answers_published_can_be_judged_too(case):
    place = case.places("wrong")[0]
    dispute = case.dispute(place)
    case.open()
    with pytest.raises(ProcedureError, match="Nobody can judge this edit"):
        case.accept(dispute)  # the problems are out, the answer is not
    case.publish()
    case.accept(dispute)


def test_only_the_examiner_answers_and_only_once(case):
    place = case.places("wrong")[0]
    dispute = case.dispute(place)
    case.reveal(place)
    with pytest.raises(ProcedureError, match="was sealed by Eve Examiner"):
        case.accept(dispute, examiner=MALLORY)
    with pytest.raises(ProcedureError, match="has no dispute"):
        case.accept(dispute.model_copy(update={"reason": "never filed"}))
    with pytest.raises(ProcedureError, match="is graded 'wrong' already"):
        case.accept(dispute, "wrong")
    case.accept(dispute)
    for answer in (case.accept, lambda d: reject(case, d)):
        with pytest.raises(ProcedureError, match="was answered already"):
            answer(dispute)


def reject(case, dispute):
    return reject_dispute(
        certificate=case.certificate, ledger=case.stage.ledger, examiner=case.stage.examiner,
        dispute=dispute.content_digest, reason="7 + 5 is 12.",
    )  # fmt: skip


def test_a_rejection_leaves_the_grade_and_stays_on_record(case):
    place = case.places("wrong")[0]
    dispute = case.dispute(place)
    reject(case, dispute)
    assert states(case)[0].is_rejected
    assert "1 disputes on record, 0 accepted, 1 rejected, 0 unanswered" in case.detail("disputes")
    assert case.dispute(place) == dispute  # said already
    again = case.dispute(place, reason="Look at the question again.")
    case.reveal(place)
    case.accept(again)
    assert [state.is_rejected for state in states(case)] == [True, False]


def test_a_second_edit_stands_on_the_first(case):
    place = case.places("wrong")[0]
    case.edit(place)
    with pytest.raises(ProcedureError, match="is graded 'correct' already"):
        case.dispute(place)
    back = case.dispute(place, "wrong", reason="It was right before.")
    assert back.graded == "correct"
    entry = case.accept(back, "wrong")
    assert EditEntry(entry).edit.before == "correct"
    header, registration = case.certificate.paper, case.certificate.result.registration
    assert len(PaperLog(case.stage.ledger.entries(), header).of(EditEntry, sitting=registration)) == 2


@pytest.mark.parametrize("reason", ["", "two\nlines", "\x1b[2J", "right to left \u202e", "x" * 2001])
def test_a_reason_is_one_line_that_a_terminal_can_print(case, reason):
    place = case.places("wrong")[0]
    with pytest.raises(ProcedureError, match="A reason is one line"):
        case.dispute(place, reason=reason)
    dispute = case.dispute(place)
    case.reveal(place)
    with pytest.raises(ProcedureError, match="A reason is one line"):
        case.accept(dispute, reason=reason)


def test_many_disputes_do_not_fill_the_terminal(case):
    place = case.places("wrong")[0]
    for number in range(12):
        case.dispute(place, reason=f"{number} " + "x" * 1000)
    said = case.detail("disputes")
    assert said.count("unanswered: ") == 10
    assert said.endswith("and 2 more unanswered")
    assert "x" * 201 not in said
