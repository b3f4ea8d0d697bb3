"""Answers: asking a Generator and grading what comes back.

In: problems, a registration, a Generator, a Task. Out: one :class:`Answer` for each try, and an
:class:`~spiritsafe.exam.records.result.Outcome` that names its status and commits to it without showing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import EndpointError
from spiritsafe.core.generator import Announcing, Generator
from spiritsafe.core.records import (
    Attempt,
    FinishReason,
    Message,
    Problem,
    Prompt,
    Record,
    Sampling,
    Verdict,
    omit_default,
)
from spiritsafe.core.text.lengths import within_limits
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.paper.files import keyed_salt
from spiritsafe.exam.records.paper import PaperHeader, PaperProblem
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import Half, Outcome
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.tasks import Task

Try = tuple[int, int]
"""(place in the bank, sample index)."""


LOST = "asked, but the answer was lost when the sitting was interrupted"
"""Why a lost try failed."""

_BATCH = 32  # tries announced together to a Generator that does not say itself when it sends them


class Answer(Record):
    """One try: what the model wrote and what the verifier said (None when there was nothing to grade).

    Attributes:
        lost: See :class:`~spiritsafe.exam.records.result.Outcome`.
    """

    index: int
    sample_index: int
    attempt: Attempt
    verdict: Verdict | None
    lost: bool = omit_default(False)

    def __repr__(self) -> str:  # never the text: a traceback or a log must not show a sealed problem's answer
        return f"Answer(index={self.index}, sample_index={self.sample_index})"

    __str__ = __repr__


def how_it_ended(finish_reason: FinishReason, verdict: Verdict | None) -> OutcomeStatus:
    """How a try ended; a cut-off try counts as truncated unless it was right all the same."""
    if finish_reason == "error":
        return "error"
    if finish_reason == "refused" or verdict is None:
        return "refused"
    if finish_reason == "length" and verdict.status in ("wrong", "unparsed"):
        return "truncated"
    return verdict.status


def status_of(answer: Answer) -> OutcomeStatus:
    """How a try ended."""
    return how_it_ended(answer.attempt.finish_reason, answer.verdict)


def lost_answer(place: Try, problem: PaperProblem, registration: Registration) -> Answer:
    """A try that was asked and whose answer is gone: an error, never asked again."""
    attempt = Attempt(
        problem_id=problem.problem.id,
        sample_index=place[1],
        model=registration.model_digest,
        sampling=registration.sampling,
        seed=registration.seed,
        text="",
        finish_reason="error",
        error=LOST,
    )
    return Answer(index=place[0], sample_index=place[1], attempt=attempt, verdict=None, lost=True)


def committed_attempt(answer: Answer) -> dict[str, JSON]:
    """What a commitment says of an attempt: all of it but the seconds, for the clock is no part of an answer."""
    attempt: dict[str, JSON] = answer.attempt.to_json()
    del attempt["seconds"]
    return attempt


def committed_verdict(answer: Answer) -> dict[str, JSON] | None:
    """What a commitment says of a verdict."""
    return answer.verdict.to_json() if answer.verdict else None


def answer_salt(secret: str, registration: str, place: Try) -> str:
    """The salt of an answer's commitment: each try of each sitting has its own, so that one opens no other."""
    return keyed_salt(secret, "answer", registration, *place)


def answer_commitment(salt: str, attempt: Mapping[str, JSON], verdict: Mapping[str, JSON] | None) -> str:
    """Hex SHA-256 over salt, attempt and verdict."""
    return digest({"salt": salt, "attempt": attempt, "verdict": verdict}).removeprefix("sha256:")


def outcome_of(answer: Answer, half: Half, *, secret: str, registration: str) -> Outcome:
    """The public side of an answer.

    Args:
        half: Where its problem is.
        secret: The paper's secret, which salts the commitment.
        registration: Digest of the registration, so that no two sittings share a salt.
    """
    salt = answer_salt(secret, registration, (answer.index, answer.sample_index))
    return Outcome(
        index=answer.index,
        half=half,
        sample_index=answer.sample_index,
        status=status_of(answer),
        score=answer.verdict.score if answer.verdict else 0.0,
        num_prompt_tokens=answer.attempt.num_prompt_tokens,
        num_tokens=answer.attempt.num_tokens,
        commitment=answer_commitment(salt, committed_attempt(answer), committed_verdict(answer)),
        lost=answer.lost,
    )


def follows(outcome: Outcome, attempt: Mapping[str, JSON], verdict: Mapping[str, JSON] | None) -> bool:
    """Whether an outcome says of an opened answer what its attempt and verdict do; what was answered was graded."""
    answer = Answer(
        index=outcome.index,
        sample_index=outcome.sample_index,
        attempt=Attempt.from_json(attempt),
        verdict=None if verdict is None else Verdict.from_json(verdict),
    )
    told = (status_of(answer), answer.verdict.score if answer.verdict else 0.0)
    tokens = (answer.attempt.num_prompt_tokens, answer.attempt.num_tokens)
    is_graded = answer.attempt.finish_reason in ("stop", "length")
    return (
        told == (outcome.status, outcome.score)
        and tokens == (outcome.num_prompt_tokens, outcome.num_tokens)
        and is_graded == (verdict is not None)
    )


