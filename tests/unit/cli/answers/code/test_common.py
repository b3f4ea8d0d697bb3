from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from called import call
from fake_endpoint import Answer, FakeEndpoint

from spiritsafe import tasks
from spiritsafe.cli.answers.code import command
from spiritsafe.cli.answers.code.common import opened_model, refuse_below
from spiritsafe.cli.model_options import Patience
from spiritsafe.core.errors import RecipeError, SpiritsafeError, TaskError


def test_a_share_below_what_was_asked_for_is_exit_code_1() -> None:
    refuse_below(0.8, 0.8, "It")
    refuse_below(0.0, None, "It")
    with pytest.raises(SpiritsafeError, match=r"It is 79.9%, below 80.0%") as raised:
        refuse_below(0.799, 0.8, "It")
    assert raised.value.exit_code == 1


def test_the_model_is_closed_and_a_lost_sandbox_is_told(
    fake_endpoint: Callable[[Answer], FakeEndpoint],
) -> None:
    endpoint = fake_endpoint(lambda body: "yes")
    with opened_model(None, endpoint.url, "m", None, Patience()) as generator:
        assert generator.describe().name.startswith("m at ")
    for hint in ("", "Open the door."):
        with pytest.raises(TaskError, match="The sandbox failed: gone") as raised:
            _lose_it(endpoint.url, hint)
        assert raised.value.hint == hint if hint else "doctor" in raised.value.hint
    with pytest.raises(RecipeError, match="No single model"):
        opened_model(None, None, None, None, Patience()).__enter__()


def _lose_it(url: str, hint: str) -> None:
    with opened_model(None, url, "m", None, Patience()):
        raise tasks.SandboxFailure("gone", hint=hint)


@pytest.mark.parametrize("name", ["tests", "explain"])
def test_the_python_that_is_named_is_that_of_the_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "parts.py"
    path.touch()
    heard: list[Any] = []

    def subjects_at(path: Path, *, python: Any, **_: Any) -> None:
        heard.append(python)
        raise TaskError("So far.", hint="")

    monkeypatch.setattr("spiritsafe.assist.subjects_at", subjects_at)
    for more in ([], ["--python", sys.executable]):
        with pytest.raises(TaskError, match="So far"):
            call(command, name, str(path), "--model", "tiny:0", "--out", str(tmp_path / "out"), *more)
    assert heard[0] is None
    assert heard[1].named == Path(sys.executable)
    with pytest.raises(TaskError, match="is no Python that can be run"):
        call(command, name, str(path), "--model", "tiny:0", "--python", str(path))
