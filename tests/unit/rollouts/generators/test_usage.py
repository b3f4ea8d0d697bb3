from typing import Any

import pytest

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.text.lengths import estimate_tokens
from spiritsafe.rollouts.generators.usage import (
    EndpointBudget,
    EndpointSpending,
    TokenUsage,
    UsageAccount,
    UsageReport,
    believe_usage,
)


def believe(claimed: Any, **changes: Any) -> TokenUsage:
    arguments: dict[str, Any] = {"prompt_bytes": 40, "completion_bytes": 20, "max_tokens": 64}
    return believe_usage(claimed, **{**arguments, **changes})


def test_an_honest_claim_is_kept() -> None:
    usage = believe({"prompt_tokens": 17, "completion_tokens": 6, "total_tokens": 23})
    assert (usage.num_prompt_tokens, usage.num_tokens, usage.suspect, usage.missing) == (17, 6, False, False)
    assert (usage.num_estimated_prompt_tokens, usage.num_estimated_tokens) == (10, 5)


@pytest.mark.parametrize("lie", [-3, 0, 65, 10**12, True, None, "6", 6.0, [6], float("nan")])
def test_a_lie_about_the_completion_is_replaced_by_the_estimate(lie: Any) -> None:
    usage = believe({"prompt_tokens": 17, "completion_tokens": lie})
    assert (usage.num_prompt_tokens, usage.num_tokens, usage.suspect, usage.missing) == (17, 5, True, False)


@pytest.mark.parametrize("lie", [-1, 0, 10**9, False, "many"])
def test_a_lie_about_the_prompt_is_replaced_by_the_estimate(lie: Any) -> None:
    usage = believe({"prompt_tokens": lie, "completion_tokens": 6})
    assert (usage.num_prompt_tokens, usage.num_tokens, usage.suspect) == (10, 6, True)


def test_more_tokens_than_bytes_need_hidden_reasoning() -> None:
    assert believe({"prompt_tokens": 17, "completion_tokens": 60}).suspect
    details = {"reasoning_tokens": 40}
    assert not believe({"prompt_tokens": 17, "completion_tokens": 60, "completion_tokens_details": details}).suspect
    assert not believe({"prompt_tokens": 17, "completion_tokens": 60}, completion_bytes=120).suspect
    assert believe({"prompt_tokens": 17, "completion_tokens": 6, "completion_tokens_details": "x"}).num_tokens == 6


def test_listed_tokens_bound_the_claim() -> None:
    assert not believe({"prompt_tokens": 17, "completion_tokens": 7}, num_listed=6).suspect
    fewer = believe({"prompt_tokens": 17, "completion_tokens": 3}, num_listed=6)
    assert (fewer.suspect, fewer.num_tokens) == (True, 6)


def test_texts_longer_than_the_limit_gives_are_counted_by_their_length_whatever_is_claimed() -> None:
    usage = believe({"prompt_tokens": 17, "completion_tokens": 64}, completion_bytes=40_000, is_too_long=True)
    assert (usage.num_tokens, usage.suspect, usage.overlong) == (10_000, True, True)
    assert believe({"completion_tokens": 64}, num_listed=65).num_tokens == 65
    account = UsageAccount()
    account.add(usage)
    assert (account.report().num_overlong, account.report().num_completion_tokens) == (1, 10_000)


@pytest.mark.parametrize("claimed", [None, "lots", 7, [], {}])
def test_no_usage_at_all(claimed: Any) -> None:
    usage = believe(claimed)
    assert usage.suspect
    assert usage.missing == (claimed is None)
    assert usage.num_tokens == 5
    assert believe(claimed, completion_bytes=10_000).num_tokens == 64


def test_estimate_rounds_up() -> None:
    assert [estimate_tokens(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_account_adds_up() -> None:
    account = UsageAccount()
    assert account.report() == UsageReport()
    account.num_requests, account.num_retries, account.num_failures = 5, 2, 1
    account.add(believe({"prompt_tokens": 17, "completion_tokens": 6}))
    account.add(believe(None))
    assert account.report() == UsageReport(
        num_requests=5,
        num_retries=2,
        num_failures=1,
        num_prompt_tokens=27,
        num_completion_tokens=11,
        num_estimated_prompt_tokens=20,
        num_estimated_completion_tokens=10,
        usage_suspect=1,
        usage_missing=1,
    )


def test_a_budget_keeps_room_for_what_is_under_way() -> None:
    spending = EndpointSpending(EndpointBudget(tokens=100))
    assert spending.reserve(10, 50)
    assert not spending.reserve(10, 50)  # the first may still take it all
    spending.settle((10, 50), (10, 5))
    assert spending.reserve(10, 50)
    spending.settle((10, 50), (25, 5))  # an operator puts 15 tokens before a prompt
    spending.count_earlier("a", 1, 1)
    spending.count_earlier("a", 1, 1)
    with pytest.raises(BudgetError, match="47 of 100 tokens are used, and the next answer may take 54"):
        spending.reserve(10, 29)
    assert spending.reserve(10, 28)
    assert EndpointSpending(None).reserve(10**9, 10**9)


def test_a_budget_of_both_ends_at_either() -> None:
    budget = EndpointBudget(tokens=100, money=1e-4, input_price=1.0, output_price=4.0)
    assert budget.cost(20, 20) == pytest.approx(1e-4)
    assert budget.allows(20, 19)
    assert not budget.allows(20, 21)
    assert not budget.allows(101, 0)
    assert budget.words(20, 20) == "40 of 100 tokens and 0.0001 of 0.0001 in money"
