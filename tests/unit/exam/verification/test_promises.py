from __future__ import annotations

from spiritsafe.exam import VERIFY_STEPS
from spiritsafe.exam.verification.promises import PROMISE_RULES


def test_promises_are_named_once_in_short_whole_sentences() -> None:
    assert len({rule.name for rule in PROMISE_RULES}) == len(PROMISE_RULES)
    for rule in PROMISE_RULES:
        assert rule.text.endswith(".")
        assert rule.text.count(".") == 1
        assert len(rule.text) <= 100
        assert rule.cheat.endswith(".")


def test_every_promise_stands_on_steps_that_exist() -> None:
    names = {step.name for step in VERIFY_STEPS}
    for rule in PROMISE_RULES:
        assert rule.steps
        assert set(rule.steps) <= names


def test_every_step_carries_some_promise_or_all_of_them() -> None:
    """A step that no promise names would be work for nothing; the first three carry all."""
    used = {name for rule in PROMISE_RULES for name in rule.steps}
    everything = {"certificate file", "certificate signatures", "paper file"}
    assert {step.name for step in VERIFY_STEPS} - used - everything == {
        "sign-offs",
        "reference",
        "signs of memory",  # supporting evidence: reinforcement hides them
    }
