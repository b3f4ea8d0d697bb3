from __future__ import annotations

from typing import Any

from exam_parts import Stage, ToyModel, make_stage

from spiritsafe.exam import PaperTerms
from spiritsafe.exam.entries.accesses import AccessEntry, access_history, count_openings, enter_access, opening_entries
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.ledger import KeyPair

RITA = KeyPair.generate("Rita Recipient")


def log_of(stage: Stage) -> PaperLog:
    return PaperLog(stage.ledger.entries(), stage.paper.header)


def test_a_recipient_sees_problems_and_opens_no_sitting(tmp_path: Any) -> None:
    stage = make_stage(tmp_path, terms=PaperTerms(recipients=(RITA.public,)))
    digest, info = stage.register(ToyModel()).content_digest, ToyModel().describe()
    for key in (RITA, stage.examiner, stage.maker):
        enter_access(stage.ledger, stage.paper.header, [0, 1], info, key, purpose="a look", registration=digest)
    log = log_of(stage)
    assert [entry.key for entry in log.of(AccessEntry)] == [RITA.public.signing, stage.examiner.public.signing]
    assert [entry.key for entry in opening_entries(log, digest)] == [stage.examiner.public.signing]
    assert opening_entries(log, "another") == []


def test_parts_that_one_process_asked_are_one_opening(stage: Stage) -> None:
    header, info = stage.paper.header, ToyModel().describe()
    for continues in (False, True, True, False):
        enter_access(
            stage.ledger, header, [0], info, stage.examiner, purpose="p", registration="r", continues=continues
        )
    assert count_openings(log_of(stage).of(AccessEntry)) == 2
    first, second = (entry.body for entry in stage.ledger.find("access")[:2])
    assert set(second) - set(first) == {"continues"}  # what is not so is not said
    assert set(first) == {"paper_id", "registration", "purpose", "reader", "public", "sealed"}


def test_an_access_that_cannot_be_read_showed_all_of_it_to_anybody(stage: Stage) -> None:
    header = stage.paper.header
    reader = ToyModel().describe().to_json()
    for body in (
        {"reader": "me", "public": [1]},
        {"reader": reader, "public": "all"},
        {"reader": reader, "sealed": [1]},
    ):
        stage.ledger.append("access", {"paper_id": header.paper_id, **body}, stage.examiner)
    *bad, good = log_of(stage).of(AccessEntry)
    assert [entry.who for entry in bad] == [f"an unknown reader (ledger entry {entry.index})" for entry in bad]
    assert all(entry.is_exposing for entry in bad)
    assert (good.who, good.is_exposing) == ("toy-model (local)", False)
    history = access_history(stage.ledger.entries()[0], log_of(stage))
    counts = [(record.num_public, record.num_sealed, record.exposed) for record in history[1:]]
    assert counts == [(header.num_public, header.num_sealed, True)] * 2 + [(0, 1, False)]
