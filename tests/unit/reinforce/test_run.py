from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import reinforce_program
import torch
from reinforce_parts import Arbitrary, config, train_config
from tiny_student import sums_problems, tiny_student
from tiny_training import one_thread

from spiritsafe.core.canonical import JSON
from spiritsafe.models.interface.batch import pack_documents
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.transformers_backend.loading import LoadedModel
from spiritsafe.reinforce import feed as rollout_feed
from spiritsafe.reinforce.alarms import AlarmConfig
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.rewards import RewardConfig
from spiritsafe.reinforce.rounds import draw as drawing
from spiritsafe.reinforce.rounds.store import RewardedAnswer
from spiritsafe.reinforce.run import ROUNDS_DIRECTORY, ReinforceResult, reinforce
from spiritsafe.rollouts import FakeGenerator
from spiritsafe.training.checkpoints import writer as checkpoint_writer
from spiritsafe.training.data import rounds as round_files
from spiritsafe.training.data.rounds import round_path

PROBLEMS = sums_problems(16)
OF = config(reward=RewardConfig(grades_truncated=True))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def run(
    models: Path, directory: Path, of: ReinforceConfig = OF, *, task: Any = None, **more: Any
) -> tuple[LoadedModel, ReinforceResult]:
    """One sitting."""
    loaded = tiny_student(models)
    settings = train_config(of, **more.pop("training", {}))
    result = reinforce(loaded, task or Arbitrary(), PROBLEMS, of, settings, directory=directory, **more)
    return loaded, result


def answers_of(directory: Path, num_rounds: int) -> list[list[RewardedAnswer]]:
    """All that was drawn, read without the product's own reader."""
    out = []
    for index in range(num_rounds):
        _, _, *lines = round_path(directory / ROUNDS_DIRECTORY, index).read_text().splitlines()
        out.append([RewardedAnswer.model_validate_json(line) for line in lines])
    return out


def same_weights(first: LoadedModel, second: LoadedModel) -> bool:
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


# ---- what a run is


