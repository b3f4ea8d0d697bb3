"""Steps that capture: what a teacher says of documents, once for all students that read it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal, Self, final

from pydantic import model_validator

from spiritsafe.distil import CaptureConfig
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import reading_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, reading_cost
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import FromEntry, Learns, Makes, Needs, wanted_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.answerer import is_served
from spiritsafe.pipeline.stages.capture import capture_teacher
from spiritsafe.pipeline.step import Forecast, StageSpec, Step, Words, made_settings
from spiritsafe.pipeline.steps.tune import learns_faults, learns_words


@final
@register_kind("steps")
class CaptureStep(FromEntry, Step):
    """A teacher's signal, kept.

    Attributes:
        name: Of the signal.
        from: The teacher.
        learns: Data sets (their solutions) and sets of answers that students of the signal learn from.
        config: How much of each distribution is kept.
        full_vocabulary: Ask an endpoint for every id (vLLM with ``--max-logprobs``): unbiased, and large replies.
    """

    makes: ClassVar[Makes] = "signal"
    kind: Literal["capture"] = "capture"
    learns: Learns
    config: CaptureConfig = CaptureConfig()
    full_vocabulary: bool = False

    @model_validator(mode="after")
    def _no_seed(self) -> Self:
        if self.config.seed != 0:
            raise ValueError("config.seed has no effect: it follows from the recipe's seed, leave it out")
        return self

    @property
    def needs(self) -> Needs:
        """Whose signal it is, of what."""
        return replace(super().needs, sets=tuple(wanted_of(self.learns)))

    def words(self, node: Node) -> Words:
        """Of what."""
        return Words(line=f"{node.name}: {self.origin}'s view of {learns_words(self.learns)}")

    def faults(self, node: Node, forecast: Forecast) -> list[str]:
        """Nothing to read, or an endpoint that cannot be asked so."""
        found = learns_faults(node.name, self.learns, forecast)
        given = forecast.recipe.models.get(self.origin)
        if not isinstance(given, GivenRecipe) or given.endpoint is None:
            if self.full_vocabulary:
                found.append(
                    f"{node.name}: full_vocabulary is for an endpoint, and {self.origin} is here: leave it out"
                )
            return found
        if given.source is None:
            found.append(
                f"{node.name}: documents are made with {self.origin}'s tokenizer: add source to "
                f"[models.{self.origin}], the same model where it can be read"
            )
        if self.config.num_head is None and not self.full_vocabulary:
            found.append(
                f"{node.name}: an endpoint lists so many likely tokens: set config.num_head and config.num_draws"
            )
        own = [name for name in wanted_of(self.learns) if self.origin in forecast.recipe.node(name).recipe.needs.models]
        if given.top_logprobs and (len(own) != 1 or len(wanted_of(self.learns)) != 1):
            found.append(
                f"{node.name}: with top_logprobs {self.origin}'s own answers are captured: learn one sample step of it"
            )
        return found

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Reading each document once."""
        config, size = forecast.configs.get(self.origin), forecast.size_of(wanted_of(self.learns))
        if config is None or is_served(forecast.recipe, self.origin):
            return []
        count = forecast.num_documents(self.learns)
        return [reading_cost(node.name, config, count, size, self.config.micro_batch_tokens)]

    def peak(self, node: Node, forecast: Forecast) -> int | None:
        """Of reading."""
        config = forecast.configs.get(self.origin)
        if config is None or is_served(forecast.recipe, self.origin):
            return None
        return reading_peak(forecast.recipe, self.origin, config, self.config.micro_batch_tokens, forecast.device)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        work = partial(capture_teacher, self.name, self.origin, self.learns, self.config, self.full_vocabulary)
        return [StageSpec(name=node.name, work=work, settings=made_settings(node, recipe), after=node.needs)]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """The teacher's distributions, so many rows of them."""
        return "captured", str(context.stage(node.name).result()["summary"])
