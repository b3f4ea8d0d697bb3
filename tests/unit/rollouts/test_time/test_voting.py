from __future__ import annotations

import random
from itertools import product

import pytest
from scipy import integrate

from spiritsafe.core.errors import EndpointError, RecipeError, TaskError
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.rollouts import FakeGenerator, FakeReply
from spiritsafe.rollouts.test_time.voting import ProblemVote, Tally, VoteReport, VoteStop, vote, votes_needed
from spiritsafe.tasks import load_task

TASK = load_task("arith:sums?terms=2&digits=1")
PROBLEMS = list(TASK.problems("train", seed=1, count=6))
SAMPLING = Sampling(max_tokens=40)


def full_vote(keys: list[str | None]) -> str | None:
    """Counting by hand: most votes, then the first named."""
    named = [key for key in keys if key is not None]
    return min(named, key=lambda key: (-named.count(key), named.index(key))) if named else None


def tally_of(keys: list[str | None]) -> Tally:
    tally = Tally()
    for key in keys:
        tally.add(key)
    return tally


@pytest.mark.parametrize("batch_size", [1, 3])
def test_stopped_early_equals_the_full_vote_on_random_pools(batch_size: int) -> None:
    rng = random.Random(batch_size)
    num_saved = 0
    for _ in range(5_000):
        n = rng.randint(1, 24)
        kinds = rng.randint(1, 6)
        keys = [rng.choice([None, *"abcdef"[:kinds]]) for _ in range(n)]
        needed = votes_needed(keys, batch_size=batch_size)
        assert tally_of(keys[:needed]).leader == full_vote(keys)
        assert needed == n or needed % batch_size == 0
        num_saved += n - needed
    assert num_saved > 4_000


def test_decided_means_exactly_that_no_continuation_elects_another() -> None:
    """Every tally of up to 5 votes against every continuation of up to 4, over two seen answers and a new one."""
    for drawn in range(5):
        for keys in product(["a", "b", None], repeat=drawn):
            given = list(keys)
            leader = tally_of(given).leader
            for left in range(5):
                ends = {full_vote(given + list(rest)) for rest in product(["a", "b", "c", None], repeat=left)}
                assert tally_of(given).is_decided(left) == (ends == {leader}), (given, left)


def density(share: float, first: int, second: int) -> float:
    return share**first * (1 - share) ** second


def test_the_confident_rule_is_the_papers_integral() -> None:
    for first, second in ((1, 0), (3, 1), (7, 7), (12, 4)):
        tally = tally_of(["a"] * first + ["b"] * second + [None])
        above, _ = integrate.quad(density, 0.5, 1, args=(first, second))
        whole, _ = integrate.quad(density, 0, 1, args=(first, second))
        assert tally.certainty() == pytest.approx(above / whole)
    rule = VoteStop(kind="confident", confidence=0.9)
    assert votes_needed(["a"] * 40, rule) == 3  # 1 - 0.5^4 is above 0.9, 1 - 0.5^3 is not
    assert votes_needed(["a"] * 40) == 20  # a tie at the end goes to the first
    assert votes_needed(["a"] * 40, VoteStop(kind="never")) == 40
    assert votes_needed([None] * 5, rule) == 5


def answers(problem_id: str, index: int) -> str:
    """A model that adds up well in two of three attempts and sometimes says nothing."""
    gold = next(str(problem.facts["answer"]) for problem in PROBLEMS if problem.id == problem_id)
    rng = random.Random(f"{problem_id}{index}")
    return rng.choice([f"#### {gold}", f"#### {gold}.0", "#### 77", "#### 78", "I do not know"])


def test_the_sampler_stops_and_elects_what_all_votes_would() -> None:
    reports = {
        kind: vote(
            TASK, PROBLEMS, FakeGenerator(answers), SAMPLING,
            num_votes=15, seed=3, batch_size=2, rule=VoteStop(kind=kind),
        )
        for kind in ("decided", "never")
    }  # fmt: skip
    early, full = reports["decided"], reports["never"]
    assert [p.answer for p in early.problems] == [p.answer for p in full.problems]
    assert [p.is_correct for p in early.problems] == [p.is_correct for p in full.problems]
    assert full.num_attempts == 15 * len(PROBLEMS)
    assert full.estimated_tokens_saved == 0.0
    assert early.num_attempts < full.num_attempts
    assert early.num_tokens < full.num_tokens
    saved = full.num_tokens - early.num_tokens
    assert early.estimated_tokens_saved == pytest.approx(saved, rel=0.25)
    for problem in early.problems:
        drawn = [answers(problem.problem_id, i) for i in range(problem.num_attempts)]
        assert problem.num_tokens == sum(len(text) + 1 for text in drawn)
        assert problem.num_abstained == sum(text.startswith("I") for text in drawn)
    assert 0 < early.num_correct <= len(PROBLEMS)


def test_failures_abstain_and_are_counted() -> None:
    generator = FakeGenerator(lambda _, i: "#### 3" if i == 5 else FakeReply(finish_reason="error", error="down"))
    (problem,) = vote(TASK, PROBLEMS[:1], generator, SAMPLING, num_votes=6, seed=0).problems
    assert (problem.answer, problem.num_attempts, problem.num_unscored, problem.num_abstained) == ("3", 6, 5, 5)
    nobody = FakeGenerator(lambda *_: "…")
    (problem,) = vote(TASK, PROBLEMS[:1], nobody, SAMPLING, num_votes=2, seed=0).problems
    assert problem.answer is None
    assert not problem.is_correct


def test_tokens_saved_by_hand() -> None:
    votes = [
        ProblemVote(
            problem_id=name, answer="1", is_correct=True, num_attempts=drawn, num_tokens=tokens,
            num_abstained=0, num_unscored=0,
        )
        for name, drawn, tokens in (("a", 4, 40), ("b", 8, 40))
    ]  # fmt: skip
    report = VoteReport(rule=VoteStop(), num_votes=8, problems=tuple(votes))
    assert report.estimated_tokens_saved == 40.0  # four more attempts of ten tokens


def test_impossible_input_is_refused() -> None:
    def call(problems: list[Problem], **changes: int) -> object:
        return vote(TASK, problems, FakeGenerator(answers), SAMPLING, **{"num_votes": 2, "seed": 0, **changes})

    for problems in ([], [PROBLEMS[0], PROBLEMS[0]]):
        with pytest.raises(TaskError):
            call(problems)
    for changes in ({"num_votes": 0}, {"batch_size": 0}):
        with pytest.raises(RecipeError):
            call(PROBLEMS, **changes)


class Sloppy:
    """Gives one attempt fewer than asked, or one nobody asked for."""

    def __init__(self, shift: int) -> None:
        self.inner, self.shift = FakeGenerator(answers), shift

    def generate(self, prompts: object, sampling: Sampling) -> object:
        attempts = list(self.inner.generate(prompts, sampling))  # type: ignore[arg-type]
        if self.shift:
            return [a.model_copy(update={"sample_index": a.sample_index + self.shift}) for a in attempts]
        return attempts[1:]


@pytest.mark.parametrize("shift", [0, 9])
def test_a_generator_that_does_not_do_as_asked_is_named(shift: int) -> None:
    with pytest.raises(EndpointError):
        vote(TASK, PROBLEMS, Sloppy(shift), SAMPLING, num_votes=2, seed=0)  # type: ignore[arg-type]
