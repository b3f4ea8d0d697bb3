"""Pools of made-up attempts, for tests of selection, curves and reports."""

from __future__ import annotations

import random
from collections.abc import Sequence

from spiritsafe.core.records import Sampling
from spiritsafe.rollouts.test_time.pool import Candidate, Pool

SAMPLING = Sampling(temperature=1.0, max_tokens=64)


def candidate(
    key: str | None,
    *,
    right: bool = False,
    tokens: int = 10,
    mean_logprob: float | None = -1.0,
    passes: bool | None = None,
) -> Candidate:
    """An attempt; ``mean_logprob`` is that of a token."""
    return Candidate(
        key=key,
        is_correct=right,
        num_tokens=tokens,
        logprob=None if mean_logprob is None else mean_logprob * tokens,
        num_logprobs=0 if mean_logprob is None else tokens,
        passes=passes,
    )


def pool_of(attempts: Sequence[Sequence[Candidate]], *, model: str = "m", **more: object) -> Pool:
    """A pool with problems p0, p1, …"""
    fields: dict[str, object] = {
        "digest": f"sha256:{model}",
        "num_parameters": None,
        "sampling": SAMPLING,
        "num_samples": max(len(mine) for mine in attempts),
        "attempts": {f"p{index}": tuple(mine) for index, mine in enumerate(attempts)},
        **more,
    }
    return Pool(model=model, **fields)  # type: ignore[arg-type]


def drawn_pool(
    model: str,
    *,
    skill: float,
    num_problems: int = 60,
    num_samples: int = 16,
    tokens: tuple[int, int] = (8, 24),
    num_parameters: int | None = None,
    has_check: bool = False,
    seed: int = 0,
) -> Pool:
    """A model that gets problem after problem right with a chance around ``skill``, and else errs in a few ways."""
    rng = random.Random(f"{model}{seed}")
    difficulty = random.Random(seed)
    attempts, greedy = [], {}
    for index in range(num_problems):
        chance = min(max(skill + difficulty.uniform(-0.45, 0.45), 0.02), 0.98)

        def draw(chance: float = chance) -> Candidate:
            right = rng.random() < chance
            key = "8" if right else rng.choice(["7", "9", "80", "6", None])
            return candidate(
                key,
                right=right,
                tokens=rng.randint(*tokens),
                mean_logprob=rng.gauss(-0.6 if right else -0.9, 0.4),
                passes=right if has_check else None,
            )

        attempts.append([draw() for _ in range(num_samples)])
        right = rng.random() < (0.9 if chance > 0.5 else 0.15)
        greedy[f"p{index}"] = candidate("8" if right else "7", right=right, tokens=rng.randint(*tokens))
    return pool_of(attempts, model=model, num_parameters=num_parameters, greedy=greedy)
