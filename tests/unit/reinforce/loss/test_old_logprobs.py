"""What ratios are taken to: the trainer's own log-probabilities, by the trainer's own pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from policy_reference import LOSSES, drawn_documents
from reinforce_parts import Arbitrary, config, train_config
from tiny_student import sums_problems, tiny_student
from tiny_training import one_thread, tiny_decoder

from spiritsafe.models.interface.batch import IGNORED, pack_documents
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.old_logprobs import old_logprobs
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.rewards import RewardConfig
from spiritsafe.reinforce.rounds.store import RewardedAnswer
from spiritsafe.reinforce.run import ROUNDS_DIRECTORY, ReinforceResult, reinforce
from spiritsafe.rollouts import FakeGenerator
from spiritsafe.training.data.rounds import round_path
from spiritsafe.training.distributed.processes import current_parallel

REWARD = RewardConfig(grades_truncated=True)
TASK = Arbitrary(("correct", "wrong", "wrong"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize("share_prefix", [False, True])
@pytest.mark.parametrize("micro_batch_tokens", [40, 400])
def test_they_are_those_of_all_logits(share_prefix: bool, micro_batch_tokens: int) -> None:
    model = tiny_decoder(logits_scaling=2.0)
    steps = [drawn_documents(3, 4, seed=2), [], drawn_documents(1, 5, seed=3)]
    found = old_logprobs(
        model,
        steps,
        micro_batch_tokens=micro_batch_tokens,
        share_prefix=share_prefix,
        temperature=0.7,
        parallel=current_parallel(),
    )
    assert [len(step) for step in found] == [len(step) for step in steps]
    for step, logprobs in zip(steps, found, strict=True):
        for document, own in zip(step, logprobs, strict=True):
            batch = pack_documents([document])
            rows = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
            log_p = torch.log_softmax(model.logits(model(batch))[rows].double() / 0.7, 1)
            expected = log_p.gather(1, batch.targets_N[rows, None]).squeeze(1)
            torch.testing.assert_close(torch.tensor(own, dtype=torch.float64), expected, atol=2e-5, rtol=0)


def sitting(
    directory: Path, of: ReinforceConfig, *, dtype: str = "bfloat16", **more: Any
) -> tuple[ReinforceResult, list[RewardedAnswer]]:
    """A run that hardly moves, and the answers of its first round."""
    loaded = tiny_student(directory.parent / "models")
    settings = train_config(of, compute_dtype=dtype, learning_rate=1e-12)
    result = reinforce(loaded, TASK, sums_problems(16), of, settings, directory=directory, **more)
    _, _, *lines = round_path(directory / ROUNDS_DIRECTORY, 0).read_text().splitlines()
    return result, [RewardedAnswer.model_validate_json(line) for line in lines]


@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_rounding_of_the_sampler_clips_nothing(method: str, tmp_path: Path) -> None:
    of = config(num_rounds=1, loss=PolicyLoss(method=method), reward=REWARD)
    result, answers = sitting(tmp_path / "run", of)
    for row in result.training.curve:
        assert row["gap"] > 0.0  # the two do differ
        assert row["ratio"] == pytest.approx(1.0, abs=1e-5)
        assert row["clipped_share"] == 0.0
    learnt = [answer for answer in answers if answer.old]
    assert len(learnt) == 16
    assert all(len(answer.old) == len(answer.token_ids) for answer in learnt)


@pytest.mark.parametrize(
    "loss",
    [PolicyLoss(method="rloo"), PolicyLoss(method="grpo", truncation=2.0), PolicyLoss(method="rft", baseline="none")],
)
def test_a_loss_that_does_not_clip_asks_for_none(loss: PolicyLoss, tmp_path: Path) -> None:
    _, answers = sitting(tmp_path / "run", config(num_rounds=1, loss=loss, reward=REWARD), dtype="float32")
    assert answers
    assert not any(answer.old for answer in answers)


def published(steps_per_round: int) -> ReinforceConfig:
    return config(steps_per_round=steps_per_round, num_rounds=1, loss=LOSSES["gspo"], reward=REWARD)


def fake(**more: Any) -> dict[str, Any]:
    return {"generator": FakeGenerator(lambda problem_id, sample: "ab" if sample % 2 else "ac"), **more}


def test_a_server_with_the_weights_in_training_is_measured_by_the_trainer_too(tmp_path: Path) -> None:
    def publish(model: Any, index: int) -> None: ...

    one, answers = sitting(tmp_path / "one", published(1), **fake(publish=publish))
    assert all("ratio" not in row for row in one.training.curve)
    assert not any(answer.old for answer in answers)
    _, answers = sitting(tmp_path / "two", published(2), **fake(publish=publish))
    assert any(answer.old for answer in answers)
    # one with older weights is another policy: what it says of its draw is what counts
    _, answers = sitting(tmp_path / "stale", published(2), **fake())
    assert not any(answer.old for answer in answers)


def test_they_are_kept_with_the_round(tmp_path: Path) -> None:
    """After a kill in the middle of a round the weights have moved: what was computed before is read again."""
    of = config(num_rounds=1, loss=PolicyLoss(method="gspo"), reward=REWARD)
    loaded = tiny_student(tmp_path / "models")
    settings = train_config(of, compute_dtype="bfloat16", learning_rate=5e-3)
    result = reinforce(loaded, TASK, sums_problems(16), of, settings, directory=tmp_path / "run")
    assert result.training.curve[0]["clipped_share"] == 0.0  # nothing has moved yet
    assert abs(result.training.curve[1]["ratio"] - 1.0) > 1e-4  # by the second update it has
    lines = round_path(tmp_path / "run" / ROUNDS_DIRECTORY, 0).read_text().splitlines()[2:]
    assert sum(bool(json.loads(line)["old"]) for line in lines) == 16
