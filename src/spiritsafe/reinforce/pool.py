"""Which problems come next: each at a pace that its pass rate sets, so that none is lost and few tokens are wasted.

In: problem ids, pass rates measured beforehand if there are any, and what each round's answers earned. Out: the
problems that are due. Problems that the model solves sometimes come at full pace; those that it always solves, or
never, teach nothing now but may later, and come at a fraction of it. The pool is a function of its seed and of the
rounds so far: a resumed run makes it again from the rounds on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Self, final

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from spiritsafe.core.records import Record
from spiritsafe.core.seeds import SEED_BITS, derive_seed


@final
class PoolConfig(Record):
    """How the pass rate of a problem sets its pace.

    Attributes:
        low: Pass rate below which a problem is too hard for now.
        high: Pass rate above which it is solved.
        easy_weight: Pace of solved problems; those within the band have 1. Some of them keep answers short
            (arXiv 2511.01937) and show what is forgotten.
        hard_weight: Pace of problems that are too hard for now.
        memory: Weight of what was known when new answers come; 0 believes the newest group alone, 1 forgets nothing.
    """

    low: float = Field(default=0.1, ge=0.0, le=1.0)
    high: float = Field(default=0.9, ge=0.0, le=1.0)
    easy_weight: float = Field(default=0.2, gt=0.0, le=1.0)
    hard_weight: float = Field(default=0.2, gt=0.0, le=1.0)
    memory: float = Field(default=0.5, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, above high, which is {self.high}")
        return self


@final
class PromptOutcome(Record):
    """What one problem's answers of one round earned.

    Attributes:
        num_scored: Answers with a reward.
        total: Sum of their rewards, each between 0 and 1.
    """

    problem_id: str
    num_scored: int = Field(ge=0)
    total: float = Field(ge=0.0)


@final
class PromptPool:
    """Problems and what is known of them.

    Each has a moment at which it is due. The earliest come next; then a problem's moment moves on by one over its
    weight, on average. So a problem of weight 0.2 comes a fifth as often as one of weight 1, and each does come.

    Args:
        problem_ids: All different.
        config: Band and weights.
        measured: Pass rates known beforehand; a problem without one comes at full pace until it was asked.
        num_measured: Answers that a measured pass rate counts as.
    """

    def __init__(
        self,
        problem_ids: Sequence[str],
        config: PoolConfig,
        *,
        seed: int,
        measured: Mapping[str, float] | None = None,
        num_measured: int = 8,
    ) -> None:
        self._ids = tuple(problem_ids)
        self._places = {problem_id: place for place, problem_id in enumerate(self._ids)}
        self._config = config
        self._seed = seed
        known = measured or {}
        rates = np.array([known.get(problem_id, -1.0) for problem_id in self._ids])
        self._scored = np.where(rates < 0.0, 0.0, float(num_measured))
        self._total = np.where(rates < 0.0, 0.0, rates * num_measured)
        self._visits = np.zeros(len(self._ids), dtype=np.int64)
        phases = np.random.default_rng(derive_seed(seed, "pool")).random(len(self._ids))
        self._due = phases / self.weights()

    def __len__(self) -> int:
        return len(self._ids)

    def pass_rates(self) -> npt.NDArray[np.float64]:
        """Of each problem in order; NaN where nothing is known."""
        rates: npt.NDArray[np.float64] = np.full(len(self._ids), np.nan)
        return np.divide(self._total, self._scored, out=rates, where=self._scored > 0.0)

    def weights(self) -> npt.NDArray[np.float64]:
        """Pace of each problem, in order."""
        rates, config = self.pass_rates(), self._config
        weights = np.where(rates > config.high, config.easy_weight, 1.0)  # comparisons with NaN are false
        return np.where(rates < config.low, config.hard_weight, weights)

    def choose(self, count: int, *, without: Collection[str] = ()) -> list[str]:
        """The next problems, the most urgent first; fewer when the pool has no more.

        Asking changes nothing; :meth:`learn` does.

        Args:
            count: How many.
            without: Problems that cannot come now.
        """
        due = self._due.copy()
        due[[self._places[problem_id] for problem_id in without]] = np.inf
        count = min(count, len(self._ids) - len(without))
        nearest = np.argpartition(due, count - 1)[:count] if 0 < count < len(due) else np.arange(len(due))
        order = nearest[np.lexsort((nearest, due[nearest]))]
        return [self._ids[place] for place in order[:count]]

    def learn(self, outcomes: Sequence[PromptOutcome]) -> None:
        """Take in what the answers of problems earned, and move their moments on."""
        places = [self._places[outcome.problem_id] for outcome in outcomes]
        for place, outcome in zip(places, outcomes, strict=True):
            if outcome.num_scored:
                memory = self._config.memory
                self._scored[place] = memory * self._scored[place] + outcome.num_scored
                self._total[place] = memory * self._total[place] + outcome.total
        weights = self.weights()
        for place in places:
            # From half to one and a half of the pace, so that problems do not come in the same company for ever.
            drawn = derive_seed(self._seed, "pool", self._ids[place], int(self._visits[place])) / 2**SEED_BITS
            self._due[place] += (0.5 + drawn) / weights[place]
            self._visits[place] += 1

    def shares(self) -> dict[str, float]:
        """Shares of the pool: solved, too hard for now, never asked."""
        rates = self.pass_rates()
        return {
            "pool_easy": float((rates > self._config.high).mean()),
            "pool_hard": float((rates < self._config.low).mean()),
            "pool_unknown": float(np.isnan(rates).mean()),
        }
