"""The capture: what the taught teacher says of every document that a student with a cached signal reads."""

from __future__ import annotations

from typing import ClassVar, final

from spiritsafe.core.canonical import JSON
from spiritsafe.distil import CaptureConfig
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.plan.memory import reading_peak
from spiritsafe.pipeline.plan.stage_cost import StageCost, reading_cost
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.made import Makes, Needs
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.capture import capture_teacher
from spiritsafe.pipeline.step import Forecast, StageSpec, Step, Words, common_settings


@final
@register_kind("cache")
class Capture(Step):
    """One for all students that read it."""

    makes: ClassVar[Makes] = "signal"
    config: CaptureConfig

    @property
    def needs(self) -> Needs:
        """Whose signal it is."""
        return Needs(models=("teacher",), reads=("teacher",))

    def words(self, node: Node) -> Words:
        """That there is one."""
        return Words(line="capture   the teacher's view of the documents, once for all students that read it")

    def costs(self, node: Node, forecast: Forecast) -> list[StageCost]:
        """Reading each document once."""
        num_documents = max(student.problems for student in forecast.recipe.students if student.needs.cache)
        config = forecast.configs["base"]
        return [reading_cost(node.stage, config, num_documents, forecast.size, self.config.micro_batch_tokens)]

    def peak(self, node: Node, forecast: Forecast) -> int:
        """Of reading."""
        return reading_peak(forecast.configs["base"], self.config.micro_batch_tokens, forecast.device)

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One."""
        wanted: list[JSON] = [[list(s.traces), s.problems] for s in recipe.students if s.needs.cache]
        settings: dict[str, JSON] = {**common_settings(recipe), "cache": self.config.to_json(), "wanted": wanted}
        after = ("teach", "traces") if recipe.sample is None else ("teach", "traces", "sample")
        return [StageSpec(name=node.stage, work=capture_teacher, settings=settings, after=after)]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """The teacher's distributions, so many rows of them."""
        return "captured", str(context.stage(node.stage).result()["summary"])
