"""Conversations with replies and nothing to verify, as a user's own data are; and stages of a recipe run one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

from heard import Heard

from spiritsafe.core.records import Message, Problem, Verdict
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import RunDirectory
from spiritsafe.pipeline.step import StageSpec, step_of
from spiritsafe.tasks import Draft, Task, Verifier

__all__ = ["TalkTask", "few_talks", "run_steps", "silent_talks", "talks"]


@final
class NoVerifier(Verifier):
    name = "none"
    version = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        return self.verdict("unscored")


@final
class TalkTask(Task):
    """So many questions, each with a reply or without."""

    finite = True
    verifies = False

    def __init__(self, name: str, *, count: int = 300, replies: bool = True) -> None:
        super().__init__(name=f"talk_task:{name}", version="1", verifier=NoVerifier())
        self._count, self._replies = count, replies

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for number in range(self._count):
            text = f"What do you say to {number}?"
            yield Draft(canonical_text=text, build=lambda text=text, number=number: self._problem(text, number))

    def _problem(self, text: str, number: int) -> Problem:
        return Problem(
            task=self.name,
            canonical_text=text,
            messages=(Message(role="user", content=text),),
            solution=f"I say {number} naïve words." if self._replies else None,
        )


def talks() -> TalkTask:
    """About 30 of them are held out."""
    return TalkTask("talks")


def few_talks() -> TalkTask:
    """None of them is held out."""
    return TalkTask("few_talks", count=4)


def silent_talks() -> TalkTask:
    """Questions alone."""
    return TalkTask("silent_talks", replies=False)


def run_steps(recipe: dict[str, Any] | Recipe, root: Path) -> RunContext:
    """All that is given and made, without papers and report; what is done is not done again."""
    recipe = recipe if isinstance(recipe, Recipe) else recipe_of(recipe)
    run = RunDirectory(root, recipe.name, recipe.resolved())
    run.create("")
    context = RunContext(recipe=recipe, run=run, watcher=Heard(), cache=root / "cache", done={})
    stages: list[StageSpec] = [spec for node in recipe.nodes for spec in step_of(node).stages(node, recipe)]
    for number, spec in enumerate(stages, start=1):
        inputs = {
            "settings": spec.settings,
            "after": {name: context.stage(name).output_digest() for name in spec.after},
        }
        stage = run.stage(number, spec.name, inputs)
        if not stage.is_done():
            stage.begin()
            stage.finish(spec.work(context, stage, Heard()), scratch=spec.scratch)
        context.done[spec.name] = stage
    return context
