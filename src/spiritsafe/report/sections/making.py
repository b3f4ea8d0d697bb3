"""The making part of the page: what went in, stages, learning curves, memory.

In: :class:`ReportData`. Out: sections. A part that has nothing to show says so in a sentence.
"""

from __future__ import annotations

from spiritsafe.report.charts.loss_curves import MAX_POINTS, accuracy_drawing, loss_drawing
from spiritsafe.report.charts.svg import HALF, figure, share_bar
from spiritsafe.report.data.inputs import DataInfo, TraceCounts
from spiritsafe.report.data.models import Source
from spiritsafe.report.data.run import MEMORY_TOLERANCE, MemoryUse, ReportData, Stage, TrainingCurve
from spiritsafe.report.html.markup import Html, join, paragraph, section, tag
from spiritsafe.report.html.tables import nothing, numeric, plain, table, wide
from spiritsafe.report.numbers import count_text, memory_text, scaled_count, score_text, share_text, time_text
from spiritsafe.report.text.headline import confidence_text, platform_words


def inputs_section(data: ReportData) -> Html:
    """Given models, data sets, traces, papers."""
    facts: list[tuple[str, object]] = []
    for entry in data.inputs.data:
        named = f" of {entry.name}" if len(data.inputs.data) > 1 else ""
        if entry.example is not None:
            facts.append((f"Example{named}", entry.example))
        if entry.floor:
            facts.append((f"Best trivial answer{named}", f"{score_text(entry.floor)}, without reading the problem"))
    trained = [stage.num_tokens_trained for stage in data.stages if stage.num_tokens_trained is not None]
    facts.append(("Tokens trained on", count_text(sum(trained)) if trained else "none"))
    for exam in data.exams:
        named = f" of {exam.name}" if len(data.exams) > 1 else ""
        size = f"{count_text(exam.num_sealed)} sealed and {count_text(exam.num_public)} public problems"
        facts.append((f"Paper{named}", join([f"{size} from the exam bucket of ", tag("code", exam.task)])))
    return section(
        "inputs", "What went in", _sources(data), _data_sets(data), _facts(facts), _traces(data.inputs.traces)
    )


