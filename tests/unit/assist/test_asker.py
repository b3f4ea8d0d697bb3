from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from scripted_generator import Scripted

from spiritsafe.assist.asker import Asker, AskingCost
from spiritsafe.core.records import Attempt, Prompt, Sampling


class Told(Scripted):
    """Its attempts are changed."""

    def __init__(self, said: str, **changes: Any) -> None:
        super().__init__(lambda prompt: said)
        self.changes = changes

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        for attempt in super().generate(prompts, sampling):
            yield attempt.model_copy(update=self.changes)


def asker(said: str, **changes: Any) -> Asker:
    return Asker(Told(said, **changes), Sampling(max_tokens=100), seed=4)


def test_thoughts_are_put_aside_and_what_it_took_is_counted() -> None:
    said = "<think>well</think>\n\nyes"
    answer = asker(said).ask("q", "?")
    assert (answer.text, answer.error, answer.is_cut) == ("yes", "", False)
    assert answer.cost == AskingCost(questions=1, tokens_in=10, tokens_out=len(said) + 1, seconds=0.5)
    assert answer.cost + answer.cost == AskingCost(questions=2, tokens_in=20, tokens_out=2 * len(said) + 2, seconds=1.0)


def test_each_question_is_drawn_by_its_name_and_the_seed() -> None:
    generator = Told("yes")
    one = Asker(generator, Sampling(max_tokens=9), seed=4)
    one.ask("a", "?")
    one.ask("b", "?")
    assert [(prompt.problem_id, prompt.seed) for (prompt,) in generator.calls] == [("a", 4), ("b", 4)]


@pytest.mark.parametrize(
    ("changes", "text", "error", "is_cut"),
    [
        ({"finish_reason": "length"}, "yes", "", True),
        ({"finish_reason": "error", "error": "HTTP 500"}, "", "HTTP 500", False),
        ({"finish_reason": "refused"}, "", "it gave no answer", False),
        ({"text": "a\ud800b"}, "a?b", "", False),
        ({"text": "<think>no end"}, "", "", False),
    ],
)
def test_whatever_came_is_text_or_an_error(changes: dict[str, Any], text: str, error: str, is_cut: bool) -> None:
    answer = asker("yes", **changes).ask("q", "?")
    assert (answer.text, answer.error, answer.is_cut) == (text, error, is_cut)
