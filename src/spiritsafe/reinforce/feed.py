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
from functools import partial
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.core.generator import Generator
from spiritsafe.core.process.platforms import Platform, continue_in
from spiritsafe.core.records import Problem
from spiritsafe.models import (
    Document,
    FallbackGenerator,
    LanguageModel,
    LoadedModel,
    LocalGenerator,
    make_generator,
    this_platform,
)
from spiritsafe.reinforce.checks import check_pool, check_run, check_source
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.old_logprobs import old_logprobs
from spiritsafe.reinforce.pool import PromptPool
from spiritsafe.reinforce.rounds.documents import answers_of_steps, documents_of_steps, has_advantage
from spiritsafe.reinforce.rounds.draw import Drawer
from spiritsafe.reinforce.rounds.grading import ManyGrader
from spiritsafe.reinforce.rounds.log import ROUNDS_FILE, DevScore, RoundLog
from spiritsafe.reinforce.rounds.store import (
    Answer,
    Round,
    RoundHeader,
    outcomes_of,
    read_header,
    read_round,
    round_path,
    write_round,
)
from spiritsafe.rollouts import Grader
from spiritsafe.training import CollectiveFeed, Parallel, TrainConfig, current_parallel, weights_fingerprint

Publish = Callable[[LanguageModel, int], None]
"""Told the model and the number of the round before the round is drawn, in the main process."""


def _num_wanted(config: ReinforceConfig, num_asked: int, num_kept: int) -> int:
    """Problems to ask next: at first a round's worth, then as many as will probably fill it, by what was seen."""
    if not num_asked:
        return config.prompts_per_round
    missing = config.prompts_per_round - num_kept
    return min(config.prompts_per_round, -(-missing * (num_asked + 2) // (num_kept + 1)))


@final
class RolloutFeed(CollectiveFeed):
    """Groups of answers that the policy in training has just drawn.

    Args:
        loaded: What will be trained, as the run starts (the same in each sitting). Its chat format renders prompts.
        task: Grades the answers.
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
        self._directory = ensure_directory(directory)
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
        self._description: dict[str, JSON] = {
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
        self._digest = digest({**self._description, "model": weights_fingerprint(loaded.model)})
        self._next_round = 0
        self._last_header = ""
        self._open: tuple[int, list[list[Document]]] | None = None
        self._events = events or NullSink()
        self.num_steps = config.num_steps
        self.log = RoundLog(
            self._directory / ROUNDS_FILE,
            config,
            dev_score=dev_score or (lambda step: None),
            events=self._events,
        )
        self.end_step = self.log.end_step

    def describe(self) -> dict[str, JSON]:
        """Configuration and digests of problems, rendered prompts, task and generator."""
        return self._description

    def epoch_of(self, step: int) -> int:
        """The round that a step belongs to."""
        return step // self._config.steps_per_round

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
        index, place = divmod(step, self._config.steps_per_round)
        if self._open is None or self._open[0] != index:
            self._open = index, self._enter(index, model if place == 0 else None)
        return self._open[1][place]

    # ---- rounds

    def _enter(self, index: int, model: LanguageModel | None) -> list[list[Document]]:
        """Open a round: from disk where it is there, else drawn.

        Args:
            index: Which.
            model: The policy, at the start of the round; None in the middle, when only the file can be used.
        """
        parallel = current_parallel()
        self._replay(index, parallel)
        weights = None
        if model is not None:
            weights, head = weights_fingerprint(model), model.head().weight_VH
            parallel.on_main(partial(self._say_platform, this_platform(head.device, head.dtype)))
        round_ = parallel.on_main(lambda: self._find(index, weights))
        if round_ is None:
            if model is None or weights is None:
                raise AssertionError("in the middle of a round it is read")
            round_ = self._draw(index, model, weights, parallel)
        self._learn(round_.header)
        self.end_step = parallel.on_main(lambda: self.log.enter(round_, self._pool.shares()))
        return documents_of_steps(round_, self._config, self._prompt_ids)

    def _say_platform(self, here: Platform) -> None:
        is_begun = any(self._directory.glob("round-*"))
        what = f"The rounds in {self._directory}"
        continue_in(self._directory, here, what=what, is_begun=is_begun, events=self._events)

    def _replay(self, index: int, parallel: Parallel) -> None:
        """Take in all rounds before one, where an earlier sitting drew them."""
        first = self._next_round
        headers = parallel.on_main(
            lambda: [read_header(self._directory, i, feed=self._digest) for i in range(first, index)]
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

    def _learn(self, header: RoundHeader) -> None:
        self._pool.learn(header.outcomes)
        self._next_round = header.round_index + 1
        self._last_header = header.content_digest

    def _find(self, index: int, weights: str | None) -> Round | None:
        """The round on disk, if it can be used; ``weights`` None: no other can."""
        path = round_path(self._directory, index)
        if weights is not None and not path.exists():
            return None
        found = read_round(self._directory, index, feed=self._digest)
        follows = found.header.before == self._last_header
        if weights is not None:
            # A sitting that was killed may have left rounds that its checkpoint had not reached. Other weights now (a
            # GPU does not repeat itself to the last bit) mean that the file is not on-policy: draw again.
            return found if follows and found.header.weights == weights else None
        if not follows:
            raise self._does_not_follow(index)
        return found

    def _draw(self, index: int, model: LanguageModel, weights: str, parallel: Parallel) -> Round:
        config, publish = self._config, self._publish
        if publish is not None:
            parallel.on_main(lambda: publish(model, index))
        groups: dict[str, list[Answer]] = {}
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
        header = RoundHeader(
            feed=self._digest,
            round_index=index,
            before=self._last_header,
            weights=weights,
            draws=tuple(draws),
            staleness=self._staleness(index),
            draw_seconds=round(draw_seconds, 4),
            grade_seconds=round(grade_seconds, 4),
            outcomes=outcomes_of(answers),
            num_answers=len(answers),
        )
        drawn = self._with_old(Round(header, answers), model, parallel)
        parallel.on_main(lambda: write_round(self._directory, drawn))
        return drawn

    def _with_old(self, round_: Round, model: LanguageModel, parallel: Parallel) -> Round:
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
        return Round(round_.header, tuple(answers))

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
