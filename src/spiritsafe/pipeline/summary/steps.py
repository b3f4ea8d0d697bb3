"""The report's view of what was made of what: the staircase, comparisons, learning by reward, measurements.

In: the finished stages of a run and its certificates. Out: records of :mod:`spiritsafe.report`.
"""

from __future__ import annotations

from collections.abc import Mapping

from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.equal_compute import history, own, spent_since
from spiritsafe.pipeline.recipe.graph import Node, models_of, siblings_of
from spiritsafe.pipeline.recipe.schema import ExamRecipe
from spiritsafe.pipeline.step import step_of
from spiritsafe.pipeline.steps.learning.rewards import Certificates, added_answers
from spiritsafe.pipeline.summary.ladder import start_of
from spiritsafe.report import Arm, MadeRow, Measured, MeasuredCurve, Reinforced, Versus
from spiritsafe.stats import paired_difference, score_interval


def made_rows(context: RunContext) -> tuple[MadeRow, ...]:
    """Models and sets of answers in the order of making; controls stand elsewhere."""
    shown = [
        node
        for node in context.recipe.made
        if node.control is None and (node.makes_model or node.recipe.outcome == "answers")
    ]
    return tuple(_row(context, node) for node in shown)


def _row(context: RunContext, node: Node) -> MadeRow:
    made_by, counts = step_of(node).made_by(context, node)
    spent = own(context, node.name)
    return MadeRow(
        name=node.name,
        made_by=made_by,
        start=start_of(node),
        counts=counts,
        generated_tokens=spent.generated_tokens,
        trained_tokens=spent.trained_tokens,
        read_tokens=spent.read_tokens,
        flops=spent.flops,
        total_flops=history(context, node.name).flops,
    )


def comparisons(context: RunContext, exam: ExamRecipe, certificates: Certificates) -> tuple[Versus, ...]:
    """The pairs that the recipe asks for and that sat an exam, paired problem by problem, their seeds added up."""
    confidence = exam.confidence
    rows = []
    for pair in context.recipe.compare:
        sides = [models_of(context.recipe.nodes, name) for name in (pair.first, pair.second)]
        if not {*sides[0], *sides[1]} <= certificates.keys():
            continue  # they are compared in an exam that both sat
        count = max(map(len, sides))
        first, second = (side * (count // len(side)) for side in sides)
        right, other = added_answers(certificates, first), added_answers(certificates, second)
        found = paired_difference(right, other, trials=count, confidence=confidence)
        pairs = list(zip(first, second, strict=True))
        rows.append(
            Versus(
                first=pair.first,
                second=pair.second,
                num_seeds=count,
                first_sealed=score_interval(right, trials=count, confidence=confidence),
                second_sealed=score_interval(other, trials=count, confidence=confidence),
                difference=found.difference,
                p_value=found.p_value,
                first_flops=sum(spent_since(context, a, b).flops for a, b in pairs) // count,
                second_flops=sum(spent_since(context, b, a).flops for a, b in pairs) // count,
            )
        )
    return tuple(rows)


def reinforced_steps(context: RunContext, certificates: Mapping[str, Certificates]) -> tuple[Reinforced, ...]:
    """One record for each table of the recipe that teaches by reward, with its repetitions and controls.

    Args:
        certificates: Of each exam, by its name.
    """
    found = []
    for nodes in siblings_of(context.recipe.made):
        step = step_of(nodes[0])
        record = step.by_reward(context, nodes, {})
        if record is None:
            continue
        arms: list[Arm] = []
        for name, issued in certificates.items():
            sat = step.by_reward(context, nodes, issued)
            arms += [arm.model_copy(update={"exam": name}) for arm in (sat.arms if sat else ())]
        found.append(record.model_copy(update={"arms": tuple(arms)}))
    return tuple(found)


def measured_by(context: RunContext) -> tuple[tuple[Measured, ...], tuple[MeasuredCurve, ...]]:
    """Numbers and curves that steps found; practice, all of it."""
    found = [step_of(node).measured(context, node) for node in context.recipe.made if node.recipe.outcome == "numbers"]
    return (
        tuple(row for rows, _ in found for row in rows),
        tuple(curve for _, curves in found for curve in curves),
    )
