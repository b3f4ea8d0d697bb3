"""Endings: a sitting may leave problems unasked only where its registration says so, and only the last in the order.

In: a result, its paper's header, its registration. Out: nothing, or an error that says what does not fit. The sitting's
own rule is computed again at every look, and an adaptive choice at every problem, so a host that stops when the score
looks good, goes on until it does, or picks what suits, is found.
"""

from __future__ import annotations

from spiritsafe.core.records import instant
from spiritsafe.core.text.lengths import is_overlong
from spiritsafe.exam.designs.design import ended_wrongly
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.records.paper import PaperHeader, PublicPaper
from spiritsafe.exam.records.registration import Budget, Registration
from spiritsafe.exam.records.result import ExamResult
from spiritsafe.exam.results.claims import stops_at
from spiritsafe.exam.results.scores import right_by_place
from spiritsafe.exam.sitting.answers import conversation, preamble_of
from spiritsafe.exam.sitting.budget import most_prompt_tokens, most_unspent

_LONGEST_PROMPT = 4  # a sealed problem may be so many times longer than the longest public one


def check_ending(result: ExamResult, header: PaperHeader, registration: Registration) -> str:
    """Check that the sitting ended where its design has to end; return that in words."""
    design, right = design_of(registration, header), right_by_place(result.outcomes)
    return design.check_ending(result, right, lambda look: stops_at(look, right, design, result.reference))


def check_budget(result: ExamResult, paper: PublicPaper, registration: Registration) -> str:
    """Check that the budget was kept and, where it ended the sitting, that it was used up.

    Raises:
        IntegrityError: It was passed, its cost does not follow from the tokens, or it had room for another question.
    """
    budget = registration.budget
    cost = budget.cost(result.num_prompt_tokens, result.num_tokens) if budget else None
    if (cost is None) != (result.cost is None) or (cost is not None and abs(cost - (result.cost or 0.0)) > 1e-9):
        raise ended_wrongly("The cost does not follow from tokens and registered prices.")
    if budget is None:
        return "no budget was registered"
    tokens = result.num_prompt_tokens + result.num_tokens
    # What an endpoint wrote beyond the limit of an answer could not be booked before: it is told, and no fault of the
    # host's, who must have kept the budget with answers as long as asked for.
    beyond = sum(max(0, outcome.num_tokens - registration.sampling.max_tokens) for outcome in result.outcomes)
    if _is_passed(budget, result.num_prompt_tokens, result.num_tokens - beyond):
        raise ended_wrongly("The sitting used more than its budget.")
    if result.ending == "budget exhausted" and not _is_used_up(result, paper, registration, budget):
        raise ended_wrongly("The sitting calls its budget exhausted, and there was room for another question.")
    money = f", {cost:.4g} {budget.currency}".rstrip() if cost is not None else ""
    if _is_passed(budget, result.num_prompt_tokens, result.num_tokens):
        number = sum(is_overlong(outcome.num_tokens, registration.sampling) for outcome in result.outcomes)
        return f"{tokens} tokens{money}: MORE THAN THE BUDGET, through {number} answers longer than their limit"
    return f"{tokens} tokens{money}: within the budget"


def _is_passed(budget: Budget, prompt_tokens: int, tokens: int) -> bool:
    cost = budget.cost(prompt_tokens, tokens)
    return (budget.max_tokens is not None and prompt_tokens + tokens > budget.max_tokens) or (
        budget.max_cost is not None and cost is not None and cost > budget.max_cost * (1 + 1e-12)
    )


def _is_used_up(result: ExamResult, paper: PublicPaper, registration: Registration, budget: Budget) -> bool:
    """What is left is less than one problem may need; of a sealed problem's length only a bound is known."""
    header = paper.header
    preamble = preamble_of(header, registration)
    longest = max(most_prompt_tokens(conversation(preamble, p.problem)) for p in paper.problems)
    tokens, money = most_unspent(
        budget,
        most_prompt=_LONGEST_PROMPT * longest,
        max_tokens=registration.sampling.max_tokens,
        num_tries=registration.num_tries * (2 if header.num_twins else 1),
    )
    used = result.num_prompt_tokens + result.num_tokens
    return (
        (budget.max_tokens is not None and budget.max_tokens - used < tokens)
        or (budget.max_cost is not None and budget.max_cost - (result.cost or 0.0) < money)
        or (budget.max_seconds is not None and _may_have_lasted(result, budget.max_seconds))
    )


def _may_have_lasted(result: ExamResult, seconds: float) -> bool:
    """By the host's clock; where that was wrong when the sitting began, nothing contradicts its word."""
    started, finished = instant(result.started), instant(result.finished)
    if started is None or finished is None or finished < started:
        return True
    return (finished - started).total_seconds() >= seconds
