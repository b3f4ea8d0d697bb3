"""Given models: fetched, or reached behind an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.digests import file_model
from spiritsafe.models import file_facts
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.source import fetch_model
from spiritsafe.pipeline.step import Config, StageSpec, Step, Words
from spiritsafe.report import FileFigures


@final
@register_kind("models")
class GivenModel(GivenRecipe, Step):
    """A model that is given: where its weights are, or who serves it."""

    def config_of(self, configs: Mapping[str, Config]) -> Config | None:
        """Known where the plan found it."""
        return None

    def sits_by_default(self, *, is_gone_on_from: bool) -> bool:
        """An endpoint keeps what it is asked: it sits only where it is named."""
        return self.source is not None

    def words(self, node: Node) -> Words:
        """Where it is."""
        served = f", served by {self.endpoint}" if self.endpoint is not None and self.source is not None else ""
        return Words(
            line=f"{node.name}: {self.source or f'{self.model} at {self.endpoint}'}{served}",
            role="base",
            hypothesis="The base model, as published: the control.",
        )

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        settings: dict[str, JSON] = {"given": self.identity()}
        return [StageSpec(name=node.name, work=partial(fetch_model, self), settings=settings, is_exact=True)]

    def figures(self, context: RunContext, node: Node) -> FileFigures | None:
        """What a GGUF file that sits as it is holds."""
        place = context.stage(node.name).result().get("directory")
        file = None if place is None else file_model(Path(str(place)))
        if file is None:
            return None
        try:
            facts = file_facts(file)
        except (SourceError, CompatibilityError):  # it says not what it is, as it may
            return None
        return FileFigures(
            file=file.name,
            of=node.name,
            type=facts.file_type.upper(),
            bits_per_weight=facts.bits_per_weight,
            substituted_share=facts.substituted_share,
        )

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """Given."""
        return "given", ""