def test_a_run_learns_by_the_gradient_of_its_rewards(models: Path, tmp_path: Path) -> None:
    of = config(num_rounds=1, steps_per_round=1, reward=RewardConfig(grades_truncated=True))
    taught, result = run(models, tmp_path, of, training={"weight_decay": 0.0, "max_grad_norm": None})
    assert result.training.steps == 1
    assert result.training.curve[0]["changed_share"] > 0.99
    # The gradient of -(sum of A log p) / tokens over groups with an advantage, by autograd, from the round's file.
    before = tiny_student(models)
    losses, num_tokens = [], 0
    groups: dict[str, list[RewardedAnswer]] = {}
    for answer in answers_of(tmp_path, 1)[0]:
        groups.setdefault(answer.problem_id, []).append(answer)
    messages = {p.id: p.messages for p in PROBLEMS}
    taught_groups = [group for group in groups.values() if len({a.reward for a in group}) > 1][:4]
    for group in taught_groups:
        mean = sum(a.reward or 0.0 for a in group) / len(group)
        for answer in group:
            document = before.chat.document_from_tokens(messages[answer.problem_id], answer.token_ids)
            logits = before.model(pack_documents([document])) @ before.model.head().weight_VH.T
            logprobs = logits[:-1].log_softmax(1)[-len(answer.token_ids) :]
            chosen = logprobs.gather(1, torch.tensor(answer.token_ids)[:, None])
            losses.append(-((answer.reward or 0.0) - mean) * chosen.sum())
            num_tokens += len(answer.token_ids)
    (torch.stack(losses).sum() / num_tokens).backward()
    gradients = [p.grad for p in before.model.parameters()]
    norm = torch.sqrt(sum((g.square().sum() for g in gradients if g is not None), torch.zeros(())))
    assert result.training.curve[0]["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
    assert result.training.curve[0]["supervised_tokens"] == num_tokens
    # Adam's first step goes against the gradient, by the learning rate, whatever its size.
    for now, parameter in zip(taught.model.parameters(), before.model.parameters(), strict=True):
        assert parameter.grad is not None
        clear = parameter.grad.abs() > 1e-5
        expected = -2e-3 * parameter.grad.sign()[clear]
        torch.testing.assert_close((now - parameter).detach()[clear], expected, rtol=2e-2, atol=0.0)


def test_the_result_holds_rounds_and_steps(models: Path, tmp_path: Path) -> None:
    heard: list[str] = []

    class Listening:
        def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None: ...

        def metrics(self, kind: str, values: dict[str, JSON]) -> None:
            heard.append(kind)

    _, result = run(models, tmp_path, events=Listening())
    heard = [kind for kind in heard if kind != "checkpoint"]
    assert heard == ["reinforce_round", "train_step", "train_step"] * 3
    assert (result.alarms, result.ended_by) == ((), None)
    assert [row["round"] for row in result.rounds] == [0, 1, 2]
    kept = [json.loads(line) for line in (tmp_path / ROUNDS_DIRECTORY / "rounds.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k != "train_seconds"} for row in result.rounds] == kept
    for row in result.rounds:
        steps = [step for step in result.training.curve if step["epoch"] == row["round"]]
        assert row["train_seconds"] == pytest.approx(sum(s["seconds"] - s["feed_seconds"] for s in steps), abs=1e-3)
        assert 0.0 < row["draw_seconds"] <= sum(s["feed_seconds"] for s in steps)
        assert sum(step["supervised_tokens"] for step in steps) <= row["num_tokens"]
    # a finished run, called again, is as it was
    assert run(models, tmp_path)[1] == result


@pytest.mark.parametrize(("steps_per_round", "is_foreign"), [(1, False), (2, False), (1, True)])
def test_ratios_are_one_by_definition_only_where_they_are(
    models: Path, tmp_path: Path, steps_per_round: int, is_foreign: bool
) -> None:
    of = config(steps_per_round=steps_per_round, num_rounds=1, reward=RewardConfig(grades_truncated=True))
    generator = FakeGenerator(lambda problem_id, sample: "ab" if sample % 2 else "ba") if is_foreign else None
    task = Arbitrary(("correct", "wrong", "wrong"))
    _, result = run(models, tmp_path, of, generator=generator, task=task if generator is None else ByText())
    assert ("ratio" in result.training.curve[-1]) == (steps_per_round == 2 or is_foreign)


class ByText(Arbitrary):
    def grade(self, problem: Any, text: str) -> Any:
        return Arbitrary(("correct",) if text == "ab" else ("wrong",)).grade(problem, text)


# ---- alarms


def dev(scores: dict[int, float]) -> Any:
    def evaluate(model: LanguageModel, step: int) -> dict[str, float]:
        return {"dev_right": scores[step] * 50, "dev_problems": 50.0, "other": 1.0}

    return evaluate


class Rising:
    """A server whose answers to each problem are right one sample more often each time that weights are published."""

    def __init__(self) -> None:
        self.num_right = 0
        self.generator = FakeGenerator(lambda problem_id, sample: "ab" if sample < self.num_right else "ba")

    def publish(self, model: LanguageModel, index: int) -> None:
        self.num_right = index + 1


def test_development_scores_reach_the_alarms_in_every_sitting(models: Path, tmp_path: Path) -> None:
    of = config(num_rounds=6, steps_per_round=1, group_size=9, alarms=AlarmConfig(stop_on=("reward_without_dev_gain",)))

    def sitting(name: str, of: ReinforceConfig, gain: float) -> ReinforceResult:
        rising, scores = Rising(), {step: 0.2 + gain * step for step in range(1, 7)}
        more: dict[str, Any] = {"generator": rising.generator, "publish": rising.publish, "evaluate": dev(scores)}
        return run(models, tmp_path / name, of, task=ByText(), training={"eval_every": 1}, **more)[1]

    result = sitting("flat", of, 0.0)
    assert result.ended_by is not None
    # rewards are 1/9, 2/9, ...; scores are known from round 1; means over (0, 1) and (1, 2, 3) differ by more than 0.1
    assert (result.ended_by.name, result.ended_by.round) == ("reward_without_dev_gain", 3)
    assert [(row["dev_step"], row["dev_score"]) for row in result.rounds] == [
        (None, None),
        (1, 0.2),
        (2, 0.2),
        (3, 0.2),
    ]
    assert result.training.steps == len(result.rounds) == 4
    assert result.training.curve[-1]["evaluation"]["dev_right"] == 10.0
    # the same call again knows of it, and does nothing
    assert sitting("flat", of, 0.0) == result
    # and one that no longer wants to stop goes on from there
    lenient = of.model_copy(update={"alarms": AlarmConfig()})
    assert sitting("flat", lenient, 0.0).training.steps == 6
    assert sitting("rising", of, 0.05).alarms == ()


def test_without_development_scores_those_alarms_are_silent(models: Path, tmp_path: Path) -> None:
    alarms = AlarmConfig(reward_gain=1e-9, stop_on=("reward_without_dev_gain",))
    of = config(alarms=alarms, reward=RewardConfig(grades_truncated=True))
    evaluate = {"training": {"eval_every": 1}, "evaluate": lambda model, step: {"loss": 1.0}}
    _, result = run(models, tmp_path, of, **evaluate)
    assert [row["dev_score"] for row in result.rounds] == [None] * 3
    assert result.ended_by is None


# ---- controls


def test_a_coin_teaches_nothing_of_the_text(models: Path, tmp_path: Path) -> None:
    control = OF.control("random")
    run(models, tmp_path, control)
    answers = [answer for round_ in answers_of(tmp_path, 3) for answer in round_]
    for status in ("correct", "wrong"):
        rewards = [a.reward for a in answers if a.verdict.status == status]
        assert set(rewards) == {0.0, 1.0}


def test_fine_tuning_on_right_answers_is_cross_entropy_on_them(models: Path, tmp_path: Path) -> None:
    control = config(num_rounds=1, steps_per_round=1, reward=RewardConfig(grades_truncated=True)).control("rft")
    _, result = run(models, tmp_path, control)
    (answers,) = answers_of(tmp_path, 1)
    right = [a for a in answers if a.reward == 1.0]
    kept = list(dict.fromkeys(a.problem_id for a in right))[:4]
    right = [a for a in right if a.problem_id in kept]
    num_tokens = sum(len(a.token_ids) for a in right)
    assert result.training.curve[0]["supervised_tokens"] == num_tokens
    expected = -sum(sum(a.logprobs) for a in right) / num_tokens
    assert result.training.curve[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_a_reference_holds_the_policy(models: Path, tmp_path: Path) -> None:
    loss = PolicyLoss(method="dapo", kl_weight=0.1)
    of = config(loss=loss, reward=RewardConfig(grades_truncated=True))
    _, result = run(models, tmp_path, of, reference=tiny_student(models).model)
    assert result.training.curve[0]["kl_reference"] == pytest.approx(0.0, abs=1e-6)
    assert result.training.curve[-1]["kl_reference"] > 1e-5


# ---- interruptions


class Killed(BaseException):
    """What no handler may catch."""


def kill_at(moment: int, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Die at the ``moment``-th of all calls that draw, write or save; ``calls`` remembers which they were."""

    def watched(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **more: Any) -> Any:
            calls.append(name)
            if len(calls) == moment:
                raise Killed
            return real(*args, **more)

        monkeypatch.setattr(module, name, call)

    watched(drawing, "reward_of")
    watched(round_files, "write_sealed_lines")
    watched(rollout_feed, "documents_of_steps")
    watched(checkpoint_writer, "snapshot")


def test_killed_and_resumed_equals_unbroken_bit_for_bit(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    with monkeypatch.context() as patch:
        kill_at(-1, calls, patch)
        unbroken, expected = run(models, tmp_path / "unbroken")
    answers = answers_of(tmp_path / "unbroken", 3)
    places = [at + 1 for at, name in enumerate(calls) if name != "reward_of"]
    # before each round is written, after that, before each checkpoint; and anywhere
    others = [moment for moment in range(1, len(calls) + 1) if moment not in places[4:9]]
    for moment in (*places[4:9], Random(os.urandom(8)).choice(others)):
        directory = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            kill_at(moment, [], patch)
            with pytest.raises(Killed):
                run(models, directory)
        before = {path.name: path.read_bytes() for path in (directory / ROUNDS_DIRECTORY).glob("round-*.jsonl")}
        assert len(before) == calls[: moment - 1].count("write_sealed_lines"), moment
        resumed, result = run(models, directory)
        assert all((directory / ROUNDS_DIRECTORY / n).read_bytes() == content for n, content in before.items())
        assert answers_of(directory, 3) == answers, moment
        assert same_weights(unbroken, resumed), moment
        times = {"draw_seconds", "grade_seconds", "train_seconds"}
        for row, other in zip(result.rounds, expected.rounds, strict=True):
            assert {k: v for k, v in row.items() if k not in times} == {
                k: v for k, v in other.items() if k not in times
            }


def started(*arguments: str) -> None:
    program = Path(reinforce_program.__file__)
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-8000:]


def drawn(directory: Path, num_rounds: int) -> list[list[tuple[str, int, tuple[int, ...]]]]:
    return [[(a.problem_id, a.sample_index, a.token_ids) for a in part] for part in answers_of(directory, num_rounds)]


@pytest.mark.slow
def test_killed_with_sigkill_at_ten_random_moments_the_same_tokens_and_weights_come_out(tmp_path: Path) -> None:
    started("kills", str(tmp_path), str(seed := Random(os.urandom(8)).randrange(10**6)))
    told = json.loads((tmp_path / "kills.json").read_text())
    assert len(told["kills"]) == 10
    expected = drawn(tmp_path / "unbroken", reinforce_program.OF.num_rounds)
    weights = torch.load(tmp_path / "unbroken" / "weights.pt")
    for number in range(1, told["runs"] + 1):
        directory = tmp_path / f"killed-{number}"
        assert drawn(directory, reinforce_program.OF.num_rounds) == expected, (seed, told)
        found = torch.load(directory / "weights.pt")
        assert all(torch.equal(found[name], value) for name, value in weights.items()), (seed, told)


def test_two_processes_draw_and_learn_as_one(tmp_path: Path) -> None:
    started("pair", str(tmp_path))
    num_rounds = reinforce_program.OF.num_rounds
    one, two = (drawn(tmp_path / name, num_rounds) for name in ("one", "two"))
    assert one == two
    curves = [json.loads((tmp_path / name / "curve.json").read_text()) for name in ("one", "two")]
    for row, other in zip(*curves, strict=True):
        assert row["supervised_tokens"] == other["supervised_tokens"]
        # losses of a policy are differences that nearly cancel: what is small beside an advantage's size is rounding
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4, abs=1e-6)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
    weights = [torch.load(tmp_path / name / "weights.pt") for name in ("one", "two")]
    for name, value in weights[0].items():
        difference = (value - weights[1][name]).abs()
        assert float(difference.max()) < 1e-5, name
        assert float(difference.mean()) < 1e-6, name
