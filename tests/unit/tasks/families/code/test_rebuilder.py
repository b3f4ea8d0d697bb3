"""The model that rebuilds: asked once for each question, and its silence is an error."""

from __future__ import annotations

import pytest

from spiritsafe.core.errors import EndpointError, RecipeError
from spiritsafe.rollouts.generators.fake import FakeGenerator, FakeReply
from spiritsafe.tasks.families.code.rebuilder import Rebuilder


def rebuilder(answer: str | FakeReply, asked: list[str]) -> Rebuilder:
    def reply(problem_id: str, _: int) -> str | FakeReply:
        asked.append(problem_id)
        return answer

    return Rebuilder("http://nowhere", "x", max_tokens=64, opened=lambda: FakeGenerator(reply))


def test_a_question_is_asked_once() -> None:
    asked: list[str] = []
    model = rebuilder("text", asked)
    assert [model.answer("one"), model.answer("two"), model.answer("one")] == ["text", "text", "text"]
    assert len(asked) == len(set(asked)) == 2


def test_what_has_no_end_or_is_refused_is_no_answer() -> None:
    assert rebuilder(FakeReply(text="def f", finish_reason="length"), []).answer("one") == ""
    assert rebuilder(FakeReply(finish_reason="refused"), []).answer("one") == ""


def test_a_model_that_does_not_answer_is_an_error_each_time() -> None:
    asked: list[str] = []
    model = rebuilder(FakeReply(finish_reason="error", error="gone"), asked)
    for _ in range(2):
        with pytest.raises(EndpointError, match="does not answer"):
            model.answer("one")
    assert len(asked) == 2


def test_it_is_opened_when_it_is_asked() -> None:
    model = Rebuilder("nowhere:1", "x", max_tokens=64)
    with pytest.raises(RecipeError, match="no address of a model"):
        model.answer("one")


def test_what_was_opened_is_closed_whatever_it_said() -> None:
    closed: list[str] = []

    def opened(finish_reason: str) -> FakeGenerator:
        generator = FakeGenerator(lambda *_: FakeReply(text="x", finish_reason=finish_reason))  # type: ignore[arg-type]  # it is one of them
        generator.close = lambda: closed.append(finish_reason)  # type: ignore[method-assign]
        return generator

    for reason in ("stop", "length"):
        Rebuilder("http://nowhere", "x", max_tokens=64, opened=lambda reason=reason: opened(reason)).answer("one")  # type: ignore[misc]  # mypy cannot type a lambda's default
    with pytest.raises(EndpointError):
        Rebuilder("http://nowhere", "x", max_tokens=64, opened=lambda: opened("error")).answer("one")
    assert closed == ["stop", "length", "error"]
