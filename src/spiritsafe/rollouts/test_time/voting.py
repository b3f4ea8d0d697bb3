"""Voting that stops when the outcome is decided: the answer of a full vote for fewer tokens.

In: a task, problems, a Generator, the number of votes. Out: each problem's elected answer with what it cost. Attempts
are drawn a few at a time. With the rule "decided" nothing that could still be drawn would elect another answer, so the
elected one is the full vote's. Ties go to the answer that was given first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, final

from pydantic import Field
from scipy import special

from spiritsafe.core.errors import EndpointError, RecipeError, TaskError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Attempt, Problem, Prompt, Record, Sampling, Verdict
from spiritsafe.rollouts.attempts.collect import Grader, grade_attempt
from spiritsafe.rollouts.test_time.selection import vote_key


@final
class VoteStop(Record):
    """When a vote ends before all attempts are drawn.

    Attributes:
        kind: "decided": the leader cannot be caught with the votes that are left, so nothing can change; "confident":
            also when the leader is more probable than the runner-up with probability ``confidence`` (adaptive
            consistency, arXiv 2305.11860, Beta criterion), which saves more and is now and then wrong; "never".
        confidence: Of the rule "confident".
    """

    kind: Literal["decided", "confident", "never"] = "decided"
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)


def votes_needed(keys: Sequence[str | None], rule: VoteStop | None = None, *, batch_size: int = 1) -> int:
    """How many of a pool's votes, taken in order, are drawn before the rule ends the vote."""
    rule, tally = rule or VoteStop(), Tally()
    for start in range(0, len(keys), batch_size):
        for key in keys[start : start + batch_size]:
            tally.add(key)
        drawn = min(start + batch_size, len(keys))
        if tally.may_stop(rule, len(keys) - drawn):
            return drawn
    return len(keys)


@final
class ProblemVote(Record):
    """One problem's vote.

    Attributes:
        answer: What was elected, in its normal form; None when no attempt gave an answer.
        is_correct: Grade of the elected answer.
        num_tokens: Tokens generated for them.
        num_abstained: Attempts without an answer, for whatever reason.
        num_unscored: Those of them that failed or whose verifier broke.
    """

    problem_id: str
    answer: str | None
    is_correct: bool
    num_attempts: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    num_abstained: int = Field(ge=0)
    num_unscored: int = Field(ge=0)


@final
class VoteReport(Record):
    """All votes, and what stopping early saved."""

    rule: VoteStop
    num_votes: int = Field(ge=1)
    problems: tuple[ProblemVote, ...]

    @property
    def num_correct(self) -> int:
        """Problems whose elected answer is correct."""
        return sum(problem.is_correct for problem in self.problems)

    @property
    def num_attempts(self) -> int:
        """Attempts drawn."""
        return sum(problem.num_attempts for problem in self.problems)

    @property
    def num_tokens(self) -> int:
        """Tokens generated."""
        return sum(problem.num_tokens for problem in self.problems)

    @property
    def estimated_tokens_saved(self) -> float:
        """Tokens that the undrawn attempts would have cost, were each as long as its problem's drawn ones."""
        return sum((self.num_votes / p.num_attempts - 1) * p.num_tokens for p in self.problems if p.num_attempts)


def vote(
    task: Grader,
    problems: Iterable[Problem],
    generator: Generator,
    sampling: Sampling,
    *,
    num_votes: int,
    seed: int,
    batch_size: int = 4,
    rule: VoteStop | None = None,
    events: EventSink | None = None,
) -> VoteReport:
    """Elect an answer to each problem among at most ``num_votes`` attempts, drawn ``batch_size`` at a time.

    Args: task: Reads answers out of attempts, and grades what is elected. problems: What to answer. generator: Draws
        the attempts; all open problems are asked in one call. sampling: How it draws them. num_votes: Most attempts at
        a problem. seed: Root of the samples' seeds: the attempts are those that
        :func:`spiritsafe.rollouts.attempts.collect` draws from the same seed, as far as the Generator's numbers do not
        depend on what is drawn beside a sample. batch_size: Attempts at a problem between two looks at its tally. rule:
        When to stop. events: Hears of progress.

    Raises:
        TaskError: No problems, or one of them twice.
        RecipeError: A count is not positive.
        EndpointError: The Generator is unusable.
    """
    todo = list(problems)
    if num_votes < 1 or batch_size < 1:
        raise RecipeError(f"num_votes is {num_votes}, batch_size {batch_size}.", hint="Both must be at least 1.")
    if not todo or len({problem.id for problem in todo}) < len(todo):
        raise TaskError(f"Problems of {task.name} are missing or given twice.", hint="Give each problem once.")
    rule, watcher = rule or VoteStop(), events or NullSink()
    booths = {problem.id: _Booth(task, problem) for problem in todo}
    is_open = list(booths.values())
    while is_open:
        count = min(batch_size, num_votes - is_open[0].num_drawn)
        prompts = [booth.prompt(count, seed) for booth in is_open]
        asked = {(p.problem_id, p.first_sample + i) for p in prompts for i in range(count)}
        for attempt in generator.generate(prompts, sampling):
            if (key := (attempt.problem_id, attempt.sample_index)) not in asked:
                raise EndpointError(
                    f"The generator gave an attempt at {key[0]}, sample {key[1]}, that was not asked for.",
                    hint="Report this to the generator's author.",
                )
            asked.remove(key)
            booths[attempt.problem_id].receive(attempt)
        if asked:
            raise EndpointError(
                f"The generator ended with {len(asked)} attempts missing.", hint="Report this to its author."
            )
        for booth in is_open:
            booth.count()
        is_open = [booth for booth in is_open if not booth.tally.may_stop(rule, num_votes - booth.num_drawn)]
        watcher.progress(len(todo) - len(is_open), len(todo), "problems", f"{len(is_open)} votes open")
    return VoteReport(rule=rule, num_votes=num_votes, problems=tuple(booth.result() for booth in booths.values()))


