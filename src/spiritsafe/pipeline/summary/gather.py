"""Stage "report": everything a run left behind becomes one record, one page and one table.

Reads only public files of the run directory: certificates, lineages, curves, counts. Exam problems appear nowhere;
sample transcripts are the teacher's attempts at training problems.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from spiritsafe import __version__
from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SourceError, SpiritsafeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.process.limits import usable_cores
from spiritsafe.core.process.platforms import in_a_row
from spiritsafe.core.records import Checkpoint, instant
from spiritsafe.exam import compare, right_answers
from spiritsafe.exam.records import Certificate, ExamResult, Half
from spiritsafe.models import find_source, read_checkpoint, read_model_config
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import WITHOUT_ACTIVATIONS
from spiritsafe.pipeline.plan.peaks import partly_predicted, predicted_memory
from spiritsafe.pipeline.plan.suitability import own_sources
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.exam import certificate_of, examinees, ledger_path, paper_path
from spiritsafe.pipeline.stages.source import base_directory
from spiritsafe.pipeline.step import step_of
from spiritsafe.pipeline.summary.promises import promises_of
from spiritsafe.pipeline.summary.steps import comparisons, made_rows, reinforced_steps, start_words
from spiritsafe.pipeline.summary.transcripts import transcripts
from spiritsafe.report import (
    AccuracyPoint,
    CertificateReference,
    DataInfo,
    ExamPart,
    ExamScore,
    Inputs,
    LossPoint,
    MemoryUse,
    Outcomes,
    PublicHalf,
    ReportData,
    Role,
    Rung,
    RunInfo,
    Source,
    Stage,
    TraceCounts,
    TrainingCurve,
    VerificationStep,
    VerificationSummary,
    terminal_summary,
    write_report,
)
from spiritsafe.stats import clopper_pearson_interval, gain_kept
from spiritsafe.tasks import load_task

REPORT_FILE = "report.html"
_DATA_FILE = "report.json"
_HALVES: tuple[Half, ...] = ("sealed", "public")


def write_summary(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Gather, write ``report.json`` in the stage and ``report.html`` in the run directory."""
    data = _gather(context)
    write_json(stage.path / _DATA_FILE, data.to_json())
    write_report(context.run.path / REPORT_FILE, data)
    return {"summary": REPORT_FILE}


def _data_of(run: Path) -> ReportData:
    found = sorted(run.glob(f"stages/*-report/{_DATA_FILE}"))
    if not found:
        raise SourceError(f"{run} has no report yet.", hint="Finish the run first: spiritsafe run RECIPE.")
    return ReportData.from_json(read_json(found[-1]))


def rebuild_report(run: Path) -> Path:
    """Write a finished run's page again from its records.

    Raises:
        SourceError: The run is not finished.
    """
    write_report(run / REPORT_FILE, _data_of(run))
    return run / REPORT_FILE


def terminal_summary_of(run: Path) -> str:
    """A finished run's ladder as plain text.

    Raises:
        SourceError: The run is not finished.
    """
    return terminal_summary(_data_of(run))


def _gather(context: RunContext) -> ReportData:
    exam = context.stage("exam")
    models = examinees(context)
    certificates = {name: certificate_of(exam, name) for name, _ in models}
    checkpoints = {name: read_checkpoint(directory) for name, directory in models}
    recipe = context.recipe
    header = certificates["base"].paper
    return ReportData(
        run=RunInfo(
            name=recipe.name,
            recipe=context.run.hash,
            finished=datetime.now(UTC),
            machine=_machine(),
            versions=dict(certificates["base"].result.software),
            command=f"spiritsafe run {shlex.quote(recipe.name)}",
            **_platforms(context),
        ),
        inputs=Inputs(
            sources=(_source(recipe.source.model, checkpoints["base"]), *_own_sources(context)),
            data=(_data_info(context),),
            traces=_trace_counts(context),
        ),
        stages=_stages(context),
        curves=tuple(_curves(context)),
        ladder=tuple(_rung(name, recipe, checkpoints[name]) for name, _ in models),
        made=made_rows(context),
        reinforced=reinforced_steps(context, certificates),
        exams=(
            ExamPart(
                name="exam",
                task=header.task,
                paper=header.paper_id,
                num_sealed=header.num_sealed,
                num_public=header.num_public,
                scores=tuple(_score(name, recipe, certificates) for name, _ in models),
                outcomes=tuple(_outcomes(name, c, half) for name, c in certificates.items() for half in _HALVES),
                versus=comparisons(context, certificates),
                verification=_verification(context, certificates),
            ),
        ),
        transcripts=transcripts(context),
        memory=tuple(memory_uses(context, _numbers(context, "stage", "peak_bytes"))),
        lineage=tuple(checkpoints.values()),
    )


