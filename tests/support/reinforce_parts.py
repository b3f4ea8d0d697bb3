"""What tests of reinforcement learning share: configurations, and a grader, a generator and answers made to measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spiritsafe.core.records import FinishReason, Problem, Sampling, Status, Verdict
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.rounds.store import PolicyHeader, PolicyRound, RewardedAnswer, outcomes_of
from spiritsafe.training import TrainConfig

CONFIG = ReinforceConfig(
    prompts_per_round=4,
    group_size=4,
    steps_per_round=2,
    num_rounds=3,
    sampling=Sampling(max_tokens=14),
    loss=PolicyLoss(method="dapo", scale="none"),
    refills=2,
    seed=7,
)


def config(**changes: Any) -> ReinforceConfig:
    """``CONFIG`` with some fields changed, and checked."""
    return ReinforceConfig.model_validate({name: getattr(CONFIG, name) for name in CONFIG.model_fields_set} | changes)


def train_config(of: ReinforceConfig = CONFIG, **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "learning_rate": 2e-3,
            "tokens_per_step": 1,
            "micro_batch_tokens": 700,
            "max_steps": of.num_steps,
            "floor_share": 1.0,
            "compute_dtype": "float32",
            "checkpoint_every_steps": 1,
            "checkpoint_every_s": None,
        }
        | changes
    )


def verdict(status: Status, score: float | None = None) -> Verdict:
    return Verdict(
        status=status, score=float(status == "correct") if score is None else score, verifier="test", version="1"
    )


class Arbitrary:
    """A grader whose verdicts follow from the text's bytes, so that even noise is right now and then."""

    name, version = "arbitrary", "1"

    class verifier:
        name, version = "arbitrary", "1"

    def __init__(self, statuses: Sequence[Status] = ("correct", "wrong", "unparsed")) -> None:
        self.statuses = statuses

    def grade(self, problem: Problem, text: str) -> Verdict:
        return verdict(self.statuses[sum(text.encode()) % len(self.statuses)])


def answer(
    problem: str,
    sample: int,
    reward: float | None,
    *,
    tokens: int = 3,
    status: Status | None = None,
    finish: FinishReason = "stop",
    logprob: float | None = -0.5,
) -> RewardedAnswer:
    """An answer of so many tokens; its verdict follows from its reward, if none is given."""
    if status is None:
        status = "unscored" if reward is None else "correct" if reward > 0 else "wrong"
    return RewardedAnswer(
        problem_id=problem,
        sample_index=sample,
        text=f"{problem}/{sample}",
        token_ids=tuple(range(10, 10 + tokens)),
        logprobs=() if logprob is None else (logprob,) * tokens,
        finish_reason=finish,
        verdict=verdict(status),
        reward=reward,
    )


def round_of(answers: Sequence[RewardedAnswer], index: int = 0, **header: Any) -> PolicyRound:
    """A round of some answers."""
    fields: dict[str, Any] = {
        "feed": "sha256:feed",
        "round_index": index,
        "before": "",
        "weights": "sha256:weights",
        "draws": (len({answer.problem_id for answer in answers}),),
        "staleness": 0,
        "draw_seconds": 1.5,
        "grade_seconds": 0.25,
        "outcomes": outcomes_of(answers),
        "num_answers": len(answers),
    }
    return PolicyRound(PolicyHeader(**(fields | header)), tuple(answers))


def groups(*rewards: Sequence[float | None], **more: Any) -> list[RewardedAnswer]:
    """Answers to problems p0, p1, ... with these rewards."""
    return [
        answer(f"p{number}", sample, reward, **more)
        for number, group in enumerate(rewards)
        for sample, reward in enumerate(group)
    ]
