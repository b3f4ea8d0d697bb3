from __future__ import annotations

import pytest
from exam_parts import ToyModel, ToyTask, make_stage
from stranger_parts import IMPOSSIBLE, append_at

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam import PaperLog, PaperTerms, exposures, rerun, reveal, summarise, unconfirmed
from spiritsafe.exam.entries.exposure import EVERYBODY
from spiritsafe.ledger import KeyPair, Ledger


def by_party(stage):
    found: dict[str, dict[int, object]] = {}
    for record in exposures(PaperLog(stage.ledger.entries(), stage.paper.header)):
        found.setdefault(record.party, {})[record.index] = record
    return found


def test_who_saw_what_when_and_has_it_now(stage):
    stage.certificate(ToyModel(name="weights"), name="a")
    stage.certificate(ToyModel(name="endpoint", kind="remote"), name="b")
    parties = by_party(stage)
    public = {problem.index for problem in stage.paper.problems}
    examiner = parties[stage.examiner.public.label]
    assert set(examiner) == set(range(20))
    assert all(record.has for record in examiner.values())
    assert set(parties[EVERYBODY]) == public
    local, remote = parties["weights (local)"], parties["endpoint (remote)"]
    assert set(local) == set(remote) == set(range(20))
    assert not any(record.has for record in local.values())  # weights on the host keep nothing
    assert all(record.has for record in remote.values())
    times = {entry.kind: entry.time for entry in stage.ledger.entries() if entry.kind != "access"}
    assert {record.first for record in examiner.values()} == {times["paper"]}
    accesses = stage.ledger.find("access")
    assert {record.first for record in remote.values()} == {accesses[-1].time}
    assert stage.maker.public.label not in parties


def test_a_sitting_that_ended_early_exposed_only_what_it_asked(tmp_path):
    from spiritsafe.exam.records.registration import Claim
    from spiritsafe.stats.sequential.design import StopRule

    stage = make_stage(tmp_path, count=80)
    certificate = stage.certificate(
        ToyModel(name="endpoint", kind="remote", skill=1.0),
        claim=Claim(kind="score at least", score=0.5),
        stop=StopRule(num_problems=40, num_looks=5),
    )
    seen = by_party(stage)["endpoint (remote)"]
    assert not set(certificate.result.not_asked) & set(seen)
    assert len(seen) + len(certificate.result.not_asked) == 80


class TwinTask(ToyTask):
    has_twins = True


def test_recipients_reviewers_and_twins(tmp_path):
    office = KeyPair.generate("Office")
    stage = make_stage(tmp_path, count=8, task=TwinTask(), terms=PaperTerms(twins=True, recipients=[office.public]))
    stage.certificate(ToyModel())
    parties = by_party(stage)
    assert set(parties[office.public.label]) == set(range(16))
    assert {record.half for record in parties["toy-model (local)"].values()} == {"public", "sealed", "twin"}
    reviewer = KeyPair.generate("Ann")
    header = stage.paper.header.model_copy(update={"reviewers": (reviewer.public,)})
    sealing = [e.model_copy(update={"body": {**e.body, "paper_id": header.paper_id}})
               for e in stage.ledger.entries() if e.kind == "paper"]  # fmt: skip
    records = exposures(PaperLog(sealing, header))
    assert {r.index for r in records if r.party == reviewer.public.label} == set(range(8))


def test_reruns_and_openings_count_too(stage, tmp_path):
    certificate = stage.certificate(ToyModel())
    again = ToyModel(kind="remote", name="toy-model")
    rerun(
        stage.root / "sitting" / "certificate.json", paper=stage.papers, generator=again,
        task=stage.task, runner=KeyPair.generate("Stranger"), output=tmp_path / "rerun.json", examiner=stage.examiner,
        ledger=stage.ledger,
    )  # fmt: skip
    sealed_place = next(o.index for o in certificate.result.outcomes if o.half == "sealed")
    assert sealed_place not in by_party(stage)[EVERYBODY]
    reveal(
        paper=stage.papers, registration=certificate.registration, journal=stage.root / "sitting" / "answers.jsonl",
        examiner=stage.examiner, ledger=stage.ledger, index=sealed_place, reason="dispute", output=tmp_path / "o.json",
    )  # fmt: skip
    parties = by_party(stage)
    assert parties["toy-model (remote)"][sealed_place].has
    assert parties[EVERYBODY][sealed_place].half == "sealed"


