"""The report's view of what was made of what: the staircase with its costs, comparisons, learning by reward.

In: the finished stages of a run and its certificates. Out: records of :mod:`spiritsafe.report`.
"""

from __future__ import annotations

from collections import defaultdict

from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.equal_compute import history, own, spent_since
from spiritsafe.pipeline.recipe.graph import Node, models_of, start_of
from spiritsafe.pipeline.step import step_of
from spiritsafe.pipeline.steps.rewards import Certificates, added_answers
from spiritsafe.report import MadeRow, Reinforced, Versus
from spiritsafe.stats import paired_difference, score_interval


def made_rows(context: RunContext) -> tuple[MadeRow, ...]:
    """Teacher, its verified attempts, steps and students in the order of making; controls stand elsewhere."""
    shown = [node for node in context.recipe.made if node.control is None and node.recipe.makes != "signal"]
    return tuple(_row(context, node) for node in shown)


def start_words(node: Node) -> str | None:
    """What a thing was made from."""
    start = start_of(node)
    return step_of(node).words(node).start if start is None else start


def _row(context: RunContext, node: Node) -> MadeRow:
    step = step_of(node)
    made_by, counts = step.made_by(context, node)
    spent = own(context, node.name)
    return MadeRow(
        name=node.name,
        made_by=made_by,
        start=start_words(node),
        counts=counts,
        generated_tokens=spent.generated_tokens,
        trained_tokens=spent.trained_tokens,
        read_tokens=spent.read_tokens,
        flops=spent.flops,
        total_flops=history(context, node.name).flops,
    )


def comparisons(context: RunContext, certificates: Certificates) -> tuple[Versus, ...]:
    """The pairs that the recipe asks for, paired problem by problem, their seeds added up."""
    confidence = context.recipe.exam.confidence
    rows = []
    for pair in context.recipe.compare:
        sides = [models_of(context.recipe.nodes, name) for name in (pair.first, pair.second)]
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


def reinforced_steps(context: RunContext, certificates: Certificates) -> tuple[Reinforced, ...]:
    """One record for each table of the recipe that teaches by reward, with its repetitions and controls."""
    groups: dict[str, list[Node]] = defaultdict(list)
    for node in context.recipe.nodes:
        groups[node.entry].append(node)
    found = [step_of(nodes[0]).by_reward(context, nodes, certificates) for nodes in groups.values()]
    return tuple(record for record in found if record is not None)
