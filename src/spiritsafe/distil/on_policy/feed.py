"""On-policy documents: the student answers, and learns on its own answers while they are still its own.

In: a pool of training problems and the student in training. Out: the documents of each step. At the start of each round
the student as it then is answers some problems (the engine shares its weights), the answers are graded if there is a
task, kept on disk, and served over the round's steps together with off-policy documents. What is learnt *on* them is
the objective's business: exact reverse KL or JSD against a live teacher (GKD, arXiv 2306.13649), or anything else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import final

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import EndpointError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import Attempt, Problem, Prompt
from spiritsafe.core.seeds import derive_seed
from spiritsafe.distil.on_policy.config import (
    Cursor,
    OnPolicyConfig,
    StepMix,
    VerdictWeights,
    endless_shuffle,
    mix_of_round,
)
from spiritsafe.distil.on_policy.rounds import OWN_ROUNDS, OwnAnswer, OwnHeader, OwnRound, record_round
from spiritsafe.models import Document, LanguageModel, LoadedModel, make_generator
from spiritsafe.rollouts import Grader, grade_attempt
from spiritsafe.training import (
    RoundFeed,
    TrainConfig,
    check_answer_length,
    check_documents,
    check_training_pool,
    describe_documents,
    weights_fingerprint,
)


@final
@dataclass(frozen=True)
class _OpenRound:
    """The round that is being served: its documents, their division over its steps, and where the next one starts."""

    documents: list[Document]
    steps: tuple[StepMix, ...]
    after: Cursor


def _check_options(config: OnPolicyConfig, train_config: TrainConfig, *, has_task: bool, has_off_policy: bool) -> None:
    """Refuse, before anything heavy, what could not take effect or would end in an empty step."""
    if train_config.max_steps != config.num_steps or train_config.max_epochs or train_config.max_tokens:
        raise RecipeError(
            f"The rounds make {config.num_steps} steps; the training configuration sets other limits.",
            hint=f"Set max_steps to {config.num_steps}, and neither max_epochs nor max_tokens.",
        )
    if config.share < 1.0 and not has_off_policy:
        raise RecipeError(
            f"share is {config.share}, but there are no off-policy documents for the rest.",
            hint="Give off-policy documents, or set share to 1.",
        )
    if not has_task and config.weights != VerdictWeights():
        raise RecipeError("Weights by verdict need a task that grades.", hint="Give the task, or leave weights out.")
    if config.weights.drops_some and not has_off_policy:
        raise RecipeError(
            "Weights of 0 may leave a step without any answer, and there are no off-policy documents.",
            hint="Give some off-policy documents to fall back on, or use small weights instead of 0.",
        )


def _check_pool(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    if not problems:
        raise RecipeError("There is no problem to answer.", hint="Give a pool of training problems.")
    check_training_pool(problems)
    return tuple(problems)


def _check_prompts(
    student: LoadedModel, problems: Sequence[Problem], config: OnPolicyConfig, train_config: TrainConfig
) -> list[list[int]]:
    """Tokens of each prompt; with the longest answer each must fit a micro-batch and the model's context."""
    prompts = [student.chat.prompt_ids(problem.messages) for problem in problems]
    longest = max(map(len, prompts)) + config.sampling.max_tokens
    check_answer_length(student.model, longest, train_config)
    return prompts


