from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.records import Attempt, Message, Sampling
from spiritsafe.exam.records.registration import Budget
from spiritsafe.exam.sitting.budget import SessionBudget, most_prompt_tokens, most_unspent


def used(prompt: int, tokens: int) -> Attempt:
    return Attempt(
        problem_id="p", sample_index=0, model="m", sampling=Sampling(), seed=0, text="", finish_reason="stop",
        num_prompt_tokens=prompt, num_tokens=tokens,
    )  # fmt: skip


def spending(max_tokens=10, started=None, **limits) -> SessionBudget:
    return SessionBudget(Budget(**limits) if limits else None, max_tokens=max_tokens, started=started)


def test_without_a_budget_there_is_always_room():
    assert spending().room([(5, 1)] * 7) == 7


def test_tokens_are_booked_at_the_most():
    wallet = spending(max_tokens=100)
    assert wallet.room([(20, 1)] * 9) == 9
    wallet = SessionBudget(Budget(max_tokens=100), max_tokens=10, started=None)
    assert wallet.room([(20, 1)] * 9) == 3  # 30 a question at the most
    wallet.pay(used(20, 2))
    assert wallet.room([(20, 1)] * 9) == 2  # 78 left
    wallet.pay(used(50, 8))
    assert wallet.room([(20, 1)] * 9) == 0
    assert wallet.room([(0, 1)] * 9) == 2  # a shorter one still fits


def test_money():
    wallet = SessionBudget(
        Budget(max_cost=1.0, prompt_price=10_000.0, completion_price=50_000.0), max_tokens=10, started=None
    )
    # 20 prompt tokens and 10 tokens: 0.2 + 0.5
    assert wallet.room([(20, 1)] * 3) == 1
    wallet.pay(used(20, 0))
    assert wallet.room([(20, 1)] * 3) == 1
    wallet.pay(used(0, 5))
    assert wallet.room([(20, 1)] * 3) == 0


def test_time():
    started = datetime.now(UTC) - timedelta(seconds=50)
    assert spending(max_seconds=60, started=started).room([(1, 1)] * 200) == 64  # and then the clock is looked at again
    assert spending(max_seconds=40, started=started).room([(1, 1)] * 200) == 0
    assert spending(max_seconds=40).room([(1, 1)]) == 1


def test_a_start_that_is_still_to_come_was_told_by_a_wrong_clock_and_time_runs_from_now_on(monkeypatch):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [now, now + timedelta(seconds=59), now + timedelta(seconds=60)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return moments.pop(0)

    monkeypatch.setattr("spiritsafe.exam.sitting.budget.datetime", Clock)
    wallet = spending(max_seconds=60, started=now + timedelta(days=10**4))
    assert [wallet.room([(1, 1)]), wallet.room([(1, 1)])] == [1, 0]


@given(
    st.integers(1, 2000),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3), st.floats(0, 1), st.floats(0, 1)), max_size=30),
)
def test_the_limit_is_never_passed_whatever_comes_back(limit, problems):
    wallet, spent, at = SessionBudget(Budget(max_tokens=limit), max_tokens=25, started=None), 0, 0
    bookings = [(prompt, tries) for prompt, tries, _, _ in problems]
    while room := wallet.room(bookings[at:]):
        for prompt, tries, share, other in problems[at : at + room]:
            answer = used(int(prompt * share), int(25 * tries * other))
            wallet.pay(answer)
            spent += answer.num_prompt_tokens + answer.num_tokens
        at += room
    assert spent <= limit
    if at < len(problems):  # it ended because the next one could have passed it
        prompt, tries = bookings[at]
        assert spent + prompt + 25 * tries > limit


def test_a_prompt_has_no_more_tokens_than_bytes():
    messages = (Message(role="system", content="äö"), Message(role="user", content="abc"))
    assert most_prompt_tokens(messages) == 4 + 3 + 64


def test_what_an_exhausted_budget_can_have_left():
    budget = Budget(max_cost=1.0, prompt_price=1.0, completion_price=3.0)
    assert most_unspent(budget, most_prompt=100, max_tokens=50, num_tries=2) == (300, pytest.approx(5e-4))
    assert most_unspent(Budget(max_tokens=9), most_prompt=100, max_tokens=50, num_tries=1) == (150, 0.0)
