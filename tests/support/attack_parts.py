"""What the attack suite shares: an exam to attack, a keeper who tells the ledger anew, and how an attack is caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from exam_parts import Forger, Stage, ToyModel, make_stage

from spiritsafe.exam import StepResult
from spiritsafe.exam.entries.registrations import registration_entry
from spiritsafe.exam.paper.files import paper_entry
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.results.certificate import issue_certificate
from spiritsafe.ledger import GENESIS, KeyPair, Ledger, witness
from spiritsafe.ledger.records import LedgerEntry, Signature

MALLORY = KeyPair.generate("Mallory")
WANDA = KeyPair.generate("Wanda Witness")

Line = tuple[LedgerEntry, KeyPair]


def caught(steps: Sequence[StepResult], name: str, words: str) -> StepResult:
    """The step that caught the attack: the first that failed, by name and in these words."""
    bad = next((step for step in steps if not step.ok), None)
    assert bad is not None, "the attack went through"
    assert bad.checked
    assert bad.name == name, f"caught by step {bad.number} ({bad.name}): {bad.detail}"
    assert words in bad.detail, bad.detail
    return bad


def passes(steps: Sequence[StepResult]) -> None:
    """Nothing is found: what the threat model says remains."""
    assert [step for step in steps if not step.ok] == []


def exam(root: Path, *, count: int = 8) -> Forger:
    """A third-party exam of a model, beside a failure and a rival, with Wanda's witness ledger of it all."""
    stage = make_stage(root, count=count)
    certificate = stage.certificate(ToyModel())
    stage.certificate(ToyModel(name="a failure", skill=0.0), name="failure")
    stage.certificate(ToyModel(name="rival", skill=1.0), name="rival")
    look(stage)
    return Forger(stage, certificate)


def look(stage: Stage) -> Path:
    """Wanda witnesses the ledger as it is now."""
    own = stage.root / "wanda.jsonl"
    witness(Ledger(stage.ledger.path), own=Ledger(own), key=WANDA, name="exams")
    return own


def tell_anew(stage: Stage, change: Callable[[list[LedgerEntry]], list[LedgerEntry]]) -> None:
    """What a keeper with all keys can do: another history, each entry chained and signed afresh, at its old time."""
    keys = {key.public.signing: key for key in (stage.maker, stage.examiner)}
    previous, lines = GENESIS, []
    for index, entry in enumerate(change(list(stage.ledger.entries()))):
        draft = entry.model_copy(update={"index": index, "previous": previous})
        key = keys[entry.signature.key]
        signed = draft.model_copy(update={"signature": key.sign("ledger-entry", draft.signed_bytes())})
        previous = signed.content_digest
        lines.append(signed.canonical() + b"\n")
    stage.ledger.path.write_bytes(b"".join(lines))
    stage.ledger = Ledger(stage.ledger.path)


def reissue(forger: Forger, name: str = "sitting") -> Certificate:
    """The examiner certifies the result again, over the ledger as it is now."""
    stage, old = forger.stage, forger.certificate
    certificate = issue_certificate(
        ledger=stage.ledger,
        header=old.paper,
        registration=old.registration,
        result=old.result,
        paper_entry=paper_entry(stage.ledger, stage.paper),
        registration_entry=registration_entry(stage.ledger, old.registration),
        examiner=stage.examiner,
        host=stage.examiner,
    )
    (stage.root / name / "certificate.json").write_bytes(certificate.canonical())
    return certificate


def about(entry: LedgerEntry, words: str, stage: Stage) -> bool:
    """Whether an entry is about the registration of the model of this name."""
    named = {
        str(other.body["digest"])
        for other in stage.ledger.entries()
        if other.kind == "registration" and words in str(other.body["registration"])
    }
    return str(entry.body.get("digest", entry.body.get("registration"))) in named


NO_SIGNATURE = Signature(key="0" * 64, value="0" * 128)
