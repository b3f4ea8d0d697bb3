from __future__ import annotations

from spiritsafe.rollouts.generators.patience import MOST_MISSES, Breaker, Waiting


def test_so_many_problems_in_a_row_and_none_answered_between() -> None:
    breaker = Breaker(32, has_answered=True)
    for _ in range(3):
        assert [breaker.missed(f"p{k}") for k in range(MOST_MISSES - 1)] == [False] * (MOST_MISSES - 1)
        breaker.answered()
    assert breaker.num_missed == 0
    assert [breaker.missed(f"p{k}") for k in range(MOST_MISSES)][-1]
    assert breaker.num_answered == 3


def test_many_samples_of_one_problem_are_one() -> None:
    breaker = Breaker(32, has_answered=True)
    assert not any(breaker.missed("poison", timed_out=True) for _ in range(100))


def test_few_at_once_are_not_waited_for_for_hours() -> None:
    breaker = Breaker(1, has_answered=True)
    assert not breaker.missed("a", timed_out=True)
    assert not breaker.missed("a", timed_out=True)
    assert breaker.missed("b", timed_out=True)


def test_who_never_answered_is_given_up_sooner() -> None:
    breaker = Breaker(32, has_answered=False)
    assert not breaker.missed("a")
    assert breaker.missed("b")
    breaker = Breaker(32, has_answered=False)
    breaker.answered()
    assert not any(breaker.missed(name) for name in "ab")


def waiting() -> tuple[Waiting, list[str], list[float]]:
    now, told = [100.0], []
    return Waiting("http://h/v1", told.append, clock=lambda: now[0]), told, now


def test_silence_is_told_after_a_while_and_then_ever_more_rarely() -> None:
    watch, told, now = waiting()
    watch.begin()
    for _ in range(200):
        now[0] += 1.0
        watch.look(3, 300.0)
    assert told[0] == "Waiting for http://h/v1: no answer for 10 s (3 questions open, at most 300 s a request)."
    assert [text.split(" s ")[0].rsplit(" ", 1)[1] for text in told] == ["10", "30", "70", "130", "190"]
    watch.heard()
    now[0] += 9.0
    watch.look(3, 300.0)
    assert len(told) == 5
    now[0] += 60.0
    watch.look(0, 300.0)  # nobody waits
    assert len(told) == 5


def test_a_long_wait_that_was_asked_for_is_told_at_once_with_its_reason() -> None:
    watch, told, now = waiting()
    watch.trouble("HTTP 503", 1.0)
    watch.trouble("HTTP 429: slow down", 299.0)
    watch.trouble("HTTP 429: slow down", 299.0)  # the other connections hear the same
    assert told == ["Waiting for http://h/v1: HTTP 429: slow down; it asks for a wait of 299 s."]
    now[0] += 11.0
    watch.look(1, 300.0)
    assert told[1].endswith(
        "(1 question open, at most 300 s a request; last: HTTP 429: slow down; it asks for a wait of 299 s)."
    )
