"""Records of what an examiner found beside the sittings: overlap with training files, signs of memory.

Both are signed, named in the ledger by their digest, and hold numbers only. What would help to guess a sealed problem
is not in them: no text, no line of a file that matched, no log-probability of a single problem (with the weights, one
such number tells candidates apart); matching passages stand behind salted hashes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Digest, Hex32, Record, Timestamp
from spiritsafe.exam.records.result import Half
from spiritsafe.ledger import PublicKey, Signature
from spiritsafe.stats import Estimate

OverlapForm = Literal["words", "masked"]
OverlapKind = Literal["verbatim", "n-grams", "near"]
OverlapVerdict = Literal["sealed problems found", "undecided", "nothing found"]


class FileSeen(Record):
    """A training file as it was when it was read.

    Attributes:
        name: Its last part, as the examiner was given it.
        digest: Of its bytes.
    """

    name: str
    digest: Digest
    num_bytes: int = Field(ge=0)
    layout: Literal["json lines", "text", "json array", "csv", "parquet"]
    num_words: int = Field(ge=0)


class OverlapHit(Record):
    """A problem of the paper that was found in a file.

    Attributes:
        score: 1 for verbatim; the share of its n-grams; the Jaccard similarity of a near copy.
        whole: A message or field of the file is the problem and nothing else.
        file: Place of the file in the report's list. Not the line: whoever has the file would learn the problem.
        passage: Salted hash of the matching passage; the holder of the sealed half can open it by itself.
    """

    index: int = Field(ge=0)
    half: Half
    form: OverlapForm
    kind: OverlapKind
    score: float = Field(ge=0.0, le=1.0)
    whole: bool
    file: int = Field(ge=0)
    passage: Hex32


class OverlapFinding(Record):
    """How many problems were found in one way.

    Attributes:
        controls: Control problems found, by stratum.
        control_twins: Twins of control problems found, by stratum.
        p_public: One-sided: how often so many of the hits would fall on the public half, were its problems no more
            likely to be found than the controls. None without controls.
        p_sealed: The same of the sealed half.
        p_twins: The same of the twins against the controls' twins.
    """

    form: OverlapForm
    kind: OverlapKind
    public: int = Field(ge=0)
    sealed: int = Field(ge=0)
    twins: int = Field(ge=0)
    controls: tuple[int, ...]
    control_twins: tuple[int, ...]
    p_public: float | None
    p_sealed: float | None
    p_twins: float | None


class OverlapReport(Record):
    """What of a paper stands in training files.

    Attributes:
        about: Whose training files they are said to be.
        ngram: Words in a run of "n-grams".
        shingle: Words in a run of "near".
        enough_ngrams: From this share on "n-grams" counts as found.
        near: From this similarity on "near" counts as found.
        mask_names: The masked form hides capitalised words too, not only numbers.
        num_short: Problems with fewer words than ``ngram``.
        num_controls: Control problems by stratum; empty: none could be drawn.
        num_control_twins: The same for their twins.
        verdict: On the sealed half and the twins; the public half is everybody's.
        statements: What was found, in plain words.
    """

    format: Literal["spiritsafe.overlap/1"] = "spiritsafe.overlap/1"
    paper_id: Digest
    about: str
    files: tuple[FileSeen, ...]
    ngram: int = Field(ge=1)
    shingle: int = Field(ge=1)
    enough_ngrams: float = Field(gt=0.0, le=1.0)
    near: float = Field(gt=0.0, le=1.0)
    mask_names: bool
    num_short: int = Field(ge=0)
    num_controls: tuple[int, ...]
    num_control_twins: tuple[int, ...]
    findings: tuple[OverlapFinding, ...]
    hits: tuple[OverlapHit, ...]
    verdict: OverlapVerdict
    statements: tuple[str, ...]
    finished: Timestamp
    examiner: PublicKey
    software: dict[str, str]


class SignedOverlap(Record):
    """An overlap report with the examiner's signature; the file ``overlap.json``."""

    report: OverlapReport
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return self.report.canonical()


class ScoreTest(Record):
    """Public against sealed scores of one kind.

    Attributes:
        text: What was scored: "solution" or "final answer" (given the question), "question" (by itself).
        auc: Chance that a public problem has the higher score; one half: no difference.
        p_value: One-sided, against random re-splits.
    """

    method: str
    text: str
    auc: Estimate
    p_value: float
    num_draws: int


class OrderTest(Record):
    """The published order against shuffles.

    Attributes:
        mean_excess: Log-likelihood of the published order less the mean of its shuffles, for a shard, in nats.
        p_value: One-sided.
    """

    num_shards: int = Field(ge=1)
    shard_size: int = Field(ge=2)
    num_shuffles: int = Field(ge=1)
    mean_excess: float
    p_value: float
    num_draws: int


class MemoryReport(Record):
    """What a model's log-probabilities say of a paper. Numbers of no single problem are in it.

    Attributes:
        generator: Which weights were asked.
        has_spread: The weights gave the spread over the vocabulary, so Min-K%++ could be had.
        scores: Tests of public against sealed problems.
        order: None where the published order could not be tested.
        statements: What was found and what it is worth, in plain words.
    """

    format: Literal["spiritsafe.memory/1"] = "spiritsafe.memory/1"
    paper_id: Digest
    generator: GeneratorInfo
    has_spread: bool
    scores: tuple[ScoreTest, ...]
    order: OrderTest | None
    statements: tuple[str, ...]
    finished: Timestamp
    examiner: PublicKey
    software: dict[str, str]


class SignedMemory(Record):
    """A memory report with the examiner's signature; the file ``memory.json``."""

    report: MemoryReport
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return self.report.canonical()
