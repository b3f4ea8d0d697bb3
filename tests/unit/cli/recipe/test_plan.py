from __future__ import annotations

from called import call

from spiritsafe.cli.recipe import plan


def test_plan_prints_the_stages() -> None:
    assert "student   student" in call(plan.command, "tiny")
