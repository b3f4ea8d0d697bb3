"""What is missing on a machine is said before anything is asked, and how to get it."""

from __future__ import annotations

import dataclasses

import pytest
from code_problems import PYTHON, in_fence, tax_problem

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages import language as languages_module
from spiritsafe.tasks.code.languages.language import Language, language_named
from spiritsafe.tasks.families.code.solve import SolveVerifier
from spiritsafe.tasks.families.mix import MixTask
from spiritsafe.tasks.grading.audit import audit_task
from spiritsafe.tasks.grading.pool import GraderPool
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.sandbox import layers

SPEC = "code:solve?language=fortran&level=1"


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without gfortran."""
    fortran = dataclasses.replace(language_named("fortran"), why_not=lambda: "gfortran is missing (apt-get x)")
    known: dict[str, Language] = {**languages_module.languages(), "fortran": fortran}
    monkeypatch.setattr(languages_module, "languages", lambda: known)


@pytest.fixture
def no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no walls."""
    monkeypatch.setattr(layers, "why_no_layer", lambda name: f"no {name} at all")


@pytest.mark.usefixtures("no_compiler")
def test_a_missing_compiler_is_named_before_any_attempt() -> None:
    task = load_task(SPEC)
    for attempt in (
        task.verifier.check_machine,
        lambda: GraderPool(task),
        lambda: audit_task(task, count=2),
        lambda: MixTask([(task, 1), (load_task("arith:sums"), 1)]).verifier.check_machine(),
    ):
        with pytest.raises(TaskError, match=r"Fortran code cannot be run here: gfortran is missing") as caught:
            attempt()
        assert "Install it" in caught.value.hint
    load_task("code:solve?language=python").verifier.check_machine()  # what needs no compiler is not refused


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_nothing_is_called_wrong() -> None:
    verdict = load_task(SPEC).grade(tax_problem("fortran"), in_fence("x", "fortran"))
    assert verdict.status == "unscored"
    assert "gfortran is missing" in verdict.reason


@pytest.mark.usefixtures("no_sandbox")
@pytest.mark.parametrize("spec", ["code:solve", "code:tests", "code:solve?language=cobol"])
def test_a_missing_sandbox_is_named_before_any_attempt(spec: str) -> None:
    task = load_task(spec)
    for attempt in (task.verifier.check_machine, lambda: GraderPool(task), lambda: audit_task(task, count=2)):
        with pytest.raises(TaskError, match="There is no sandbox here") as caught:
            attempt()
        assert "bubblewrap" in caught.value.hint


def test_what_is_there_is_not_refused() -> None:
    SolveVerifier(("python",)).check_machine()
    with pytest.raises(TaskError, match="There is no language 'basic'"):
        SolveVerifier(("basic",)).check_machine()
    with GraderPool(load_task("code:solve"), num_workers=1) as pool:
        assert pool.grade(tax_problem(task=pool.name), in_fence(PYTHON)).status == "correct"
