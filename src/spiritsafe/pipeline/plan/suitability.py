"""Whether a recipe's models can do what it asks of them, before anything is spent.

In: a recipe, the base model's directory and the cache. Out: what the user should know of the models (which run through
transformers' own code, which keys nobody reads); an error where a step needs the Decoder and its model is another, or
where a student would follow the probabilities of a teacher with other tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spiritsafe.core.errors import RecipeError
from spiritsafe.models import ChatFormat, choose_code, find_source, require_same_vocabulary
from spiritsafe.pipeline.recipe.graph import GIVEN_MODELS
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.step import step_of


def check_models(recipe: Recipe, base: Path, *, cache: Path) -> list[str]:
    """What is to be known of the base model and of students' own sources, as far as these are at hand.

    Args:
        base: The base model's directory.
        cache: Where fetched models lie.

    Raises:
        RecipeError: A student is to be cut from, or adapters are to be put on, a model that the Decoder does not
            implement.
        SourceError: A model's architecture is known to nobody here.
        CompatibilityError: A model can be neither trained nor scored, or a student's tokens are not its teacher's.
    """
    places = {"base": base} | {
        spec: found for spec in own_sources(recipe) if (found := find_source(spec, cache=cache)) is not None
    }
    choices = {name: choose_code(place) for name, place in places.items()}
    foreign = foreign_models(recipe, {name for name, choice in choices.items() if choice.decoder is None})
    obstacles = _obstacles(recipe, foreign)
    if obstacles:
        why = next(note for name, choice in choices.items() if choice.decoder is None for note in choice.notes)
        raise RecipeError(
            f"{'; '.join(obstacles)}. {why}",
            hint='Give such a student a `source` of its own (a small dense model; with objective = "across" its '
            "tokenizer may be another), and leave `lora` out of such a step; or take a dense source.",
        )
    _check_vocabularies(recipe, places)
    return [
        f"{'the source' if name == 'base' else name}: {note}"
        for name, choice in choices.items()
        for note in choice.notes
    ]


def _check_vocabularies(recipe: Recipe, places: Mapping[str, Path]) -> None:
    """Hold students' own tokens against those of the model that their teacher was made from, where both are at hand."""
    starts = {node.name: node.recipe.needs.code for node in recipe.made if node.recipe.needs.code is not None}
    for node in recipe.models:
        source, _ = node.recipe.needs.source or (None, {})
        origin = node.recipe.needs.same_tokens_as
        if source is None or source not in places or origin is None:
            continue
        while origin in starts and origin not in places:
            origin = starts[origin]
        if origin in places:
            require_same_vocabulary(ChatFormat(places[origin]), ChatFormat(places[source]))


def foreign_models(recipe: Recipe, given: set[str]) -> set[str]:
    """Names of the models that transformers runs.

    Args:
        given: "base" if it is one, and those of students' own sources that are.
    """
    foreign = set(given)
    for node in recipe.made:
        if node.makes_model and node.recipe.needs.code in foreign:
            foreign.add(node.name)
    return foreign


def own_sources(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Sources of models that are no models of the recipe, and what their chat templates are told."""
    made = {*GIVEN_MODELS, *(node.name for node in recipe.models)}
    sources = [node.recipe.needs.source for node in recipe.models]
    return {source: told for source, told in filter(None, sources) if source not in made}


def _obstacles(recipe: Recipe, foreign: set[str]) -> list[str]:
    return [found for node in recipe.models for found in step_of(node).obstacles(node.name, foreign)]
