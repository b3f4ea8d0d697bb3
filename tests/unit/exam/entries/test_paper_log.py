from __future__ import annotations

from typing import final

from exam_parts import Stage, ToyModel

from spiritsafe.exam.entries.accesses import AccessEntry
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.entries.registrations import RegistrationEntry, ResultEntry
from spiritsafe.ledger import KeyPair

MALLORY = KeyPair.generate("Mallory")


@final
class AuditEntry(PaperEntry):
    """A kind that only this test knows: somebody with a key to the paper looked it over."""

    kind = "audit"
    signer = "opener"
    num_read = 0

    def is_whole(self) -> bool:
        AuditEntry.num_read += 1
        return self.says(sound=True)


def log_of(stage: Stage) -> PaperLog:
    return PaperLog(stage.ledger.entries(), stage.paper.header)


def test_a_kind_that_nobody_knew_is_one_class(stage: Stage) -> None:
    """Read once, counted by its signer, and told where it only looks like one."""
    paper = {"paper_id": stage.paper.header.paper_id}
    bodies = [paper | {"sound": True, "registration": "a"}, paper | {"sound": True, "registration": "b"}]
    first, second = (stage.ledger.append("audit", body, stage.examiner) for body in bodies)
    forged = stage.ledger.append("audit", bodies[0], MALLORY)
    broken = stage.ledger.append("audit", paper, stage.examiner)
    stage.ledger.append("audit", {**bodies[0], "paper_id": "sha256:" + "0" * 64}, stage.examiner)  # of another paper
    stage.ledger.append("note", bodies[0], stage.examiner)
    log, AuditEntry.num_read = log_of(stage), 0
    assert log.of(AuditEntry) == [AuditEntry(first), AuditEntry(second)]
    assert log.of(AuditEntry, sitting="b") == [AuditEntry(second)]
    assert log.of(AuditEntry, sitting="") == []
    assert [(o.entry, o.why) for o in log.ignored(AuditEntry)] == [(forged, "another key"), (broken, "malformed")]
    assert [o.entry.index for o in log.ignored(AuditEntry, sitting="a")] == [forged.index]
    assert log.before(second.index).of(AuditEntry) == [AuditEntry(first)]
    assert AuditEntry.num_read == 4 + 1  # each once, and those of the log of before


def test_kinds_come_together_in_ledger_order(stage: Stage) -> None:
    certificate = stage.certificate(ToyModel())
    stage.register(ToyModel(name="other"))
    found = log_of(stage).of(ResultEntry, RegistrationEntry, AccessEntry)
    assert [entry.kind for entry in found] == ["registration", "access", "result", "registration"]
    assert [entry.index for entry in found] == sorted(entry.index for entry in found)
    own = certificate.registration.content_digest
    kinds = [entry.kind for entry in log_of(stage).of(RegistrationEntry, ResultEntry, sitting=own)]
    assert kinds == ["registration", "result"]


def test_what_names_a_registration_need_not_name_the_paper(stage: Stage) -> None:
    """A digest of a registration stands for its paper: who leaves the paper out hides no result."""
    digest = stage.register(ToyModel()).content_digest
    entry = stage.ledger.append("result", {"registration": digest}, stage.examiner)
    assert log_of(stage).of(ResultEntry, sitting=digest) == [ResultEntry(entry)]
    assert not log_of(stage).of(AccessEntry, sitting=digest)


def test_values_of_another_type_are_none(stage: Stage) -> None:
    body = {"registration": [], "text": 7, "list": [1, True, "2", None, 3], "share": True, "more": 1.5, "half": 0.5}
    entry = AuditEntry(stage.ledger.append("audit", body, MALLORY))
    assert (entry.sitting, entry.text("text"), entry.text("none")) == ("", "", "")
    assert entry.places("list", "text", "none") == {1, 3}
    assert [entry.share(name) for name in ("share", "more", "text", "none", "half")] == [None, None, None, None, 0.5]
    assert entry.says(half=0.5, none=None)
    assert not entry.says(half=0.5, text=None)
    assert (entry.key, entry.time) == (MALLORY.public.signing, entry.entry.time)
