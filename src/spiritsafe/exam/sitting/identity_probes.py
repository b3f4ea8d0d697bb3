"""Identity probes: does one model answer all the time, or does the endpoint swap models during the sitting?

In: a Generator. Out: rounds of replies to a fixed set of harmless public prompts, drawn greedily, and what their
comparison says. The prompts ask for free text, on which two models hardly ever agree to the letter, while one model
agrees with itself but for rounding. They are few, and whoever keeps the endpoint may know them: a swap that spares the
probes is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.exam.records.result import IdentityCheck, ProbeRound

PROBE_SET = "spiritsafe.probes/1"
"""Name of the set; another set of prompts gets another name."""

PROBES = (
    "Write one sentence about the sea.",
    "Name three things that are found in a kitchen drawer.",
    "Describe the colour blue to somebody who cannot see.",
    "Continue the story: The old bridge had not been crossed in years, until",
    "What is a good name for a grey cat, and why?",
    "Explain in one sentence why the sky is dark at night.",
    "Invent a proverb about patience.",
    "Give a short weather report for an imaginary island.",
)
_SAMPLING = Sampling(temperature=0.0, max_tokens=24)
_LEAST_AGREEMENT = 0.5  # one model repeats itself on nearly all prompts; two models share hardly any reply
_MOST_LOGPROB_GAP = 0.25  # nats a token on equal texts; rounding moves it by a few hundredths


def ask_probes(generator: Generator, *, num_answers: int, count: int = len(PROBES)) -> ProbeRound:
    """Ask the probes once.

    Args:
        count: How many of them, from the first.

    Raises:
        EndpointError: The source is unusable, or answers none of them: a model that is not reached is not examined.
    """
    ids = {f"probe-{number}": number for number in range(count)}
    prompts = [
        Prompt(
            problem_id=name,
            messages=(Message(role="user", content=PROBES[number]),),
            seed=derive_seed(PROBE_SET, number),  # greedy decoding needs none, but some servers log what they get
        )
        for name, number in ids.items()
    ]
    replies: list[str | None] = [None] * count
    logprobs: list[float | None] = [None] * count
    reason = "no reply"
    for attempt in generator.generate(prompts, _SAMPLING):
        number = ids.get(attempt.problem_id, -1)
        if number >= 0 and attempt.finish_reason != "error":
            replies[number] = attempt.text
            logprobs[number] = _mean_logprob(attempt)
        reason = attempt.error or reason
    if all(reply is None for reply in replies):
        raise EndpointError(
            f"{generator.describe().name} does not answer harmless questions ({reason}).",
            hint="Check that it runs and can answer, then run the same command again: what was answered is kept.",
        )
    known = any(value is not None for value in logprobs)
    return ProbeRound(num_answers=num_answers, replies=tuple(replies), logprobs=tuple(logprobs) if known else ())


def _mean_logprob(attempt: Attempt) -> float | None:
    if not attempt.logprobs:
        return None
    return round(sum(attempt.logprobs) / len(attempt.logprobs), 6)


def probe_places(secret: str, registration: str, *, num_rounds: int, num_units: int) -> list[int]:
    """After how many units the rounds between the first and the last are due: nobody else can tell beforehand.

    A unit is what is always asked together; a round can stand only between two of them, so no two rounds fall together.
    """
    wanted = min(max(0, num_rounds - 2), max(0, num_units - 1))
    places: set[int] = set()
    draw = 0
    while len(places) < wanted:
        places.add(1 + derive_seed("probe", secret, registration, draw) % (num_units - 1))
        draw += 1
    return sorted(places)


def _agreement(first: ProbeRound, other: ProbeRound) -> float | None:
    """Share of equal replies among the probes that both rounds have; a reply with other logprobs is not equal."""
    equal: list[bool] = []
    for number, (a, b) in enumerate(zip(first.replies, other.replies, strict=False)):
        if a is None or b is None:
            continue
        gap = 0.0
        if first.logprobs and other.logprobs:
            x, y = first.logprobs[number], other.logprobs[number]
            gap = abs(x - y) if x is not None and y is not None else 0.0
        equal.append(a == b and gap <= _MOST_LOGPROB_GAP)
    return sum(equal) / len(equal) if equal else None


def check_identity(rounds: Sequence[ProbeRound]) -> IdentityCheck:
    """Hold each round against the first one that has replies."""
    told = [round_ for round_ in rounds if any(reply is not None for reply in round_.replies)]
    shares = [share for round_ in told[1:] if (share := _agreement(told[0], round_)) is not None]
    least = min(shares) if shares else None
    same = None if least is None else least >= _LEAST_AGREEMENT
    return IdentityCheck(
        probes=PROBE_SET,
        rounds=tuple(rounds),
        agreement=least,
        same=same,
        statement=_statement(len(rounds), least, same),
    )


def _statement(num_rounds: int, least: float | None, same: bool | None) -> str:
    if least is None or same is None:
        return "Whether one model answered all the time cannot be told: fewer than two rounds of probes were answered."
    if not same:
        return (
            f"The model behind the endpoint changed during the sitting: in one of {num_rounds} rounds of probes only "
            f"{least:.0%} of the replies were the first round's. These scores are of no one model."
        )
    return (
        f"One model, as far as {num_rounds} rounds of probes tell: at least {least:.0%} of the replies were the first "
        "round's. An operator who knows the probes could answer them with another model than the questions."
    )
