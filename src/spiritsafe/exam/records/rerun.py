"""Re-runs: what a third party found when it sat the paper again."""

from __future__ import annotations

from typing import Literal

from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Digest, Record, Timestamp
from spiritsafe.exam.records.result import Half
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.ledger import PublicKey, Signature
from spiritsafe.stats import Estimate, GapTest, PairedDifference


class Comparison(Record):
    """Two models on the same paper, problem by problem; first minus second.

    Attributes:
        sealed: The difference that is the models'.
        public: The difference on the published half.
        studying: Public difference minus sealed difference: what studying the public half added.
        statement: The last one in plain words.
    """

    paper_id: Digest
    first: str
    second: str
    sealed: PairedDifference
    public: PairedDifference
    studying: GapTest
    statement: str


class RerunItem(Record):
    """One try asked again."""

    index: int
    sample_index: int
    status: OutcomeStatus
    original: OutcomeStatus


class RerunReport(Record):
    """A second party's repetition of a sitting.

    Attributes:
        same_digest: The generator names the registered digest; an endpoint cannot, nobody sees its weights.
        halves: What was asked again.
        agreement: Share of tries that are right in both or wrong in both.
        difference: Rerun minus original.
        agrees: The interval of the difference includes 0.
        statement: The finding in plain words.
    """

    format: Literal["spiritsafe.rerun/1"] = "spiritsafe.rerun/1"
    certificate: Digest
    paper_id: Digest
    generator: GeneratorInfo
    same_digest: bool
    halves: tuple[Half, ...]
    items: tuple[RerunItem, ...]
    agreement: Estimate
    difference: PairedDifference
    agrees: bool
    statement: str
    finished: Timestamp
    runner: PublicKey
    software: dict[str, str]


class CounterSignedRerun(Record):
    """A rerun report with its runner's signature; the file ``rerun.json``."""

    report: RerunReport
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return self.report.canonical()