def _facts(facts: list[tuple[str, object]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")


def _sources(data: ReportData) -> Html:
    if not data.inputs.sources:
        return paragraph("No source model was recorded.")
    columns = (
        plain("Source model", "Asked for as") + numeric("Parameters", "Weights") + plain("Licence") + wide("Digest")
    )
    rows = [
        [
            tag("span", source.name, class_="model"),
            _asked_for(source),
            nothing("not known") if source.num_parameters is None else scaled_count(source.num_parameters),
            memory_text(source.weight_bytes) if source.weight_bytes else nothing("served"),
            tag("span", source.license, class_="licence"),
            tag("code", source.digest, class_="digest") if source.digest else nothing("weights not seen"),
        ]
        for source in data.inputs.sources
    ]
    return table(columns, rows, caption="Source models")


def _asked_for(source: Source) -> Html:
    spec = tag("code", source.spec) if source.spec is not None else None
    served = tag("code", source.served_as) if source.served_as is not None else None
    place = tag("code", source.endpoint) if source.endpoint is not None else None
    return join([part for part in (spec, served and join([served, " at"]), place) if part is not None], " ")


def _data_sets(data: ReportData) -> Html | None:
    if not data.inputs.data:
        return None
    columns = plain("Data") + wide("Made of") + plain("Verifier") + numeric("Problems", "Worked solutions")
    rows = [
        [
            tag("span", entry.name, class_="model"),
            _made_of(entry),
            nothing("none") if entry.verifier is None else _verifier(entry),
            nothing("not counted") if entry.num_problems is None else count_text(entry.num_problems),
            nothing(None) if entry.num_solutions is None else count_text(entry.num_solutions),
        ]
        for entry in data.inputs.data
    ]
    return table(columns, rows, caption="Data sets")


def _made_of(entry: DataInfo) -> Html:
    said = "; ".join(f"{heading}: {words}" for heading, words in entry.about.items())
    return join([tag("code", entry.origin), tag("span", said, class_="role") if said else None])


def _verifier(entry: DataInfo) -> str:
    return f"{entry.verifier}, version {entry.version}" if entry.version else str(entry.verifier)


def _traces(traces: tuple[TraceCounts, ...]) -> Html:
    if not traces:
        return paragraph("No traces were collected in this run.")
    columns = plain("Traces from") + numeric("Asked for", "Kept", "Dropped") + wide("Share kept", "Why dropped")
    rows = []
    for counts in traces:
        dropped = counts.num_asked - counts.num_verified
        whole = max(counts.num_asked, 1)
        reasons = ", ".join(f"{count_text(number)} {reason}" for reason, number in counts.dropped.items() if number)
        rows.append(
            [
                counts.origin,
                count_text(counts.num_asked),
                count_text(counts.num_verified),
                count_text(dropped),
                share_bar([("o-correct", counts.num_verified / whole), ("o-unscored", dropped / whole)]),
                reasons or "none dropped",
            ]
        )
    return table(columns, rows, caption="Traces: asked for, kept, dropped", narrow="dense")


def stages_section(data: ReportData) -> Html:
    """Where the time went."""
    if not data.stages:
        return section("stages", "Where the time went", paragraph("No stage was recorded."))
    columns = plain("Stage") + numeric("Time") + wide("Share of the time")
    whole = data.total_s or 1.0
    rows = [
        [_stage_name(stage), time_text(stage.seconds), share_bar([("m-time", stage.seconds / whole)])]
        for stage in data.stages
    ]
    lead = f"{time_text(data.total_s)} in {len(data.stages)} stages, on {data.run.machine}."
    if platforms := platform_words(data.run):
        lead = f"{lead} {platforms}"
    listed = table(columns, rows, caption="Stages and seconds", narrow="same")
    return section("stages", "Where the time went", paragraph(lead, class_="lead"), listed)


def _stage_name(stage: Stage) -> Html:
    if stage.num_tokens_trained is None:
        return tag("span", stage.name)
    return tag("span", stage.name, " ", tag("span", f"{count_text(stage.num_tokens_trained)} tokens", class_="none"))


def curves_section(data: ReportData) -> Html:
    """Loss and dev accuracy of each training stage."""
    title = "Learning curves"
    if not data.curves:
        return section("curves", title, paragraph("Nothing was trained in this run, so there are no learning curves."))
    lead = (
        "Dev accuracy is measured on the dev bucket, never on the exam; bars span "
        f"{confidence_text(point.score for curve in data.curves for point in curve.accuracies)} intervals."
    )
    parts = [_curve(f"curve-{number}", curve) for number, curve in enumerate(data.curves, start=1)]
    return section("curves", title, paragraph(lead, class_="lead"), *parts)


def _curve(anchor: str, curve: TrainingCurve) -> Html:
    figures = [_loss_figure(anchor, curve), _accuracy_figure(anchor, curve)]
    return tag("div", tag("h3", curve.stage), tag("div", *figures, class_="pairs"), class_="curves")


def _loss_figure(anchor: str, curve: TrainingCurve) -> Html:
    if not curve.losses:
        return paragraph("This stage recorded no losses.")
    first, last = curve.losses[0], curve.losses[-1]
    words = f"From {first.loss:.3g} at step {first.step} to {last.loss:.3g} at step {last.step}."
    size = -(-len(curve.losses) // MAX_POINTS)
    note = f"{words} Line: mean of {size} steps; band: smallest to largest." if size > 1 else words
    return figure(
        f"{anchor}-loss",
        title=f"Loss: {curve.loss_name}, nats per token",
        description=f"Training loss of the stage {curve.stage}. {words}",
        draw=loss_drawing(curve),
        layouts=HALF,
        note=note,
    )


def _accuracy_figure(anchor: str, curve: TrainingCurve) -> Html:
    if not curve.accuracies:
        return paragraph("Dev accuracy was not measured while this stage ran.")
    last = curve.accuracies[-1]
    words = f"Last: {score_text(last.score)} after {scaled_count(last.num_tokens)} tokens."
    return figure(
        f"{anchor}-accuracy",
        title="Dev accuracy, % of problems",
        description=f"Score on dev problems during the stage {curve.stage}, with intervals. {words}",
        draw=accuracy_drawing(curve),
        layouts=HALF,
        note=words,
    )


def memory_section(data: ReportData) -> Html:
    """Predicted against measured memory."""
    title = "Memory: predicted and measured"
    if not data.memory:
        return section("memory", title, paragraph("No memory was predicted in this run."))
    columns = (
        plain("What")
        + numeric("Predicted", "Measured", "Against the prediction")
        + wide("Predicted above, measured below")
    )
    rows = [_memory_row(use) for use in data.memory]
    missed = [use.missed for use in data.memory if use.missed]
    if missed:
        said = paragraph(f"Predictions that were off by more than {MEMORY_TOLERANCE:.0%}: {'; '.join(missed)}.")
    else:
        said = paragraph(f"Every measured peak is within {MEMORY_TOLERANCE:.0%} of its prediction.")
    return section(
        "memory", title, said, table(columns, rows, caption="Memory predicted by the plan and measured in the run")
    )


def _memory_row(use: MemoryUse) -> list[object]:
    what = f"{use.what} ({use.note})" if use.note else use.what
    measured = nothing("not measured") if use.measured_bytes is None else memory_text(use.measured_bytes)
    if use.predicted_bytes is None:
        return [what, nothing("not predicted"), measured, nothing(None), nothing(None)]
    longest = max(use.predicted_bytes, use.measured_bytes or 0)
    predicted = share_bar([("m-plan", use.predicted_bytes / longest)])
    if use.measured_bytes is None:
        return [what, memory_text(use.predicted_bytes), measured, nothing(None), predicted]
    return [
        what,
        memory_text(use.predicted_bytes),
        measured,
        _deviation(use.predicted_bytes, use.measured_bytes),
        tag("span", predicted, share_bar([("m-time", use.measured_bytes / longest)]), class_="bars"),
    ]


def _deviation(predicted: int, measured: int) -> str:
    if measured == predicted:
        return "as predicted"
    return f"{share_text(abs(measured - predicted), predicted)} {'more' if measured > predicted else 'less'}"
