"""Injected faults end as "unscored" verdicts."""

from spiritsafe.core.process.children.pool import ChildPool
from spiritsafe.core.records import Problem
from spiritsafe.tasks.grading.audit import _FaultyTask


def test_a_crashing_verifier_is_unscored() -> None:
    pool = ChildPool(max_children=1, cpu_s=1, wall_s=3.0)
    verdict = _FaultyTask("crash", pool).grade(Problem(task="a:b", canonical_text="x", messages=()), "8")
    pool.close()
    assert verdict.status == "unscored"
    assert "code 3" in verdict.reason