@final
class Tally:
    """Votes of one problem, counted in the order in which they were given."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()  # keeps the order of first votes

    def add(self, key: str | None) -> None:
        """Count one vote; None abstains."""
        if key is not None:
            self._counts[key] += 1

    @property
    def leader(self) -> str | None:
        """The answer with most votes, the first given on a tie; None without a vote."""
        return max(self._counts, key=self._counts.__getitem__, default=None)

    def is_decided(self, num_left: int) -> bool:
        """Whether no further ``num_left`` votes can elect another answer."""
        leader = self.leader
        if leader is None:
            return num_left == 0
        votes, led = self._counts[leader], False
        for key, count in self._counts.items():
            # Whoever was named before the leader wins a tie against it, whoever came later loses one.
            if key == leader:
                led = True
            elif count + num_left > votes or (count + num_left == votes and not led):
                return False
        return num_left <= votes  # an answer that nobody has given yet would come later still

    def certainty(self) -> float:
        """Probability that the leader is more probable than the runner-up: ``1 - I_0.5(a + 1, b + 1)``.

        From a uniform prior over the two's shares of their votes (arXiv 2305.11860, Beta stopping criterion).
        """
        counts = [*sorted(self._counts.values(), reverse=True), 0, 0]
        return 1.0 - float(special.betainc(counts[0] + 1, counts[1] + 1, 0.5))

    def may_stop(self, rule: VoteStop, num_left: int) -> bool:
        """Whether the rule ends the vote here."""
        if rule.kind == "never":
            return num_left == 0
        confident = rule.kind == "confident" and self.leader is not None and self.certainty() >= rule.confidence
        return confident or self.is_decided(num_left)


@final
class _Booth:
    """One problem on its way to a decision; votes of a batch are counted in order of sample."""

    def __init__(self, task: Grader, problem: Problem) -> None:
        self._task = task
        self._problem = problem
        self._arrived: dict[int, tuple[Attempt, Verdict]] = {}
        self._is_correct: dict[str, bool] = {}
        self._abstained = self._unscored = self._tokens = 0
        self.tally = Tally()
        self.num_drawn = 0

    def prompt(self, count: int, seed: int) -> Prompt:
        return Prompt(
            problem_id=self._problem.id,
            messages=self._problem.messages,
            num_samples=count,
            first_sample=self.num_drawn,
            seed=seed,
        )

    def receive(self, attempt: Attempt) -> None:
        self._arrived[attempt.sample_index] = attempt, grade_attempt(self._task, self._problem, attempt)

    def count(self) -> None:
        for _, (attempt, verdict) in sorted(self._arrived.items()):
            key = vote_key(verdict.answer) if verdict.status in ("correct", "wrong") else None
            self.tally.add(key)
            if key is None:
                self._abstained += 1
            else:
                self._is_correct.setdefault(key, verdict.status == "correct")
            self._unscored += verdict.status == "unscored"
            self._tokens += attempt.num_tokens
        self.num_drawn += len(self._arrived)
        self._arrived = {}

    def result(self) -> ProblemVote:
        leader = self.tally.leader
        return ProblemVote(
            problem_id=self._problem.id,
            answer=leader,
            is_correct=leader is not None and self._is_correct[leader],
            num_attempts=self.num_drawn,
            num_tokens=self._tokens,
            num_abstained=self._abstained,
            num_unscored=self._unscored,
        )
