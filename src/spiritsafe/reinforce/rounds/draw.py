"""Answers to problems, graded and rewarded, from the policy in training or from a server that runs a copy of it.

In: problem ids. Out: :class:`~spiritsafe.reinforce.rounds.store.RewardedAnswer` records in the order asked. An answer
is a function of the weights, the round's seed, the problem and the sample's number; so it does not matter which process
draws it, or in what company.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Attempt, Problem, Prompt, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models import ChatFormat
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.rewards import reward_of
from spiritsafe.reinforce.rounds.grading import Grading, ManyGrader
from spiritsafe.reinforce.rounds.store import RewardedAnswer
from spiritsafe.rollouts import Grader

_Tokens = tuple[tuple[int, ...], tuple[float, ...]]


def tokens_of(attempt: Attempt, chat: ChatFormat, *, max_tokens: int) -> _Tokens:
    """Tokens that a foreign source's attempt can be learnt from, with their log-probabilities where these are known.

    Ids are taken where they spell the text in this vocabulary; else the text is encoded again, with the end token if
    it ended by itself. Log-probabilities without ids are taken when they are as many as the tokens.

    Args:
        attempt: What the source gave.
        chat: Of the model in training.
        max_tokens: Most that the policy could have drawn; a text that needs more is not one that it drew.

    Returns:
        Ids and log-probabilities; both empty when there is nothing to learn from, the second when it is unknown.
    """
    if attempt.finish_reason in ("error", "refused"):
        return (), ()
    ids = attempt.token_ids
    if not (ids and max(ids) < chat.vocab_size and attempt.text in _texts_of(ids, chat)):
        end = [chat.end_id] if attempt.finish_reason == "stop" else []
        ids = (*chat.completion_ids(attempt.text, use="drawn"), *end)
    if len(ids) > max_tokens:
        return (), ()
    return ids, attempt.logprobs if len(attempt.logprobs) == len(ids) else ()


def _texts_of(ids: Sequence[int], chat: ChatFormat) -> tuple[str, str]:
    """What a source may call the text of these ids: with the thought's marks, or as its server reads them."""
    visible = ids[:-1] if ids[-1] in chat.eos_ids else ids
    return chat.completion_text(visible), chat.decode(ids)


@final
@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one call drew.

    Attributes:
        answers: In the order asked.
        draw_seconds: Until the last answer came.
        grade_seconds: Waited for verdicts after it.
    """

    answers: tuple[RewardedAnswer, ...]
    draw_seconds: float
    grade_seconds: float


def _other_answers(what: str) -> EndpointError:
    return EndpointError(
        f"The generator gave other answers than it was asked for: {what}.",
        hint="Report this to the generator's author.",
    )


@final
class Drawer:
    """Asks, grades, rewards.

    Args:
        problems: By id.
        chat: Of the model in training.
        graders: Grades many at a time; None: the task does.
        is_foreign: Whether attempts come from another program than the engine here.
    """

    def __init__(
        self,
        problems: Mapping[str, Problem],
        config: ReinforceConfig,
        chat: ChatFormat,
        task: Grader,
        *,
        graders: ManyGrader | None = None,
        is_foreign: bool = False,
    ) -> None:
        self._problems = problems
        self._config = config
        self._chat = chat
        self._task = task
        self._graders = graders
        self._is_foreign = is_foreign

    def draw(self, generator: Generator, problem_ids: Sequence[str], round_index: int) -> Draw:
        """A group of answers to each problem.

        Raises:
            EndpointError: The generator is unusable, or gave other attempts than it was asked for.
            NumericalError: The model's logits are not finite.
        """
        config = self._config
        started = time.perf_counter()
        seed = derive_seed(config.seed, "reinforce", round_index)
        prompts = [
            Prompt(problem_id=i, messages=self._problems[i].messages, num_samples=config.group_size, seed=seed)
            for i in problem_ids
        ]
        wanted = [(prompt.problem_id, sample) for prompt in prompts for sample in range(prompt.num_samples)]
        waiting = set(wanted)
        with Grading(self._task, self._graders) as grading:
            for attempt in generator.generate(prompts, config.sampling) if prompts else ():
                key = (attempt.problem_id, attempt.sample_index)
                if key not in waiting:
                    raise _other_answers(f"one at {key[0]}, sample {key[1]}, that was not asked for")
                waiting.remove(key)
                grading.add(self._problems[attempt.problem_id], attempt)
            if waiting:
                raise _other_answers(f"{len(waiting)} too few")
            drawn_at = time.perf_counter()
            graded = {(a.problem_id, a.sample_index): self._answer(a, v, round_index) for a, v in grading.finish()}
        return Draw(
            answers=tuple(graded[key] for key in wanted),
            draw_seconds=drawn_at - started,
            grade_seconds=time.perf_counter() - drawn_at,
        )

    def _answer(self, attempt: Attempt, verdict: Verdict, round_index: int) -> RewardedAnswer:
        config = self._config
        limit = config.sampling.max_tokens
        ids, logprobs = attempt.token_ids, attempt.logprobs
        if self._is_foreign:
            ids, logprobs = tokens_of(attempt, self._chat, max_tokens=limit)
        reward = reward_of(
            config.reward,
            verdict,
            finish_reason=attempt.finish_reason,
            num_tokens=len(ids),
            max_tokens=limit,
            coin=(config.seed, "coin", round_index, attempt.problem_id, attempt.sample_index),
        )
        return RewardedAnswer(
            problem_id=attempt.problem_id,
            sample_index=attempt.sample_index,
            text=attempt.text,
            token_ids=ids,
            logprobs=logprobs,
            finish_reason=attempt.finish_reason,
            verdict=verdict,
            reward=reward,
        )
