from __future__ import annotations

import pytest
from reinforce_parts import answer, config, groups, round_of

from spiritsafe.models.interface.batch import Document
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.rounds.documents import documents_of_steps, has_advantage, kept_groups
from spiritsafe.reinforce.rounds.store import RewardedAnswer

PROMPTS = {f"p{number}": (1, 2, 3 + number) for number in range(9)}


def steps_of(answers: list[RewardedAnswer], of: ReinforceConfig) -> list[list[Document]]:
    return documents_of_steps(round_of(answers), of, PROMPTS)


def advantages(documents: list[Document]) -> list[float]:
    return [document.drawn.advantage for document in documents if document.drawn is not None]


def test_only_differences_within_a_group_teach() -> None:
    loss = config().loss
    expected = [
        ([1.0, 0.0], True),
        ([1.0, 1.0, 1.0], False),
        ([0.0, 0.0], False),
        ([0.1 + 0.2, 0.1 + 0.2], False),
        ([1.0, None, None], False),
        ([None, None], False),
        ([1.0, 0.9], True),
    ]
    assert [has_advantage(groups(rewards), loss) for rewards, _ in expected] == [taught for _, taught in expected]


def test_where_the_reward_is_the_advantage_right_answers_teach_whatever_the_others_are() -> None:
    loss = PolicyLoss(method="rft")
    assert has_advantage(groups([1.0, 1.0]), loss)
    assert not has_advantage(groups([0.0, 0.0]), loss)


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_a_scale_changes_nothing_about_which_groups_are_kept(scale: str) -> None:
    of = config(loss=PolicyLoss.model_validate({"method": "dapo", "scale": scale}), prompts_per_round=2)
    round_ = round_of(groups([1, 1], [0, 1], [0, 0], [1, 0], [0, 1]))
    assert [group[0].problem_id for group in kept_groups(round_.groups, of)] == ["p1", "p3"]


def test_documents_carry_what_was_drawn() -> None:
    answers = [
        answer("p0", 0, 1.0, tokens=2, logprob=-0.25),
        answer("p0", 1, 0.0, tokens=5, logprob=-0.75),
        answer("p0", 2, 0.0, tokens=1, logprob=None),
        answer("p0", 3, None, tokens=4),
    ]
    (documents,) = steps_of(answers, config(steps_per_round=1))
    assert [d.token_ids for d in documents] == [(1, 2, 3, 10, 11), (1, 2, 3, 10, 11, 12, 13, 14), (1, 2, 3, 10)]
    assert [d.supervised for d in documents] == [(False,) * 3 + (True,) * n for n in (2, 5, 1)]
    assert [d.drawn.logprobs for d in documents if d.drawn] == [(-0.25,) * 2, (-0.75,) * 5, ()]
    # three were rewarded, a third on average
    assert advantages(documents) == [1 - 1 / 3, -1 / 3, -1 / 3]
    assert [d.weight for d in documents] == [1.0] * 3


def test_groups_stay_whole_and_each_is_served_once() -> None:
    of = config(prompts_per_round=7, steps_per_round=3)
    steps = steps_of(groups(*[[1, 0, 0]] * 7), of)
    assert [len(step) for step in steps] == [6, 6, 9]
    served = [[(d.token_ids[2] - 3, d.drawn.group) for d in step if d.drawn] for step in steps]
    assert sorted({problem for step in served for problem, _ in step}) == list(range(7))
    for step in served:
        assert [group for _, group in step] == [number for number in range(len(step) // 3) for _ in range(3)]
        assert len({problem for problem, _ in step}) == len(step) // 3
    order = [problem for step in served for problem, _ in step[::3]]
    assert order != sorted(order)
    other = documents_of_steps(round_of(groups(*[[1, 0, 0]] * 7), 1), of, PROMPTS)
    assert [d.token_ids for step in other for d in step] != [d.token_ids for step in steps for d in step]


def test_fewer_groups_than_steps_leave_steps_empty() -> None:
    of = config(prompts_per_round=4, steps_per_round=4)
    steps = steps_of(groups([1, 0], [1, 1], [0, 0]), of)
    assert sorted(map(len, steps)) == [0, 0, 0, 2]
    for aggregation in ("token", "sequence", "constant"):
        loss = PolicyLoss.model_validate({"method": "dapo", "aggregation": aggregation})
        assert steps_of(groups([1, 1], [0, 0]), config(loss=loss)) == [[], []]


def test_weights_and_scales_are_those_of_the_step() -> None:
    loss = PolicyLoss.model_validate({"method": "dapo", "aggregation": "sequence", "scale": "batch"})
    answers = [
        *(answer("p0", sample, reward, tokens=2) for sample, reward in enumerate((1, 0))),
        *(answer("p1", sample, reward, tokens=6) for sample, reward in enumerate((1, 0, 0, 0))),
    ]
    (documents,) = steps_of(answers, config(steps_per_round=1, loss=loss))
    # with 28 tokens in 6 sequences: a mean over tokens weighted so is the mean over sequences of their means
    assert {len(d.token_ids) - 3: d.weight for d in documents} == {2: 28 / 12, 6: 28 / 36}
    deviation = (2 * (1 - 1 / 3) ** 2 + 4 * (1 / 3) ** 2) / 5  # of all six rewards
    expected = [value / (deviation**0.5 + 1e-4) for value in (0.5, -0.5, 0.75, -0.25, -0.25, -0.25)]
    assert sorted(advantages(documents)) == pytest.approx(sorted(expected))


def test_fine_tuning_sees_right_answers_only() -> None:
    of = config(steps_per_round=1, loss=PolicyLoss(method="rft"))
    (documents,) = steps_of(groups([1, 0, 1], [0, 0, 0], [1, 1, 1]), of)
    assert sorted(d.token_ids[2] - 3 for d in documents) == [0, 0, 2, 2, 2]
    assert advantages(documents) == [1.0] * 5
