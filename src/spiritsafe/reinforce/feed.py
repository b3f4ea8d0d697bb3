"""Documents of reinforcement learning: the policy answers, is rewarded, and learns while its answers are its own.

In: a pool of training problems and the policy in training. Out: the documents of each step, a
:class:`~spiritsafe.training.data.feed.CollectiveFeed`. At the start of each round:

1. the problems that are due are asked, several answers each; the engine shares the weights in training;
2. answers are graded and rewarded; groups without an advantage are dropped before the model sees them again;
3. other problems are asked in their place, at most ``refills`` times;
4. where several updates will follow, the trainer computes the log-probabilities that their ratios are taken to;
5. the round is kept on disk, and what it says of the pool is taken in;
6. its groups are served over the round's steps.

A run that was killed reads the finished round from disk, so on a CPU it ends in the same weights as an unbroken one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, final

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import IntegrityError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Problem
from spiritsafe.models import Document, FallbackGenerator, LanguageModel, LoadedModel, LocalGenerator, make_generator
from spiritsafe.reinforce.checks import check_pool, check_run, check_source
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.old_logprobs import old_logprobs
from spiritsafe.reinforce.pool import PromptPool
from spiritsafe.reinforce.rounds.documents import answers_of_steps, documents_of_steps, has_advantage
from spiritsafe.reinforce.rounds.draw import Drawer
from spiritsafe.reinforce.rounds.grading import ManyGrader
from spiritsafe.reinforce.rounds.log import DevScore, RoundLog
from spiritsafe.reinforce.rounds.store import ROUNDS, PolicyHeader, PolicyRound, RewardedAnswer, outcomes_of
from spiritsafe.rollouts import Grader
from spiritsafe.training import (
    ROUNDS_FILE,
    CollectiveFeed,
    Parallel,
    RoundFeed,
    TrainConfig,
    current_parallel,
    round_path,
    weights_fingerprint,
)

V = TypeVar("V")

Publish = Callable[[LanguageModel, int], None]
"""Told the model and the number of the round before the round is drawn, in the main process."""


def _num_wanted(config: ReinforceConfig, num_asked: int, num_kept: int) -> int:
    """Problems to ask next: at first a round's worth, then as many as will probably fill it, by what was seen."""
    if not num_asked:
        return config.prompts_per_round
    missing = config.prompts_per_round - num_kept
    return min(config.prompts_per_round, -(-missing * (num_asked + 2) // (num_kept + 1)))


@final
class RolloutFeed(RoundFeed[PolicyRound, list[list[Document]]], CollectiveFeed):
    """Groups of answers that the policy in training has just drawn.

    Args:
        loaded: What will be trained, as the run starts (the same in each sitting). Its chat format renders prompts.
        problems: The pool; all of the train bucket.
        config: How much is asked, and what is rewarded.
        train_config: That of the run; its ``max_steps`` must be ``config.num_steps``, its other limits and
            ``tokens_per_step`` decide nothing here.
        directory: For rounds and their statistics; made if missing.
        measured: Pass rates known beforehand, by problem id.
        generator: Answers in place of the engine; its weights are as old as ``publish`` leaves them. Ids that it hides
            are encoded again from its texts; log-probabilities that it does not give count as those in training.
        publish: Brings the weights in training to the generator.
        graders: Grades many answers at a time, while others are drawn; None: the task does.
        dev_score: For alarms and statistics.
        events: Hears of each round and each alarm.
        max_batch: Most answers drawn at a time; changes speed and memory, not what is drawn (beyond rounding).
        share_prefix: Whether every model that training asks can share prefixes.

    Attributes:
        num_steps: Updates that the run is planned for.
        end_step: Updates after which it ends; fewer when an alarm ends it.
        log: Rows and alarms of the rounds so far; complete in the main process.

    Raises:
        RecipeError: Limits, pool, generator and loss do not fit together; the message says how.
        CompatibilityError: A prompt does not fit the model.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        task: Grader,
        problems: Sequence[Problem],
        config: ReinforceConfig,
        train_config: TrainConfig,
        *,
        directory: Path,
        measured: Mapping[str, float] | None = None,
        generator: Generator | None = None,
        publish: Publish | None = None,
        graders: ManyGrader | None = None,
        dev_score: DevScore | None = None,
        events: EventSink | None = None,
        max_batch: int = 64,
        share_prefix: bool = True,
    ) -> None:
        check_run(config, train_config)
        check_source(config, generator, has_publish=publish is not None)
        self._prompt_ids = check_pool(loaded, problems, config, train_config, measured or {})
        self._loaded = loaded
        self._config = config
        self._generator = generator
        self._publish = publish
        self._max_batch = max_batch
        self._train_config = train_config
        self._share_prefix = share_prefix
        self._has_old = config.compares_with_old and (generator is None or publish is not None)
        self._kept_engine: LocalGenerator | FallbackGenerator | None = None
        self._drawer = Drawer(
            {problem.id: problem for problem in problems},
            config,
            loaded.chat,
            task,
            graders=graders,
            is_foreign=generator is not None,
        )
        self._pool = PromptPool(
            list(self._prompt_ids), config.pool, seed=config.seed, measured=measured, num_measured=config.group_size
        )
        description: dict[str, JSON] = {
            "feed": "rollouts",
            # Alarms decide how long the run goes on, not what it draws: they may change between sittings.
            "config": config.model_dump(mode="json", exclude={"alarms"}),
            "problems": digest([problem.content_digest for problem in problems]),
            "prompts": digest([list(ids) for ids in self._prompt_ids.values()]),
            "measured": digest(dict(measured or {})),
            "task": [task.name, task.version, task.verifier.name, task.verifier.version],
            "generator": None if generator is None else generator.describe().digest,
            **({"ratios": "to the trainer's own log-probabilities"} if self._has_old else {}),
        }
        super().__init__(
            ROUNDS,
            directory=directory,
            steps_per_round=config.steps_per_round,
            description=description,
            first_weights={"model": weights_fingerprint(loaded.model)},
            events=events,
        )
        self._next_round = 0
        self._last_header = ""
        self.num_steps = config.num_steps
        self.log = RoundLog(
            self._directory / ROUNDS_FILE, config, dev_score=dev_score or (lambda step: None), events=self._events
        )
        self.end_step = self.log.end_step

    def close(self) -> None:
        """Give the engine's memory back."""
        if self._kept_engine is not None:
            self._kept_engine.close()
            self._kept_engine = None

    def documents_of(self, step: int, model: LanguageModel) -> list[Document]:
        """The documents of a step; at the start of a round the model answers first. All processes must call it.

        None, when no group of the round has an advantage.

        Raises:
            RecipeError: No round so far had anything to learn from, as often as ``alarms.max_empty_rounds`` allows.
            IntegrityError: A round's file is missing, damaged or another run's.
            EndpointError: The generator is unusable.
            NumericalError: The model's logits are not finite.
            StorageError: The round cannot be written.
        """
        steps, place = self._opened(step, model)
        return steps[place]

    # ---- rounds

    def _enter(self, index: int, model: LanguageModel | None) -> PolicyRound:
        self._replay(index)
        round_ = super()._enter(index, model)
        if round_.header.before != self._last_header:
            raise self._does_not_follow(index)
        return round_

    def _on_main(self, call: Callable[[], V]) -> V:
        return current_parallel().on_main(call)

    def _before(self, index: int) -> str:
        return self._last_header

    def _prepare(self, round_: PolicyRound) -> list[list[Document]]:
        self._learn(round_.header)
        self.end_step = current_parallel().on_main(
            lambda: self.log.enter(round_, self._pool.shares()), refusals=(RecipeError,)
        )
        return documents_of_steps(round_, self._config, self._prompt_ids)

    def _replay(self, index: int) -> None:
        """Take in all rounds before one, where an earlier sitting drew them."""
        first = self._next_round
        headers = self._on_main(
            lambda: [ROUNDS.read_header(self._directory, i, feed=self._digest) for i in range(first, index)]
        )
        for header in headers:
            if header.before != self._last_header:
                raise self._does_not_follow(header.round_index)
            self._learn(header)

    def _does_not_follow(self, index: int) -> IntegrityError:
        return IntegrityError(
            f"{round_path(self._directory, index)} does not follow the round before it.",
            hint="Delete the run's directory to start again.",
        )

    def _learn(self, header: PolicyHeader) -> None:
        self._pool.learn(header.outcomes)
        self._next_round = header.round_index + 1
        self._last_header = header.content_digest

    def _draw(self, index: int, model: LanguageModel, weights: str, before: str) -> PolicyRound:
        config, publish, parallel = self._config, self._publish, current_parallel()
        if publish is not None:
            parallel.on_main(lambda: publish(model, index))
        groups: dict[str, list[RewardedAnswer]] = {}
        draws: list[int] = []
        num_kept, draw_seconds, grade_seconds = 0, 0.0, 0.0
        model.eval()
        with self._source(model) as generator:
            while num_kept < config.prompts_per_round and len(draws) <= config.refills:
                chosen = self._pool.choose(_num_wanted(config, len(groups), num_kept), without=groups)
                if not chosen:
                    break
                parts = parallel.gather(self._drawer.draw(generator, chosen[parallel.rank :: parallel.size], index))
                groups |= {problem_id: [] for problem_id in chosen}
                for answer in (answer for part in parts for answer in part.answers):
                    groups[answer.problem_id].append(answer)
                num_kept += sum(has_advantage(groups[problem_id], config.loss) for problem_id in chosen)
                draws.append(len(chosen))
                draw_seconds += max(part.draw_seconds for part in parts)
                grade_seconds += max(part.grade_seconds for part in parts)
        answers = tuple(answer for group in groups.values() for answer in group)
        header = PolicyHeader(
            feed=self._digest,
            round_index=index,
            before=before,
            weights=weights,
            draws=tuple(draws),
            staleness=self._staleness(index),
            draw_seconds=round(draw_seconds, 4),
            grade_seconds=round(grade_seconds, 4),
            outcomes=outcomes_of(answers),
            num_answers=len(answers),
        )
        return self._with_old(PolicyRound(header, answers), model, parallel)

    def _with_old(self, round_: PolicyRound, model: LanguageModel, parallel: Parallel) -> PolicyRound:
        """The round with what the trainer gives its answers before the first update, where ratios are taken to that."""
        if not self._has_old:
            return round_
        steps = answers_of_steps(round_, self._config, self._prompt_ids)
        computed = old_logprobs(
            model,
            [[document for _, document in step] for step in steps],
            micro_batch_tokens=self._train_config.micro_batch_tokens,
            share_prefix=self._share_prefix and model.shares_prefixes,
            temperature=self._config.loss.temperature,
            parallel=parallel,
        )
        of_answer = {
            (answer.problem_id, answer.sample_index): old
            for step, logprobs in zip(steps, computed, strict=True)
            for (answer, _), old in zip(step, logprobs, strict=True)
        }
        answers = (
            answer.model_copy(update={"old": of_answer.get((answer.problem_id, answer.sample_index), ())})
            for answer in round_.answers
        )
        return PolicyRound(round_.header, tuple(answers))

    def _staleness(self, index: int) -> int:
        is_fresh = self._generator is None or self._publish is not None
        return 0 if is_fresh else index * self._config.steps_per_round

    @contextmanager
    def _source(self, model: LanguageModel) -> Iterator[Generator]:
        """What answers.

        On a GPU the engine is kept, because capturing its graphs takes seconds. On a CPU each round has its own: a
        resumed run then meets buffers of the same sizes, hence sums in the same order, and no cache stays in memory
        while the model trains.
        """
        if self._generator is not None:
            yield self._generator
            return
        engine = self._kept_engine
        if engine is None:
            engine = make_generator(replace(self._loaded, model=model), max_batch=self._max_batch)
        if model.head().weight_VH.is_cuda:
            self._kept_engine = engine
            yield engine
            return
        try:
            yield engine
        finally:
            engine.close()
