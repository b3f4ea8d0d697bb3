"""The stages of a recipe, in order: what is given, papers, what is made, exams, releases, the report.

In: a recipe. Out: one :class:`~spiritsafe.pipeline.step.StageSpec` a stage.
"""

from __future__ import annotations

from functools import partial

from spiritsafe.core.canonical import JSON
from spiritsafe.pipeline.plan.known import check_recipe
from spiritsafe.pipeline.recipe.schema import ExamRecipe, Recipe
from spiritsafe.pipeline.stages.exam import seal_paper, sit_exam
from spiritsafe.pipeline.step import StageSpec, step_of
from spiritsafe.pipeline.summary.gather import write_summary


def stages_of(recipe: Recipe) -> list[StageSpec]:
    """The stages of a recipe: what is given, a look at all of it, papers, what is made, exams, releases, the report."""
    given = [spec for node in recipe.nodes if node not in recipe.made for spec in step_of(node).stages(node, recipe)]
    look = StageSpec(
        name="check",
        work=check_recipe,
        settings={"recipe": recipe.identity()},
        after=tuple(spec.name for spec in given),
        is_exact=True,
    )
    # A paper is sealed before anything is trained, so that nobody can say it was drawn to fit a model.
    seals = [
        StageSpec(
            name=exam.seal_stage,
            work=partial(seal_paper, exam),
            settings={"task": exam.task, "problems": exam.problems},
            is_exact=True,
        )
        for exam in recipe.exams
    ]
    exams = [sitting(recipe, exam, exam.stage, tuple(recipe.examinees(exam))) for exam in recipe.exams]
    stages = [*given, look, *seals, *_made(recipe, follow_exams=False), *exams, *_made(recipe, follow_exams=True)]
    return [*stages, report_stage(recipe, tuple(stage.name for stage in stages))]


def _made(recipe: Recipe, *, follow_exams: bool) -> list[StageSpec]:
    """The stages that make things, those apart that wait for the exams; one that several share stands once."""
    stages: dict[str, StageSpec] = {}
    for node in recipe.made:
        if step_of(node).follows_exams == follow_exams:
            for stage in step_of(node).stages(node, recipe):
                stages.setdefault(stage.name, stage)
    return list(stages.values())


def sitting(recipe: Recipe, exam: ExamRecipe, name: str, examinees: tuple[str, ...]) -> StageSpec:
    """The stage in which some models sit an exam."""
    return StageSpec(
        name=name,
        work=partial(sit_exam, exam, examinees),
        settings={"exam": exam.to_json(), "engine": recipe.engine.to_json()},
        after=(exam.seal_stage, *examinees),
        scratch=("sittings",),
    )


def report_stage(recipe: Recipe, after: tuple[str, ...]) -> StageSpec:
    """The last stage."""
    settings: dict[str, JSON] = {"recipe": recipe.identity()}
    return StageSpec(name="report", work=write_summary, settings=settings, after=after, is_exact=True)