def test_seen_twice_is_counted_and_summed(stage):
    stage.certificate(ToyModel(kind="remote"), name="a")
    second = stage.register(ToyModel(kind="remote"), hypothesis="again")
    stage.sit(ToyModel(kind="remote"), second, "b")
    records = exposures(PaperLog(stage.ledger.entries(), stage.paper.header))
    assert {record.times for record in records if record.party == "toy-model (remote)"} == {2}
    parties = {party.party: party for party in summarise(records)}
    assert parties["toy-model (remote)"].counts == {"public": 10, "sealed": 10}
    assert parties[EVERYBODY].counts == {"public": 10}
    assert next(iter(parties)) in (EVERYBODY, stage.examiner.public.label)


def test_forged_entries_expose_nobody(stage):
    stage.certificate(ToyModel())
    body = {
        **stage.ledger.find("access")[0].body,
        "reader": ToyModel(name="forged", kind="remote").describe().to_json(),
    }
    stage.ledger.append("access", body, stage.maker)  # not by one who can open the paper
    assert "forged (remote)" not in by_party(stage)


def test_a_paper_of_another_ledger(stage, tmp_path):
    with pytest.raises(ProcedureError, match="not in the ledger"):
        exposures(PaperLog(Ledger(tmp_path / "none.jsonl").entries(), stage.paper.header))


def test_the_word_of_who_cannot_open_the_paper_is_unconfirmed(tmp_path):
    rita = KeyPair.generate("Rita Recipient")
    stage = make_stage(tmp_path, terms=PaperTerms(recipients=(rita.public,)))
    header = stage.paper.header
    body = {"paper_id": header.paper_id, "places": [3, 3, True, -1, 10**6, "4", None], "public": "all"}
    before = by_party(stage)
    foreign = [stage.ledger.append(kind, body, stage.maker) for kind in ("reveal", "access", "open", "answers")]
    stage.ledger.append("reveal", {**body, "paper_id": "sha256:" + "0" * 64}, stage.maker)  # of another paper
    assert [other.entry.index for other in unconfirmed(PaperLog(stage.ledger.entries(), header))] == [
        e.index for e in foreign
    ]
    assert by_party(stage) == before
    stage.ledger.append("reveal", body, rita)  # can show what she can open
    assert len(unconfirmed(PaperLog(stage.ledger.entries(), header))) == len(foreign)
    had = before[EVERYBODY][3].times if 3 in before[EVERYBODY] else 0
    assert by_party(stage)[EVERYBODY][3].times == had + 1
    assert {*by_party(stage)[EVERYBODY]} == {*before[EVERYBODY], 3}


def test_the_ledgers_order_says_who_saw_a_problem_first_whatever_clocks_say(stage):
    for name, time in (("a", "2099-01-01T00:00:00.000Z"), ("b", IMPOSSIBLE[0]), ("c", "2001-01-01T00:00:00.000Z")):
        info = ToyModel(name=name, kind="remote").describe()
        body = {"paper_id": stage.paper.header.paper_id, "reader": info.to_json(), "public": [0], "sealed": []}
        append_at(stage.ledger, time, stage.examiner, "access", body)
    records = exposures(PaperLog(stage.ledger.entries(), stage.paper.header))
    seen = [(record.party, record.entry) for record in records if record.index == 0 and "remote" in record.party]
    assert seen == [("a (remote)", 1), ("b (remote)", 2), ("c (remote)", 3)]
    parties = summarise(reversed(records))
    assert [party.entry for party in parties] == sorted(party.entry for party in parties)
    assert [party.party for party in parties][-3:] == ["a (remote)", "b (remote)", "c (remote)"]