def conversation(preamble: Sequence[Message], problem: Problem) -> tuple[Message, ...]:
    """A problem's messages behind the preamble; two system texts become one, for many chat templates take one only."""
    own = problem.messages
    if not preamble or own[0].role != "system":
        return (*preamble, *own)
    if preamble[0].role != "system":
        return (own[0], *preamble, *own[1:])
    system = own[0].model_copy(update={"content": f"{preamble[0].content}\n\n{own[0].content}"})
    return (system, *preamble[1:], *own[1:])


def _prompts(
    problems: Mapping[int, PaperProblem], registration: Registration, wanted: Sequence[Try], preamble: Sequence[Message]
) -> Iterator[Prompt]:
    """One prompt for each run of neighbouring samples, in the order wanted."""
    runs: list[list[int]] = []  # [index, first sample, samples]
    for index, sample in wanted:
        if runs and runs[-1][0] == index and runs[-1][1] + runs[-1][2] == sample:
            runs[-1][2] += 1
        else:
            runs.append([index, sample, 1])
    for index, first, samples in runs:
        problem = problems[index].problem
        yield Prompt(
            problem_id=problem.id,
            messages=conversation(preamble, problem),
            num_samples=samples,
            first_sample=first,
            seed=registration.seed,
        )


def _attempts(
    generator: Generator,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    announce: Callable[[str, int], None] | None,
    release: Callable[[str, int], None],
) -> Iterator[Attempt]:
    """What the Generator draws; each try is announced before it leaves, and released where it was not asked."""
    if announce is None:
        yield from generator.generate(prompts, sampling)
    elif isinstance(generator, Announcing):
        yield from generator.generate_announced(prompts, sampling, announce, release)
    else:  # the Generator does not say when it sends what: small batches, each announced as a whole
        rest = iter(prompts)
        while batch := list(islice(rest, _BATCH)):
            for prompt in batch:
                for sample in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                    announce(prompt.problem_id, sample)
            yield from generator.generate(batch, sampling)


def ask(
    problems: Mapping[int, PaperProblem],
    registration: Registration,
    wanted: Sequence[Try],
    generator: Generator,
    task: Task,
    *,
    preamble: Sequence[Message] = (),
    announce: Callable[[Try], None] | None = None,
    release: Callable[[Try], None] = lambda _: None,
) -> Iterator[Answer]:
    """Ask the wanted tries, cut each answer to its registered limits, grade it as it comes.

    Args:
        registration: Sampling, seed, and whom error messages name.
        preamble: Messages in front of each problem's own.
        announce: Called with each try before it leaves the host, from any thread; None: nothing is announced.
        release: Called with each announced try that was not asked after all; its answer, an error, comes next.

    Raises:
        EndpointError: The Generator answered what nobody asked, sampled otherwise than registered, or ended early.
    """
    index_of = {problems[index].problem.id: index for index, _ in wanted}
    left, name = set(wanted), quoted_name(registration.model_name)
    hint = "The Generator breaks its protocol; the answers so far are kept: repair it and run the same command again."
    prompts = list(_prompts(problems, registration, wanted, preamble))
    before = None if announce is None else lambda problem_id, sample: announce((index_of[problem_id], sample))

    def not_asked(problem_id: str, sample: int) -> None:
        release((index_of[problem_id], sample))

    sampling = registration.sampling
    for drawn in _attempts(generator, prompts, sampling, before, not_asked):
        attempt = within_limits(drawn, sampling.max_tokens, sampling.stop)
        index = index_of.get(attempt.problem_id, -1)
        if (index, attempt.sample_index) not in left:
            raise EndpointError(f"{name} answered something that was not asked.", hint=hint)
        if attempt.sampling != sampling:
            raise EndpointError(f"{name} did not sample as registered.", hint=hint)
        left.remove((index, attempt.sample_index))
        graded = attempt.finish_reason in ("stop", "length")
        verdict = task.grade(problems[index].problem, attempt.text) if graded else None
        yield Answer(index=index, sample_index=attempt.sample_index, attempt=attempt, verdict=verdict)
    if left:
        raise EndpointError(f"{name} left {len(left)} of {len(wanted)} tries open.", hint=hint)


def preamble_of(header: PaperHeader, registration: Registration) -> tuple[Message, ...]:
    """The messages in front of each problem: the registration's own, or the protocol's."""
    if registration.preamble is not None:
        return registration.preamble
    return header.protocol.preamble if header.protocol else ()
