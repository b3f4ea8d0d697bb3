"""What is refused before anything heavy: settings that do not fit each other, the pool, or what answers.

In: the parts of a run. Out: tokens of each prompt, or an error that says what to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Problem
from spiritsafe.models import LoadedModel
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.training import TrainConfig, check_answer_length, check_training_pool


def check_run(config: ReinforceConfig, train_config: TrainConfig) -> None:
    """Refuse limits of training that are not those of the rounds.

    Raises:
        RecipeError: They differ.
    """
    if train_config.max_steps != config.num_steps or train_config.max_epochs or train_config.max_tokens:
        raise RecipeError(
            f"The rounds make {config.num_steps} steps; the training configuration sets other limits.",
            hint=f"Set max_steps to {config.num_steps}, and neither max_epochs nor max_tokens.",
        )


def check_source(config: ReinforceConfig, generator: Generator | None, *, has_publish: bool) -> None:
    """Refuse what cannot take effect with the source of answers.

    Raises:
        RecipeError: A correction or a hook without effect, or stop strings where ids are hidden.
    """
    truncates = config.loss.truncation is not None
    if generator is None:
        if has_publish:
            raise RecipeError(
                "The engine shares the weights in training; there is nothing to publish them to.",
                hint="Leave publish out, or give the generator that it is for.",
            )
        if truncates and config.steps_per_round == 1:
            raise RecipeError(
                "Truncation corrects for answers of other weights; here the weights in training answer.",
                hint="Leave loss.truncation out.",
            )
        return
    about = generator.describe()
    if truncates and not about.has_logprobs:
        raise RecipeError(
            f"Truncation needs the log-probabilities of answers, and {about.name} does not give them.",
            hint="Ask for them (RemoteConfig.logprobs), or leave loss.truncation out.",
        )
    if config.sampling.stop and not about.has_token_ids:
        raise RecipeError(
            f"Answers of {about.name} come as text; one that a stop string ended would be learnt with an end token.",
            hint="Leave sampling.stop out.",
        )


def check_pool(
    loaded: LoadedModel,
    problems: Sequence[Problem],
    config: ReinforceConfig,
    train_config: TrainConfig,
    measured: Mapping[str, float],
) -> dict[str, tuple[int, ...]]:
    """Tokens of each problem's prompt, by its id.

    Raises:
        RecipeError: Too few problems, one twice, one that is not for training, one too long for a micro-batch, or pass
            rates that are none.
        CompatibilityError: A prompt with the longest answer does not fit the model's context.
    """
    ids = {problem.id for problem in problems}
    if len(ids) < config.prompts_per_round:
        raise RecipeError(
            f"A round asks {config.prompts_per_round} problems; the pool has {len(ids)}.",
            hint="Give more problems, or lower prompts_per_round.",
        )
    check_training_pool(problems)
    if not measured.keys() <= ids or not all(0.0 <= rate <= 1.0 for rate in measured.values()):
        raise RecipeError(
            "A measured pass rate is of a problem that is not in the pool, or is not between 0 and 1.",
            hint="Give pass rates of this pool's problems, or none.",
        )
    prompts = {problem.id: tuple(loaded.chat.prompt_ids(problem.messages)) for problem in problems}
    longest = max(map(len, prompts.values())) + config.sampling.max_tokens
    check_answer_length(loaded.model, longest, train_config)
    return prompts