@final
class OnPolicyFeed(RoundFeed[OwnRound, _OpenRound]):
    """Documents that the student in training has just written, mixed with off-policy ones.

    Args:
        student: What will be trained, as the run starts (the same in each sitting). Its chat format renders prompts.
        problems: The pool; all of the train bucket. They come in shuffled order, each once before any comes again.
        config: How often and how the student answers.
        train_config: That of the run; its ``max_steps`` must be ``config.num_steps``, its other limits and
            ``tokens_per_step`` decide nothing here.
        directory: For rounds and their statistics; made if missing.
        off_policy: Documents of another origin (worked solutions, a teacher's traces); read when a step uses them.
        task: Grades the answers; None: they are not graded and all weigh 1.
        max_batch: Most answers drawn at a time; changes speed and memory, not what is drawn (beyond rounding).

    Attributes:
        num_steps: Updates of the run.

    Raises:
        RecipeError: Limits, share, weights, pool and documents do not fit together; the message says which.
        CompatibilityError: A prompt, or an off-policy document, does not fit the model.
    """

    def __init__(
        self,
        student: LoadedModel,
        problems: Sequence[Problem],
        config: OnPolicyConfig,
        train_config: TrainConfig,
        *,
        directory: Path,
        off_policy: Sequence[Document] = (),
        task: Grader | None = None,
        events: EventSink | None = None,
        max_batch: int = 64,
    ) -> None:
        _check_options(config, train_config, has_task=task is not None, has_off_policy=bool(off_policy))
        self._student = student
        self._problems = _check_pool(problems)
        self._config = config
        self._off_policy = off_policy
        self._task = task
        self._max_batch = max_batch
        self.num_steps = config.num_steps
        if off_policy:
            check_documents(off_policy, train_config, student.model)
        prompts = _check_prompts(student, self._problems, config, train_config)
        description: dict[str, JSON] = {
            "feed": "on_policy",
            "config": config.to_json(),
            "problems": digest([problem.content_digest for problem in self._problems]),
            "prompts": digest(prompts),
            "task": None if task is None else [task.name, task.version, task.verifier.name, task.verifier.version],
            "off_policy": describe_documents(off_policy) if off_policy else None,
        }
        super().__init__(
            OWN_ROUNDS,
            directory=directory,
            steps_per_round=config.steps_per_round,
            description=description,
            first_weights={"student": weights_fingerprint(student.model)},
            events=events,
        )
        self._by_id = {problem.id: problem for problem in self._problems}

    def documents_of(self, step: int, model: LanguageModel) -> list[Document]:
        """The documents of a step; at the start of a round the model answers first.

        Raises:
            RecipeError: No answer can be learnt from, and there are no off-policy documents.
            IntegrityError: The round's file is missing, damaged or another run's.
            NumericalError: The model's logits are not finite.
            StorageError: The round cannot be written.
        """
        opened, place = self._opened(step, model)
        mix = opened.steps[place]
        if mix.num_off and not self._off_policy:
            raise RecipeError(
                f"Step {step + 1} has no answer to learn from.",
                hint="Give off-policy documents to fall back on; the round's file shows what the student wrote.",
            )
        chosen = opened.documents[mix.first_own : mix.first_own + mix.num_own]
        chosen += [self._off_policy[at] for at in self._off_places(mix)]
        Random(derive_seed(self._config.seed, "order", step)).shuffle(chosen)
        return chosen

    def _off_places(self, mix: StepMix) -> list[int]:
        if not mix.num_off:
            return []
        seed = (self._config.seed, "off-policy")
        return endless_shuffle(len(self._off_policy), first=mix.first_off, count=mix.num_off, seed=seed)

    # ---- rounds

    def _before(self, index: int) -> Cursor:
        if index == 0:
            return Cursor()
        if self._open is None or self._open[0] != index - 1:
            self._open = index - 1, self._divided(self._read(index - 1))
        return self._open[1].after

    def _prepare(self, round_: OwnRound) -> _OpenRound:
        opened = self._divided(round_)
        num_off, num_fallback = sum(s.num_off for s in opened.steps), sum(s.num_fallback for s in opened.steps)
        row = record_round(self._directory, round_, num_off=num_off, num_fallback=num_fallback)
        if row is not None:
            self._events.metrics("on_policy_round", row)
        return opened

    def _divided(self, round_: OwnRound) -> _OpenRound:
        """Documents of a round's kept answers, shuffled, and their division over its steps."""
        kept = round_.kept
        Random(derive_seed(self._config.seed, "round order", round_.header.round_index)).shuffle(kept)
        documents = [
            self._student.chat.document_from_tokens(
                self._by_id[answer.problem_id].messages, answer.token_ids, weight=answer.weight
            )
            for answer in kept
        ]
        steps, after = mix_of_round(self._config, len(kept), round_.header.before)
        return _OpenRound(documents, steps, after)

    def _prompts(self, index: int) -> list[Prompt]:
        """The round's prompts; a problem that comes twice in a round is asked for twice as many samples."""
        config = self._config
        first = index * config.prompts_per_round
        places = endless_shuffle(
            len(self._problems), first=first, count=config.prompts_per_round, seed=(config.seed, "prompts")
        )
        # The engine draws sample i of a prompt from (its seed, its problem, i).
        seed = derive_seed(config.seed, "on-policy", index)
        return [
            Prompt(
                problem_id=self._problems[place].id,
                messages=self._problems[place].messages,
                num_samples=times * config.samples_per_prompt,
                seed=seed,
            )
            for place, times in Counter(places).items()
        ]

    def _draw(self, index: int, model: LanguageModel, weights: str, before: Cursor) -> OwnRound:
        started = time.perf_counter()
        prompts = self._prompts(index)
        model.eval()
        # A generator of its own for each round: a resumed run then meets buffers of the same sizes, hence sums in the
        # same order; and no cache stays in memory while the model trains.
        generator = make_generator(replace(self._student, model=model), max_batch=self._max_batch)
        try:
            attempts = generator.generate(prompts, self._config.sampling_of(index))
            drawn = {(attempt.problem_id, attempt.sample_index): self._grade(attempt) for attempt in attempts}
        finally:
            generator.close()
        wanted = [(prompt.problem_id, sample) for prompt in prompts for sample in range(prompt.num_samples)]
        if drawn.keys() != set(wanted):
            raise EndpointError(
                f"The engine gave {len(drawn)} answers where {len(wanted)} were asked for.",
                hint="Report this with the round's configuration.",
            )
        answers = tuple(drawn[key] for key in wanted)
        header = OwnHeader(
            feed=self._digest,
            round_index=index,
            before=before,
            weights=weights,
            cap=self._config.cap_of(index),
            seconds=round(time.perf_counter() - started, 3),
            num_answers=len(answers),
        )
        return OwnRound(header, answers)

    def _grade(self, attempt: Attempt) -> OwnAnswer:
        verdict = None
        if self._task is not None:
            verdict = grade_attempt(self._task, self._by_id[attempt.problem_id], attempt)
        return OwnAnswer(
            problem_id=attempt.problem_id,
            sample_index=attempt.sample_index,
            token_ids=attempt.token_ids,
            finish_reason=attempt.finish_reason,
            verdict=verdict,
            weight=self._config.weights.of(verdict, attempt.finish_reason),
            surprisal=-sum(attempt.logprobs) / len(attempt.logprobs) if attempt.logprobs else None,
        )
