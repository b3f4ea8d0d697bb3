"""Equal compute: what was spent on a model of the run, and how long another may train for as much.

In: finished stages. Out: their :class:`~spiritsafe.pipeline.compute.Compute`; a training configuration within a budget.
What counts as spent on a model is its own stage, the answers that were drawn for it and the models that it is merged
of, not what its start, its teacher or the recipe's other models took: those are the same for all that are compared.
"""

from __future__ import annotations

from collections.abc import Iterable

from spiritsafe.core.errors import BudgetError
from spiritsafe.pipeline.compute import Compute, affordable_tokens
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.graph import history_of, weights_of
from spiritsafe.pipeline.recipe.made import BudgetRecipe
from spiritsafe.training import TrainConfig


def own(context: RunContext, name: str) -> Compute:
    """What the stage of a model, set or signal took."""
    return Compute.of(context.stage(name).result())


def spent_on(context: RunContext, name: str) -> Compute:
    """What was spent on one model: its stage, the answers and signals drawn for it, and models that it is merged of.

    Of these what was spent since they left the model whose weights it goes on from.
    """
    needs = context.recipe.node(name).recipe.needs
    merged = [model for model, used_as in needs.used_as if "weights" in used_as and model != needs.weights]
    links = dict.fromkeys(link for model in merged for link in _links_since(context, model, str(needs.weights)))
    parts = [own(context, one) for one in (name, *needs.sets, *needs.signals)]
    return Compute.total([*parts, *(spent_on(context, link) for link in links)])


def history(context: RunContext, name: str) -> Compute:
    """What a model took with everything that it was made of, back to what was given."""
    return Compute.total(own(context, material) for material in history_of(context.recipe.nodes, name))


def spent_since(context: RunContext, name: str, other: str) -> Compute:
    """What was spent on a model since the last one whose weights it shares with another.

    That is equal compute's measure: what both went on from, and teachers, are left out.
    """
    return Compute.total(spent_on(context, link) for link in _links_since(context, name, other))


def _links_since(context: RunContext, name: str, other: str) -> list[str]:
    """A model and those that it went on from, as far as the other did not."""
    origins = set(weights_of(context.recipe.nodes, other))
    chain = weights_of(context.recipe.nodes, name)
    return chain[: next((place for place, link in enumerate(chain) if link in origins), len(chain))]


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
        traces: Sets of answers, and signals, that will be learnt from.
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
            f"Of {allowed:,} operations ({budget.share:g} of what {budget.of} took), drawing answers and signals took "
            f"{drawn:,}: not one step is left.",
            hint="Sample fewer problems, raise budget.share, or let the other model train longer.",
        )
    return train.model_copy(update={"max_tokens": min(tokens, train.max_tokens or tokens)})
