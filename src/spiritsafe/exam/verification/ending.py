"""Endings: a sitting may leave problems unasked only where its registration says so, and only the last in the order.

In: a result, its paper's header, its registration. Out: nothing, or an error that says what does not fit. The sitting's
own rule is computed again at every look, and an adaptive choice at every problem, so a host that stops when the score
looks good, goes on until it does, or picks what suits, is found.
"""

from __future__ import annotations

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import instant
from spiritsafe.core.text.lengths import is_overlong
from spiritsafe.exam.paper.split import asking_order, look_ends, num_places
from spiritsafe.exam.records.paper import PaperHeader, PublicPaper
from spiritsafe.exam.records.registration import Budget, Registration
from spiritsafe.exam.records.result import Ending, ExamResult
from spiritsafe.exam.results.claims import stops_at
from spiritsafe.exam.results.scores import right_by_place
from spiritsafe.exam.sitting.answers import conversation, preamble_of
from spiritsafe.exam.sitting.budget import most_prompt_tokens, most_unspent
from spiritsafe.stats import ChosenProblems, is_adaptive_choice

_LONGEST_PROMPT = 4  # a sealed problem may be so many times longer than the longest public one


def _wrong(message: str) -> IntegrityError:
    return IntegrityError(message, hint="Ask the examiner why the sitting ended as it did.")


def check_ending(result: ExamResult, header: PaperHeader, registration: Registration) -> str:
    """Check that the sitting ended where it had to; return that in words.

    Raises:
        IntegrityError: It left out others than the last problems, or the rule says otherwise.
    """
    if registration.chosen is not None and registration.chosen.adaptive:
        return _check_adaptive(result, header, registration, registration.chosen)
    if result.asked:
        raise _wrong("The result says in which order problems were chosen, and the order was fixed before.")
    size = 2 if header.num_twins else 1
    order, chosen = asking_order(header, registration.stop, registration.chosen), registration.chosen
    num_asked = header.num_problems - len(result.not_asked) // size
    if set(result.not_asked) != set(range(num_places(header))) - set(order[: num_asked * size]):
        raise _wrong("The problems left out are not the last ones of the paper's own order: they were picked.")
    whole: Ending = "complete" if chosen is None else "chosen problems asked"
    other = "chosen problems asked" if chosen is None else "complete"
    if (result.ending == whole) != (num_asked * size == len(order)) or result.ending == other:
        raise _wrong(f'The sitting calls itself "{result.ending}" and left out {len(result.not_asked)} problems.')
    ends = look_ends(header, registration.stop, chosen)
    if result.ending == "stopped by rule" and (registration.stop is None or num_asked not in ends[:-1]):
        raise _wrong("The sitting was stopped where no look was registered.")
    if result.ending == "budget exhausted" and registration.budget is None:
        raise _wrong("The sitting ran out of a budget that was never registered.")
    right = right_by_place(result.outcomes)
    for look, end in enumerate(ends[:-1], start=1):
        if end > num_asked:
            break
        stops = stops_at(look, right, header, registration, result.reference)
        here = result.ending == "stopped by rule" and end == num_asked
        if stops != here:
            raise _wrong(
                f"At look {look} the registered rule says to {'stop' if stops else 'go on'}, and the sitting did not."
            )
    return f"{result.ending}: {num_asked} of {header.num_problems} problems asked"


def _check_adaptive(result: ExamResult, header: PaperHeader, registration: Registration, chosen: ChosenProblems) -> str:
    """Each problem is the one that the answers before it call for, and the last is the last."""
    if set(result.not_asked) != set(range(num_places(header))) - set(result.asked):
        raise _wrong("The problems left out and those asked are not all of the paper.")
    if result.ending not in ("chosen problems asked", "budget exhausted"):
        raise _wrong(f'The sitting calls itself "{result.ending}", and its problems were chosen by the answers.')
    is_over = result.ending == "chosen problems asked"
    if not is_over and registration.budget is None:
        raise _wrong("The sitting ran out of a budget that was never registered.")
    right = right_by_place(result.outcomes)
    if not is_adaptive_choice(chosen, result.asked, right, trials=registration.num_tries, is_over=is_over):
        raise _wrong("The problems asked are not those that the answers call for by the registered difficulties.")
    return f"{result.ending}: {len(result.asked)} of {header.num_problems} problems asked, as the answers called for"


def check_budget(result: ExamResult, paper: PublicPaper, registration: Registration) -> str:
    """Check that the budget was kept and, where it ended the sitting, that it was used up.

    Raises:
        IntegrityError: It was passed, its cost does not follow from the tokens, or it had room for another question.
    """
    budget = registration.budget
    cost = budget.cost(result.num_prompt_tokens, result.num_tokens) if budget else None
    if (cost is None) != (result.cost is None) or (cost is not None and abs(cost - (result.cost or 0.0)) > 1e-9):
        raise _wrong("The cost does not follow from tokens and registered prices.")
    if budget is None:
        return "no budget was registered"
    tokens = result.num_prompt_tokens + result.num_tokens
    # What an endpoint wrote beyond the limit of an answer could not be booked before: it is told, and no fault of the
    # host's, who must have kept the budget with answers as long as asked for.
    beyond = sum(max(0, outcome.num_tokens - registration.sampling.max_tokens) for outcome in result.outcomes)
    if _is_passed(budget, result.num_prompt_tokens, result.num_tokens - beyond):
        raise _wrong("The sitting used more than its budget.")
    if result.ending == "budget exhausted" and not _is_used_up(result, paper, registration, budget):
        raise _wrong("The sitting calls its budget exhausted, and there was room for another question.")
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
