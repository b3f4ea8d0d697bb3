"""What the tests of disputes share: a wrong answer, disputed, revealed, edited; a forger with the examiner's key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exam_parts import Stage, ToyModel, make_stage

from spiritsafe.core.canonical import canonical_json
from spiritsafe.exam import (
    StepResult,
    accept_dispute,
    file_dispute,
    open_paper,
    publish_answers,
    reissue,
    reveal,
    verify,
)
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.review import Dispute
from spiritsafe.ledger import KeyPair
from spiritsafe.ledger.records import LedgerEntry

DORA = KeyPair.generate("Dora Disputer")
MALLORY = KeyPair.generate("Mallory")
ZERO = "sha256:" + "0" * 64


@dataclass
class Case:
    """A stage with a certificate whose grades are disputed."""

    stage: Stage
    certificate: Certificate
    name: str = "sitting"

    @property
    def path(self) -> Path:
        return self.stage.root / self.name / "certificate.json"

    def places(self, status: str, half: str = "sealed") -> list[int]:
        """Of the problems whose first try ended so."""
        wanted = (status, half, 0)
        return [o.index for o in self.certificate.result.outcomes if (o.status, o.half, o.sample_index) == wanted]

    def dispute(self, index: int, proposed: str = "correct", author: KeyPair = DORA, **options: Any) -> Dispute:
        return file_dispute(
            **{
                "certificate": self.certificate, "ledger": self.stage.ledger, "author": author, "index": index,
                "proposed": proposed, "reason": "The answer is right.", **options,
            }
        )  # fmt: skip

    def reveal(self, index: int, sample: int = 0) -> Path:
        output = self.stage.root / f"revealed-{index}-{sample}.json"
        reveal(
            paper=self.stage.papers, registration=self.certificate.registration, examiner=self.stage.examiner,
            journal=self.stage.root / self.name / "answers.jsonl", ledger=self.stage.ledger, index=index,
            sample_index=sample, reason="disputed", output=output,
        )  # fmt: skip
        return output

    def accept(self, dispute: Dispute, status: str = "correct", **options: Any) -> LedgerEntry:
        return accept_dispute(
            **{
                "certificate": self.certificate, "ledger": self.stage.ledger, "examiner": self.stage.examiner,
                "dispute": dispute.content_digest, "status": status, "reason": "The gold answer was wrong.", **options,
            }
        )  # fmt: skip

    def edit(self, index: int, status: str = "correct") -> LedgerEntry:
        """Disputed, revealed, edited."""
        dispute = self.dispute(index, status)
        self.reveal(index)
        return self.accept(dispute, status)

    def reissue(self, **options: Any) -> Certificate:
        return reissue(
            options.pop("certificate", self.path),
            **{
                "paper": self.stage.papers, "ledger": self.stage.ledger, "examiner": self.stage.examiner,
                "output": self.stage.root / "reissued.json", **options,
            },
        )  # fmt: skip

    def open(self, **options: Any) -> Path:
        directory = self.stage.root / "opened"
        open_paper(
            **{
                "paper": self.stage.papers, "examiner": self.stage.examiner, "ledger": self.stage.ledger,
                "reason": "after a year", "directory": directory, **options,
            }
        )  # fmt: skip
        return directory

    def publish(self, **options: Any) -> Path:
        return publish_answers(
            **{
                "paper": self.stage.papers, "certificate": self.certificate, "examiner": self.stage.examiner,
                "journal": self.stage.root / self.name / "answers.jsonl", "ledger": self.stage.ledger,
                "directory": self.stage.root / "opened", **options,
            }
        )[1]  # fmt: skip

    def verify(self, path: Path | None = None, **options: Any) -> list[StepResult]:
        given = {"paper": self.stage.papers, "ledger": self.stage.ledger.path, "task": self.stage.task, **options}
        return verify(path or self.path, **given)

    def detail(self, name: str, path: Path | None = None, **options: Any) -> str:
        """What a step found, all steps being good."""
        steps = self.verify(path, **options)
        assert [step for step in steps if not step.ok] == []
        return next(step.detail for step in steps if step.name == name)

    def failure(self, path: Path | None = None, **options: Any) -> tuple[str, str]:
        """Name and detail of the first step that failed."""
        bad = [step for step in self.verify(path, **options) if not step.ok]
        assert bad, "the forgery went through"
        return bad[0].name, bad[0].detail

    def forge(self, value: dict[str, Any], name: str = "forged.json") -> Path:
        """A certificate signed with the examiner's key, whatever it says."""
        unsigned = {key: item for key, item in value.items() if key != "signatures"}
        signature = self.stage.examiner.sign("certificate", canonical_json(unsigned))
        path = self.stage.root / name
        path.write_bytes(canonical_json({**unsigned, "signatures": [signature.to_json()]}))
        return path


def make_case(root: Path, *, count: int = 12, num_tries: int = 1, **terms: Any) -> Case:
    stage = make_stage(root, count=count)
    return Case(stage, stage.certificate(ToyModel(skill=0.5), num_tries=num_tries, **terms))
