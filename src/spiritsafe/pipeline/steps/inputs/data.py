"""Data: problems of a task, or what lies in files and hub sets, and the solutions that come with them."""

from __future__ import annotations

from functools import partial
from typing import Any, final

from spiritsafe.core.canonical import JSON
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.data import DataRecipe
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.recipe.kinds import register_kind
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.stages.sets import draw_data
from spiritsafe.pipeline.step import StageSpec, Step, Words
from spiritsafe.report import count_text
from spiritsafe.tasks import build_task


@final
@register_kind("data")
class Data(DataRecipe, Step):
    """Problems, or conversations, with solutions where there are some."""

    def words(self, node: Node) -> Words:
        """What and how much."""
        what = self.task or self.hub or ", ".join(self.files)
        count = "all problems" if self.problems is None else f"{self.problems} problems"
        return Words(line=f"{node.name}: {count} of {what}", origin=f"solutions ({node.name})")

    def stages(self, node: Node, recipe: Recipe) -> list[StageSpec]:
        """One, after the sets before it: it leaves out what they hold. A task's name carries the digest of its data."""
        names = list(recipe.data)
        task = build_task(self.spec())
        versions: dict[str, JSON] = {"task": task.version, "verifier": task.verifier.version}
        settings: dict[str, JSON] = {
            "seed": recipe.seed, "data": self.to_json(), "task": task.name, "versions": versions,
        }  # fmt: skip
        before = tuple(names[: names.index(node.name)])
        work = partial(draw_data, self, node.name)
        return [StageSpec(name=node.name, work=work, settings=settings, after=before, is_exact=True)]

    def made_by(self, context: RunContext, node: Node) -> tuple[str, str]:
        """How many problems and solutions."""
        result: dict[str, Any] = context.stage(node.name).result()
        return "given", f"{count_text(result['problems'])} problems, {count_text(result['verified'])} solutions"
