"""Whoever answers in a stage: weights in this process, an endpoint, or several models of which a router picks one."""

from __future__ import annotations

from spiritsafe.core.events import EventSink
from spiritsafe.core.files.digests import file_model, is_routed
from spiritsafe.core.generator import Generator
from spiritsafe.models import open_generator
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.reading import reading_of
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.source import active_of, model_directory
from spiritsafe.rollouts import open_endpoint
from spiritsafe.serve import RoutedGenerator, read_routed


def is_served(recipe: Recipe, name: str) -> bool:
    """Whether an endpoint answers for a model."""
    given = recipe.models.get(name)
    return isinstance(given, GivenRecipe) and given.endpoint is not None


def open_answerer(context: RunContext, name: str, events: EventSink) -> Generator:
    """A model that answers.

    Raises:
        RecipeError: The variable that holds the endpoint's key is not set.
        IntegrityError: A model that a routed system asks was changed.
    """
    given = context.recipe.models.get(name)
    if isinstance(given, GivenRecipe) and given.endpoint is not None:
        return open_endpoint(given.endpoint_config(), events)
    directory = model_directory(context, name)
    if is_routed(directory):
        return RoutedGenerator(read_routed(directory), lambda rung, _: open_answerer(context, rung, events))
    return open_generator(
        directory,
        max_batch=context.recipe.engine.max_batch,
        max_context=context.recipe.engine.max_context,
        device=None if file_model(directory) is not None else context.device,  # llama.cpp answers from a file
        weights=reading_of(context.recipe, name, context.device).weights,
    )


def drawing_compute(context: RunContext, name: str, num_tokens: int) -> Compute:
    """What drawing took; of an endpoint's model only the tokens are known."""
    if is_served(context.recipe, name):
        return Compute.generating(num_tokens, 0)
    return Compute.generating(num_tokens, active_of(context, name))
