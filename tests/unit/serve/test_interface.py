from __future__ import annotations

from spiritsafe.core.serving import Accepted, Ended
from spiritsafe.serve.interface import Totals, totals


def end(prompt: int, drawn: int) -> tuple[Accepted, Ended]:
    return (
        Accepted(num_prompt_tokens=prompt, num_cached=prompt - 1),
        Ended(reason="stop", num_tokens=drawn, num_thought_tokens=1),
    )


def test_a_prompt_that_several_answers_are_to_counts_once() -> None:
    ends = [end(5, 2), end(5, 3), end(9, 4), end(9, 5)]
    assert totals((0, 0, 1, 1), ends) == Totals(14, 12, 14, 4)
    assert totals((), ()) == Totals(0, 0, 0, 0)
