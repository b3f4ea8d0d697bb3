"""The order of a run's stages."""

from __future__ import annotations

import importlib.util

import pytest

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.run.stages import stages_of

needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="the extra gym is not installed"
)


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "quickstart",
        "ladder",
        pytest.param("r1", marks=needs_gym),
        "rl-cpu",
        "distil-vs-rl",
        "specialists",
        "code-python",
        "code-specialists",
    ],
)
def test_each_stage_stands_once_and_behind_all_that_it_reads(name: str) -> None:
    seen: set[str] = set()
    for stage in stages_of(load_recipe(name)[0]):
        assert seen.issuperset(stage.after), stage.name
        assert stage.name not in seen
        seen.add(stage.name)


def test_papers_are_sealed_before_and_releases_made_behind_everything_that_they_judge_or_hold() -> None:
    names = [stage.name for stage in stages_of(load_recipe("quickstart")[0])]
    wanted = ["check", "seal", "teacher", "student", "student-q8", "student-q4", "exam", "release", "report"]
    assert [name for name in names if name in wanted] == wanted
