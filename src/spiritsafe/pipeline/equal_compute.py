"""Equal compute: what was spent on a model of the run, and how long another may train for as much.

In: finished stages. Out: their :class:`~spiritsafe.pipeline.compute.Compute`; a training configuration within a budget.
What counts as spent on a model is its own stage and the answers that were drawn for it, not what its start, its teacher
or the recipe's other models took: those are the same for all that are compared.
"""

from __future__ import annotations

from collections.abc import Iterable

from spiritsafe.core.errors import BudgetError
from spiritsafe.pipeline.compute import Compute, affordable_tokens
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.graph import history_of, stage_of, start_of
from spiritsafe.pipeline.recipe.made import WORKED, BudgetRecipe
from spiritsafe.training import TrainConfig


def own(context: RunContext, name: str) -> Compute:
    """What the stage of a model or of a set of answers took."""
    return Compute() if name in ("base", WORKED) else Compute.of(context.stage(stage_of(name)).result())


def spent_on(context: RunContext, name: str) -> Compute:
    """What was spent on one model: its stage, and the sets of answers that were drawn for it."""
    node = next((node for node in context.recipe.nodes if node.name == name), None)
    drawn = node.recipe.needs.answers if node is not None else ()
    captured = [own(context, "capture")] if node is not None and node.recipe.needs.cache else []
    return Compute.total([own(context, name), *(own(context, material) for material in drawn), *captured])


def history(context: RunContext, name: str) -> Compute:
    """What a model took with everything that it was made of, back to the base."""
    nodes = context.recipe.nodes
    names = history_of(nodes, name)
    parts = [own(context, material) for material in names]
    if any(node.recipe.needs.cache for node in nodes if node.name in names):
        parts.append(own(context, "capture"))
    return Compute.total(parts)


def spent_since(context: RunContext, name: str, other: str) -> Compute:
    """What was spent on a model since the last one whose weights it shares with another.

    That is equal compute's measure: what both went on from, and teachers, are left out.
    """
    origins = set(_weights(context, other))
    chain = _weights(context, name)
    own_part = chain[: next((place for place, link in enumerate(chain) if link in origins), len(chain))]
    return Compute.total(spent_on(context, link) for link in own_part)


def _weights(context: RunContext, name: str) -> list[str]:
    """A model and those whose weights it went on from, the newest first."""
    starts = {"teacher": "base"} | {node.name: start_of(node) for node in context.recipe.nodes}
    chain: list[str] = []
    link: str | None = name
    while link is not None:
        chain.append(link)
        link = starts.get(link)
    return chain


def within_budget(
    context: RunContext,
    train: TrainConfig,
    budget: BudgetRecipe | None,
    traces: Iterable[str],
    *,
    num_parameters: int,
    teacher_parameters: int = 0,
    frozen: bool = False,
) -> TrainConfig:
    """A training configuration that spends what a budget leaves after the answers were drawn.

    Args:
        context: The run; the model that the budget is of is made.
        train: Limits that are nearer hold.
        budget: None changes nothing.
        traces: Sets of answers that will be learnt from.
        num_parameters: Of the model that learns.
        teacher_parameters: Of a teacher that reads along; 0: none.
        frozen: Whether only a low-rank correction learns.

    Raises:
        BudgetError: Drawing the answers took it all.
    """
    if budget is None:
        return train
    allowed = int(budget.share * spent_on(context, budget.of).flops)
    drawn = Compute.total(own(context, name) for name in traces).flops
    tokens = affordable_tokens(allowed - drawn, num_parameters, teacher_parameters=teacher_parameters, frozen=frozen)
    if tokens < train.tokens_per_step:
        raise BudgetError(
            f"Of {allowed:,} operations ({budget.share:g} of what {budget.of} took), drawing the answers took "
            f"{drawn:,}: not one step is left.",
            hint="Sample fewer problems, raise budget.share, or let the other model train longer.",
        )
    return train.model_copy(update={"max_tokens": min(tokens, train.max_tokens or tokens)})
