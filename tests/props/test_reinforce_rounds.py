"""What holds for every round: groups whole and served once, nothing without an advantage, and no problem lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from reinforce_parts import config, groups, round_of

from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.pool import PoolConfig, PromptOutcome, PromptPool
from spiritsafe.reinforce.rounds.documents import documents_of_steps

EXAMPLES = settings(max_examples=100, deadline=None)
REWARDS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 0.3, -0.5]))


@given(
    st.lists(st.lists(REWARDS, min_size=2, max_size=5), min_size=1, max_size=12),
    st.integers(1, 8),
    st.data(),
    st.sampled_from(["token", "sequence", "constant"]),
    st.sampled_from(["none", "group", "batch"]),
)
@EXAMPLES
def test_groups_are_served_whole_once_and_only_if_they_teach(
    rewards: list[list[float | None]], prompts: int, data: st.DataObject, aggregation: str, scale: str
) -> None:
    steps_per_round = data.draw(st.integers(1, prompts))
    loss = PolicyLoss.model_validate({"method": "dapo", "aggregation": aggregation, "scale": scale})
    of = config(prompts_per_round=prompts, steps_per_round=steps_per_round, loss=loss)
    steps = documents_of_steps(round_of(groups(*rewards)), of, {f"p{n}": (n, 99) for n in range(len(rewards))})
    assert len(steps) == steps_per_round
    served = [{document.token_ids[0] for document in step} for step in steps]
    scored = [[reward for reward in group if reward is not None] for group in rewards]
    expected = [number for number, group in enumerate(scored) if len(set(group)) > 1][:prompts]
    assert sorted(number for step in served for number in step) == expected
    assert max(map(len, served)) - min(map(len, served)) <= 1
    for step in steps:
        sizes = Counter(document.token_ids[0] for document in step)
        assert all(size == len(scored[number]) for number, size in sizes.items())
        for number in sizes:
            advantages = [d.drawn.advantage for d in step if d.token_ids[0] == number and d.drawn]
            assert abs(sum(advantages)) < 1e-9 * max(map(abs, advantages))
            ranks = sorted(range(len(advantages)), key=lambda at: scored[number][at])
            assert [advantages[at] for at in ranks] == sorted(advantages)
        # all answers here are equally long, so every mean over them weighs them alike
        assert len({round(document.weight, 12) for document in step}) <= 1


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5), st.data())
@EXAMPLES
def test_every_problem_comes_again_and_again(size: int, count: int, seed: int, data: st.DataObject) -> None:
    ids = [str(number) for number in range(size)]
    pool = PromptPool(ids, PoolConfig(easy_weight=0.25, hard_weight=0.25), seed=seed)
    rates = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=size, max_size=size))
    visits = Counter[str]()
    num_rounds = -(-size * 20 // min(count, size))  # a pool smaller than a round is asked whole
    for _ in range(num_rounds):
        chosen = pool.choose(count)
        assert len(set(chosen)) == len(chosen) == min(count, size)
        pool.learn([PromptOutcome(problem_id=i, num_scored=4, total=4 * rates[int(i)]) for i in chosen])
        visits.update(chosen)
    # a fifth of twenty visits each on average, at the least pace of a quarter
    assert min(visits[i] for i in ids) >= 3