def _platforms(context: RunContext) -> dict[str, tuple[str, ...]]:
    """What computed, and which stages more than one did; nothing where one platform did all."""
    by_stage = context.platforms()
    row = in_a_row(by_stage.values())
    if len(row) < 2:
        return {}
    return {
        "platforms": tuple("a platform that was not recorded" if one is None else one.text() for one in row),
        "mixed_stages": tuple(name for name, platforms in by_stage.items() if len(platforms) > 1),
    }


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass  # not Linux: the architecture's name must do
    cores = usable_cores()
    return f"{cpu}, {cores} cores, {platform.system()}, Python {platform.python_version()}, spiritsafe {__version__}"


def _source(spec: str, checkpoint: Checkpoint) -> Source:
    return Source(
        name=checkpoint.name,
        spec=spec,
        digest=checkpoint.digest,
        license=checkpoint.license,
        num_parameters=checkpoint.num_parameters,
        weight_bytes=checkpoint.weight_bytes,
    )


def _own_sources(context: RunContext) -> list[Source]:
    """What students of another family started from, as far as it is still in the cache."""
    found = []
    for spec in own_sources(context.recipe):
        with suppress(SourceError):  # it may have been moved since: a report does not fail for that
            place = find_source(spec, cache=context.cache)
            found += [] if place is None else [_source(spec, read_checkpoint(place))]
    return found


def _data_info(context: RunContext) -> DataInfo:
    task = load_task(context.recipe.task.spec)
    example = next(islice(task.problems("train", seed=context.seed("train"), count=1), 1))
    return DataInfo(
        name="task",
        origin=task.name,
        verifier=task.verifier.name,
        version=task.verifier.version,
        example=example.messages[-1].content,
    )


def _trace_counts(context: RunContext) -> tuple[TraceCounts, ...]:
    counts: dict[str, Any] = dict(context.stage("traces").result()["counts"])  # type: ignore[arg-type]  # written by write_worked_traces
    rows = [
        TraceCounts(
            origin=f"worked solutions ({name})",
            num_asked=value["asked"],
            num_verified=value["verified"],
            dropped=value["dropped"],
        )
        for name, value in counts.items()
    ]
    for node in context.recipe.listed:
        origin = step_of(node).words(node).origin
        if origin is not None and node.stage in context.done:
            value = dict(context.stage(node.stage).result())
            kept = {"num_asked": value["asked"], "num_verified": value["verified"], "dropped": value["dropped"]}
            rows.append(TraceCounts.from_json({"origin": origin, **kept}))
    return tuple(rows)


def _stages(context: RunContext) -> tuple[Stage, ...]:
    seconds: dict[str, float] = {}
    for event in read_json_lines(context.run.events):
        if event.get("kind") == "stage":
            seconds[event["stage"]] = event["seconds"]
    rows = []
    for name, stage in context.done.items():
        tokens = stage.result().get("tokens")
        rows.append(
            Stage(
                name=name,
                seconds=seconds.get(name, 0.0),
                num_tokens_trained=tokens if isinstance(tokens, int) else None,
            )
        )
    return tuple(rows)


def _curves(context: RunContext) -> Iterator[TrainingCurve]:
    for node in context.recipe.made:
        loss_name = step_of(node).words(node).loss
        if loss_name is not None:
            yield _curve(context, node.stage, loss_name)


def _curve(context: RunContext, name: str, loss_name: str) -> TrainingCurve:
    points = read_json(context.stage(name).path / "curve.json")
    losses, accuracies, tokens = [], [], 0
    for point in points:
        tokens += int(point["tokens"])
        losses.append(LossPoint(step=point["step"], num_tokens=tokens, loss=point["loss"]))
        evaluation = point.get("evaluation")
        if evaluation:
            right, count = int(evaluation["dev_right"]), int(evaluation["dev_problems"])
            estimate = clopper_pearson_interval(right, count, confidence=context.recipe.exam.confidence)
            accuracies.append(AccuracyPoint(step=point["step"], num_tokens=tokens, score=estimate))
    return TrainingCurve(stage=name, loss_name=loss_name, losses=tuple(losses), accuracies=tuple(accuracies))


def _role(node: Node | None) -> Role:
    if node is None:
        return "base"
    return step_of(node).words(node).role if node.control is None else "control"


def _node(name: str, recipe: Recipe) -> Node | None:
    return next((node for node in recipe.made if node.name == name), None)


def _rung(name: str, recipe: Recipe, checkpoint: Checkpoint) -> Rung:
    return Rung(
        name=name,
        role=_role(_node(name, recipe)),
        num_parameters=checkpoint.num_parameters,
        weight_bytes=checkpoint.weight_bytes,
    )


