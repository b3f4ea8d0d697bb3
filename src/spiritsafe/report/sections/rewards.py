"""The part of the page that shows what learning by reward did: gains, controls, curves, alarms.

In: :class:`~spiritsafe.report.data.run.ReportData`. Out: a section, or nothing where nothing was reinforced.
"""

from __future__ import annotations

from spiritsafe.report.charts.interval_plot import Mark, Row, row_chart
from spiritsafe.report.charts.reward_curves import Value, has_values, pass_drawing, round_drawing
from spiritsafe.report.charts.svg import FULL, HALF, figure, share_bar, svg_line
from spiritsafe.report.data.exam import ExamPart
from spiritsafe.report.data.learning import ArmKind, Reinforced, RewardRun
from spiritsafe.report.data.run import ReportData
from spiritsafe.report.html.markup import Html, join, paragraph, section, tag
from spiritsafe.report.html.tables import numeric, plain, table, wide
from spiritsafe.report.numbers import change_range, change_text, change_value, count_text, score_text, time_text
from spiritsafe.report.sections.exams import exam_anchor
from spiritsafe.report.text.headline import confidence_text, exam_words
from spiritsafe.report.text.rewards import ARM_NAMES, findings, warnings_of
from spiritsafe.stats import Estimate

_CURVES: tuple[tuple[str, str, Value], ...] = (
    ("dev", "Dev score, share of problems", lambda point: point.dev),
    ("right", "Share of drawn answers that are right", lambda point: point.right),
    ("reward", "Reward, mean", lambda point: point.reward),
    ("length", "Length, tokens an answer", lambda point: point.length),
    ("entropy", "Entropy, nats a token", lambda point: point.entropy),
)
_FOLDED: tuple[tuple[str, str, Value], ...] = (
    ("solved", "Share of a round’s problems with a right answer among its k", lambda point: point.solved),
    ("idle", "Share of groups without an advantage", lambda point: point.idle),
    ("changed", "Share of weights that changed", lambda point: point.changed),
    ("gap", "Sampler against trainer, nats a token", lambda point: point.gap),
)


def rewards_section(data: ReportData) -> Html | None:
    """Every reinforcing step with its repetitions and controls; None without any."""
    if not data.reinforced:
        return None
    gains = (
        f"Gains are on the sealed exam, paired problem by problem, with {confidence_text(data.estimates())} intervals; "
        if data.exams
        else "No exam in this recipe: no gain is certified; "
    )
    lead = (
        "A control is trained alike but for one thing: a coin for a reward, a reward for any answer that can be read, "
        f"or fine-tuning on right answers alone. What a control gains is not the reward’s doing. {gains}curves show "
        "the course of training, on problems that were due, and are no scores."
    )
    parts = [_step(f"reward-{number}", step, data) for number, step in enumerate(data.reinforced, start=1)]
    return section("rewards", "What learning by reward did", paragraph(lead, class_="lead"), *parts)


def _step(anchor: str, step: Reinforced, data: ReportData) -> Html:
    facts = f"From {step.start}, rewarded on {step.task}; {step.method}, {step.k} answers to a problem."
    said = tag(
        "ul",
        *(tag("li", text) for text in (*findings(step, [exam.name for exam in data.exams]), *warnings_of(step))),
        class_="findings",
    )
    kinds: list[ArmKind] = list(dict.fromkeys(run.kind for run in step.runs))
    shown = [_curve(anchor, step, *curve) for curve in _CURVES if has_values(step.runs, curve[2])]
    folded = [_curve(anchor, step, *curve) for curve in _FOLDED if has_values(step.runs, curve[2])]
    more = tag("details", tag("summary", "More curves"), tag("div", *folded, class_="pairs")) if folded else None
    return tag(
        "div",
        tag("h3", step.name),
        paragraph(facts),
        said,
        *(_arms(anchor, step, data, exam) for exam in data.exams if step.arms_of(exam.name)),
        _passes(anchor, step, data) if step.passes else None,
        _legend(kinds),
        tag("div", *shown, class_="pairs"),
        more,
        _runs(step),
        class_="rewards",
    )


