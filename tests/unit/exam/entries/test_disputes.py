from __future__ import annotations

import pytest
from dispute_parts import DORA, MALLORY, ZERO, make_case
from exam_parts import ToyModel

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.entries.disputes import EditEntry, can_be_judged, disputes_of, foreign_answers
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.ledger import KeyPair, Ledger


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path, num_tries=2)


def states(case, entries=None):
    log = PaperLog(entries or case.stage.ledger.entries(), case.certificate.paper)
    return disputes_of(log, case.certificate.result.registration)


@pytest.mark.parametrize("change", ["author", "reason", "registration", "junk", "signer"])
def test_an_edited_dispute_is_its_authors_no_more(case, change):
    """Whoever keeps the ledger writes it again with other words in Dora's mouth; her signature he has not."""
    dispute = case.dispute(case.places("wrong")[0])
    value = dispute.to_json()
    if change == "reason":
        value["reason"] = "I was wrong, sorry."
    if change == "author":
        value["author"] = MALLORY.public.to_json()
    if change == "registration":
        value["registration"] = ZERO
    if change == "junk":
        value = {"index": "many"}
    forged = Ledger(case.stage.root / "forged.jsonl")
    for entry in case.stage.ledger.entries():
        key = {case.stage.maker.public.signing: case.stage.maker}.get(entry.signature.key, case.stage.examiner)
        body = {**entry.body, "dispute": value} if entry.kind == "dispute" else entry.body
        if entry.kind == "dispute" and change in ("author", "registration", "junk"):
            key = DORA  # what she signed does not fit what it says
        forged.append(entry.kind, body, key)
    assert disputes_of(PaperLog(forged.entries(), case.certificate.paper), case.certificate.result.registration) == []
    data = case.stage.ledger.path.read_bytes().replace(b"The answer is right", b"The answer is wrong")
    case.stage.ledger.path.write_bytes(data)
    assert case.failure()[0] == "ledger file"


def test_a_publication_by_somebody_else_lets_nobody_judge(case):
    header, registration = case.certificate.paper, case.certificate.result.registration
    body = {"paper_id": header.paper_id, "registration": registration, "places": [1], "sample_index": 0}
    for kind in ("reveal", "open", "answers"):
        case.stage.ledger.append(kind, body, MALLORY)
    assert can_be_judged(PaperLog(case.stage.ledger.entries(), header), registration, (1, 0)) is None
    case.stage.ledger.append("answers", body, case.stage.examiner)  # before the retirement: of a sealed paper
    case.stage.ledger.append("open", body, case.stage.examiner)
    assert can_be_judged(PaperLog(case.stage.ledger.entries(), header), registration, (1, 0)) is None


def test_an_edit_by_another_key_counts_for_nothing_and_is_named(case):
    place = case.places("wrong")[0]
    entry = case.edit(place)
    forged = {**entry.body, "edit": {**entry.body["edit"], "reason": "by me"}}
    index = case.stage.ledger.append("grade edit", forged, MALLORY).index
    header, registration = case.certificate.paper, case.certificate.result.registration
    log = PaperLog(case.stage.ledger.entries(), header)
    assert log.of(EditEntry, sitting=registration) == [EditEntry(entry)]
    assert [e.entry.index for e in foreign_answers(log, registration)] == [index]
    assert f"ledger entry {index} (grade edit) is not the examiner's and counts for nothing" in case.detail("disputes")


def test_disputes_of_other_sittings_are_theirs(case):
    other = case.stage.certificate(ToyModel(name="other", skill=0.0), name="other")
    case.dispute(case.places("wrong")[0])
    assert disputes_of(PaperLog(case.stage.ledger.entries(), other.paper), other.result.registration) == []
    with pytest.raises(IntegrityError):
        _ = EditEntry(case.stage.ledger.entries()[-1]).edit


def test_a_name_that_plays_with_the_terminal_is_no_authors(case):
    dispute = case.dispute(case.places("wrong")[0], author=KeyPair.generate("Eve\x1b[8m"))
    assert dispute.reason
    assert (
        disputes_of(PaperLog(case.stage.ledger.entries(), case.certificate.paper), case.certificate.result.registration)
        == []
    )
