"""The models of a run as the report's ladder shows them: what each is, how large, and from which given model it comes.

In: the recipe's graph and finished stages. Out: one :class:`~spiritsafe.report.Rung` a model, in order of making.
"""

from __future__ import annotations

from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.source import lineage_of
from spiritsafe.pipeline.step import step_of
from spiritsafe.report import Role, Rung


def rungs(context: RunContext) -> tuple[Rung, ...]:
    """Given models and made ones, controls included."""
    return tuple(_rung(context, node) for node in context.recipe.all_models)


def _rung(context: RunContext, node: Node) -> Rung:
    checkpoint = lineage_of(context, node.name)
    return Rung(
        name=node.name,
        role=role_of(context.recipe, node),
        num_parameters=checkpoint.num_parameters or None,  # 0: behind an endpoint, not known
        weight_bytes=checkpoint.weight_bytes or None,
        file=step_of(node).figures(context, node),
    )


def role_of(recipe: Recipe, node: Node) -> Role:
    """What a model is in its run: whom a student follows is a teacher, whoever made it."""
    if node.control is not None:
        return "control"
    followed = {name for one in recipe.made if one.makes_model for name in teachers_of(recipe, one)}
    if node.name not in recipe.models:
        role = step_of(node).words(node).role
        return "teacher" if node.name in followed and role in ("tuned", "merged", "reinforced") else role
    if node.name in followed:
        return "teacher"
    if any(root_of(recipe, one.name) == node.name for one in recipe.made if one.makes_model):
        return "base"
    wrote = {name for one in recipe.made for name in one.recipe.needs.asks}
    return "teacher" if node.name in wrote and len(recipe.all_models) > len(recipe.models) else "given"


def teachers_of(recipe: Recipe, node: Node) -> tuple[str, ...]:
    """Models whose distributions one follows: those that read along, and those whose signal was captured."""
    needs = node.recipe.needs
    parts = {needs.weights, *(name for name, used_as in needs.used_as if used_as == ("weights",))}
    live = (name for name in needs.models if name not in parts or name in needs.follows)
    captured = (name for signal in needs.signals for name in recipe.node(signal).recipe.needs.models)
    return tuple(dict.fromkeys((*live, *captured)))


def start_of(node: Node) -> str | None:
    """What a thing was made from: the model whose weights it went on from, else what its kind says."""
    return node.recipe.needs.weights or step_of(node).words(node).start


def root_of(recipe: Recipe, name: str) -> str | None:
    """The given model that a made one comes from; None for a given one."""
    if name in recipe.models:
        return None
    start = start_of(recipe.node(name))
    while start is not None and start not in recipe.models:
        start = start_of(recipe.node(start))
    return start