def _arms(anchor: str, step: Reinforced, data: ReportData, exam: ExamPart) -> Html:
    arms = step.arms_of(exam.name)
    rows = [
        Row(
            label=ARM_NAMES[arm.kind],
            role="reinforced" if arm.kind == "reinforced" else "control",
            detail=f"{arm.num_seeds} seeds" if arm.num_seeds > 1 else "one seed",
            marks=(Mark(score=arm.gain, spoken=f"{ARM_NAMES[arm.kind]}: {change_text(arm.gain)}"),),
            note=(f"{change_value(arm.gain)} points", f"({change_range(arm.gain)})"),
        )
        for arm in arms
    ]
    spoken = "; ".join(
        f"{ARM_NAMES[arm.kind]}: {score_text(arm.sealed)}, {change_text(arm.gain)} over {step.start}" for arm in arms
    )
    return figure(
        exam_anchor(f"{anchor}-arms", data, exam),
        title=f"Gain over {step.start} on {exam_words(data, exam)}",
        description=f"One row a way to learn, with {confidence_text(data.estimates())} intervals. {spoken}.",
        draw=row_chart(rows, axis_title=f"points over {step.start}", reference=(0.0, step.start)),
        layouts=FULL,
    )


def _passes(anchor: str, step: Reinforced, data: ReportData) -> Html:
    spoken = "; ".join(
        f"pass@{point.k}: before {score_text(point.before)}, after {score_text(point.after)}" for point in step.passes
    )
    note = "Grey squares: before. Copper triangles: after."
    if step.well_formed:
        before, after = step.well_formed
        note += f" Answers that could be read: {score_text(before)} before, {score_text(after)} after."
    return figure(
        f"{anchor}-passes",
        title="Dev problems solved in k tries, %",
        description=f"Before and after, with {confidence_text(data.estimates())} intervals. {spoken}.",
        draw=pass_drawing(step.passes),
        layouts=HALF,
        note=note,
    )


def _curve(anchor: str, step: Reinforced, name: str, title: str, value: Value) -> Html:
    real = next(run for run in step.runs if run.kind == "reinforced")
    known = [number for point in real.rounds if (number := value(point)) is not None]
    words = f"{real.name}: from {_words(known[0])} to {_words(known[-1])}." if known else f"{real.name}: not known."
    return figure(
        f"{anchor}-{name}",
        title=title,
        description=f"Against rounds, one line a model. {words}",
        draw=round_drawing(step.runs, value),
        layouts=HALF,
        note=words,
    )


def _words(number: float | Estimate) -> str:
    return score_text(number) if isinstance(number, Estimate) else f"{number:.3g}"


def _legend(kinds: list[ArmKind]) -> Html:
    keys = [
        tag(
            "span",
            tag("svg", svg_line(0, 4, 32, 4, f"line l-{kind}"), class_="key", viewBox="0 0 32 8"),
            ARM_NAMES[kind],
        )
        for kind in kinds
    ]
    return tag("p", *keys, class_="legend", aria_hidden="true")


def _runs(step: Reinforced) -> Html:
    columns = (
        plain("Model")
        + numeric("Rounds", "Tokens drawn", "Tokens learnt from", "Drawing", "Grading", "Learning")
        + wide("Time: drawing, grading, learning")
    )
    return table(columns, [_run_row(run) for run in step.runs], caption="Where the time of each run went")


def _run_row(run: RewardRun) -> list[object]:
    times = (run.drawing_s, run.grading_s, run.training_s)
    whole = sum(times) or 1.0
    classes = ("o-correct", "o-unparsed", "m-time")
    name = join([tag("span", run.name, class_="model"), tag("span", ARM_NAMES[run.kind], class_="role")])
    return [
        name,
        count_text(len(run.rounds)),
        count_text(run.rounds[-1].num_tokens if run.rounds else 0),
        count_text(run.trained_tokens),
        *(time_text(seconds) for seconds in times),
        share_bar([(class_, seconds / whole) for class_, seconds in zip(classes, times, strict=True)]),
    ]