def _score(name: str, recipe: Recipe, certificates: dict[str, Certificate]) -> ExamScore:
    node = _node(name, recipe)
    mine, base = certificates[name], certificates["base"]
    start = certificates.get(start_words(node) or "") if node else None
    result = mine.result
    comparison = None if name == "base" else compare(mine, base)
    kept = None
    kept_of = None if node is None else step_of(node).words(node).gain_of
    if kept_of is not None:
        teacher = certificates[kept_of]
        right = [right_answers(certificate.result.outcomes, "sealed") for certificate in (mine, teacher, base)]
        kept = gain_kept(*right, confidence=result.sealed.accuracy.confidence)
    return ExamScore(
        model=name,
        tokens_per_s=_speed(result),
        sealed=result.sealed.accuracy,
        change=None if comparison is None else comparison.sealed.difference,
        against=None if comparison is None else "base",
        gain=None if start is None else compare(mine, start).sealed.difference,
        gain_kept=kept,
        public=PublicHalf(
            score=result.public.accuracy,
            gap=result.gap,
            statement=result.gap_statement,
            gain_statement=None if comparison is None else comparison.statement,
        ),
    )


def _speed(result: ExamResult) -> float | None:
    """Tokens a second over the whole sitting, grading included; None when it was interrupted, or its clock wrong."""
    started, finished = instant(result.started), instant(result.finished)
    seconds = (finished - started).total_seconds() if started and finished else 0.0
    return result.num_tokens / seconds if seconds > 0 and result.openings == 1 else None


def _outcomes(name: str, certificate: Certificate, half: Half) -> Outcomes:
    result = certificate.result.sealed if half == "sealed" else certificate.result.public
    return Outcomes(model=name, half=half, counts=dict(result.counts))


def memory_uses(context: RunContext, peaks: Mapping[str, int]) -> list[MemoryUse]:
    """The plan's predictions beside the peaks that stages measured; what cannot be predicted is told, nothing is lost.

    Args:
        peaks: Measured bytes of stages.
    """
    recipe = context.recipe
    try:
        config = read_model_config(base_directory(context))
        places = {spec: find_source(spec, cache=context.cache) for spec in own_sources(recipe)}
        sources = {spec: read_model_config(place) for spec, place in places.items() if place is not None}
        predicted = predicted_memory(recipe, config, sources=sources)
        partial = partly_predicted(recipe, config, sources)
        copies = _numbers(context, "checkpoint", "copied_bytes")  # made where there was memory to spare
    except (SpiritsafeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        said = error.message if isinstance(error, SpiritsafeError) else f"{type(error).__name__}: {error}"
        return [
            MemoryUse(what=name, measured_bytes=peak, note=f"not predicted: {said}"[:300])
            for name, peak in peaks.items()
        ]
    return [
        MemoryUse(
            what=name,
            predicted_bytes=size + copies.get(name, 0),
            measured_bytes=peaks.get(name),
            note=WITHOUT_ACTIVATIONS if name in partial else "",
        )
        for name, size in predicted.items()
    ]


def _numbers(context: RunContext, kind: str, what: str) -> dict[str, int]:
    """The newest number that each stage told in its events of a kind."""
    path = context.run.events
    return {
        event["stage"]: event[what]
        for event in (read_json_lines(path) if path.exists() else [])
        if event.get("kind") == kind and event.get(what)
    }


def _verification(context: RunContext, certificates: dict[str, Certificate]) -> VerificationSummary:
    def relative(path: Path) -> str:
        return path.relative_to(context.run.path).as_posix()

    exam = context.stage("exam").path
    paper = relative(paper_path(context) / "paper.json")
    ledger = relative(ledger_path(context))
    steps = [
        VerificationStep(
            text="Check a certificate: each hash, signature, count and interval is recomputed; no network, no model.",
            command=f"spiritsafe exam verify {relative(exam / 'teacher.certificate.json')} "
            f"--paper {paper} --ledger {ledger}",
        ),
        VerificationStep(
            text="Repeat the public half with the same model behind any OpenAI-compatible server.",
            command=f"spiritsafe exam rerun {relative(exam / 'teacher.certificate.json')} --paper {paper} "
            "--endpoint http://127.0.0.1:8000 --endpoint-model NAME --key me.json --out rerun.json",
        ),
        VerificationStep(text="Repeat the whole run.", command=f"spiritsafe run {context.recipe.name}"),
    ]
    head = list(certificates.values())[-1].head
    return VerificationSummary(
        separation=certificates["base"].separation,
        steps=tuple(steps),
        certificates=tuple(
            CertificateReference(
                model=name,
                digest=certificate.content_digest,
                path=relative(exam / f"{name}.certificate.json"),
                statements=certificate.statements,
                promises=promises_of(context, name, certificate),
            )
            for name, certificate in certificates.items()
        ),
        ledger_head=head.root,
    )
