from __future__ import annotations

import pytest
from dispute_parts import MALLORY
from exam_parts import ToyModel

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.retirement import RetirementEntry, check_in_force, retirement_of


def test_only_the_examiner_retires_a_paper(stage):
    header = stage.paper.header
    assert retirement_of(PaperLog(stage.ledger.entries(), header)) is None
    for key in (MALLORY, stage.maker):
        stage.ledger.append("open", {"paper_id": header.paper_id}, key)
    stage.ledger.append("open", {"paper_id": "sha256:" + "0" * 64}, stage.examiner)
    stage.ledger.append("note", {"paper_id": header.paper_id}, stage.examiner)
    assert PaperLog(stage.ledger.entries(), header).of(RetirementEntry) == []
    check_in_force(PaperLog(stage.ledger.entries(), header))
    stage.register(ToyModel())  # somebody else's word stops nobody
    first = stage.ledger.append("open", {"paper_id": header.paper_id}, stage.examiner)
    stage.ledger.append("open", {"paper_id": header.paper_id}, stage.examiner)
    assert retirement_of(PaperLog(stage.ledger.entries(), header)) == RetirementEntry(first)
    with pytest.raises(ProcedureError, match=f"ledger entry {first.index}"):
        check_in_force(PaperLog(stage.ledger.entries(), header))
