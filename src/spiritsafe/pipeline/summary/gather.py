"""Stage "report": everything a run left behind becomes one record, one page and one table.

Reads only public files of the run directory: certificates, lineages, curves, counts. Exam problems appear nowhere;
sample transcripts are attempts at training problems.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from spiritsafe import __version__
from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SourceError, SpiritsafeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.process.limits import usable_cores
from spiritsafe.core.process.platforms import in_a_row
from spiritsafe.exam import host_software
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.costs import partly_predicted, predicted_memory
from spiritsafe.pipeline.plan.known import forecast_of_run
from spiritsafe.pipeline.plan.memory import WITHOUT_ACTIVATIONS
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import lineage_of
from spiritsafe.pipeline.step import step_of
from spiritsafe.pipeline.summary.exams import certificates_of, exam_part
from spiritsafe.pipeline.summary.inputs import inputs_of
from spiritsafe.pipeline.summary.ladder import rungs
from spiritsafe.pipeline.summary.steps import made_rows, measured_by, reinforced_steps
from spiritsafe.pipeline.summary.transcripts import transcripts
from spiritsafe.report import (
    AccuracyPoint,
    LossPoint,
    MemoryUse,
    ReportData,
    RunInfo,
    Stage,
    TrainingCurve,
    write_report,
)
from spiritsafe.stats import clopper_pearson_interval

REPORT_FILE = "report.html"
_DATA_FILE = "report.json"


def write_summary(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Gather, write ``report.json`` in the stage and ``report.html`` in the run directory."""
    data = _gather(context)
    write_json(stage.path / _DATA_FILE, data.to_json())
    write_report(context.run.path / REPORT_FILE, data)
    return {"summary": REPORT_FILE}


def report_data(run: Path) -> ReportData:
    """What a finished run's report says.

    Raises:
        SourceError: The run is not finished.
        IntegrityError: The report is damaged, or of another version.
    """
    found = sorted(run.glob(f"stages/*-report/{_DATA_FILE}"))
    if not found:
        raise SourceError(f"{run} has no report yet.", hint="Finish the run first: spiritsafe run RECIPE.")
    return StageDirectory(found[-1].parent, {}).read(_DATA_FILE, ReportData)


def rebuild_report(run: Path) -> Path:
    """Write a finished run's page again from its records.

    Raises:
        SourceError: The run is not finished.
        IntegrityError: The report is damaged, or of another version.
    """
    write_report(run / REPORT_FILE, report_data(run))
    return run / REPORT_FILE


def _gather(context: RunContext) -> ReportData:
    recipe = context.recipe
    certificates = {exam.name: certificates_of(context, exam) for exam in recipe.exams}
    software = [dict(one.result.software) for issued in certificates.values() for one in issued.values()]
    measured, compute = measured_by(context)
    return ReportData(
        run=RunInfo(
            name=recipe.name,
            recipe=context.run.hash,
            finished=datetime.now(UTC),
            machine=_machine(),
            versions=software[0] if software else host_software(),
            command=f"spiritsafe run {shlex.quote(recipe.name)}",
            **_platforms(context),
        ),
        inputs=inputs_of(context),
        stages=_stages(context),
        curves=tuple(_curves(context)),
        ladder=rungs(context),
        made=made_rows(context),
        reinforced=reinforced_steps(context, certificates),
        measured=measured,
        compute=compute,
        exams=tuple(exam_part(context, exam, certificates[exam.name]) for exam in recipe.exams),
        transcripts=transcripts(context),
        memory=tuple(memory_uses(context, _numbers(context, "stage", "peak_bytes"))),
        lineage=tuple(lineage_of(context, node.name) for node in recipe.all_models),
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
            yield _curve(context, node.name, loss_name)


def _curve(context: RunContext, name: str, loss_name: str) -> TrainingCurve:
    points = read_json(context.stage(name).path / "curve.json")
    losses, accuracies, tokens = [], [], 0
    for point in points:
        tokens += int(point["tokens"])
        losses.append(LossPoint(step=point["step"], num_tokens=tokens, loss=point["loss"]))
        evaluation = point.get("evaluation")
        if evaluation:
            right, count = int(evaluation["dev_right"]), int(evaluation["dev_problems"])
            estimate = clopper_pearson_interval(right, count, confidence=context.recipe.confidence)
            accuracies.append(AccuracyPoint(step=point["step"], num_tokens=tokens, score=estimate))
    return TrainingCurve(stage=name, loss_name=loss_name, losses=tuple(losses), accuracies=tuple(accuracies))


def memory_uses(context: RunContext, peaks: Mapping[str, int]) -> list[MemoryUse]:
    """The plan's predictions beside the peaks that stages measured; what cannot be predicted is told, nothing is lost.

    Args:
        peaks: Measured bytes of stages.
    """
    try:
        forecast = forecast_of_run(context)
        predicted, partial = predicted_memory(forecast), partly_predicted(forecast)
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
