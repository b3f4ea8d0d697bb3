"""The course of a run, round by round: one row of statistics each, the alarms they raise, and where the run ends.

In: rounds, as they are entered. Out: ``rounds.jsonl``, events, and the step after which an alarm ends the run. A
repeated run writes the same rows again and tells nobody twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.checked_lines import put_round
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.reinforce.alarms import Alarm, all_alarms, first_end, new_alarms, spent_hint
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.rounds.statistics import statistics
from spiritsafe.reinforce.rounds.store import PolicyRound

DevScore = Callable[[int], tuple[int, float] | None]
"""The newest development evaluation after at most so many steps: its step and its score; None when there is none."""


@final
class RoundLog:
    """Rows and alarms of all sittings.

    Args:
        path: The table of rows; that of an earlier sitting is read.
        dev_score: For rows, and alarms about them.
        events: Hears of each new row ("reinforce_round") and each of its alarms ("alarm").

    Raises:
        SourceError: The table is damaged.
    """

    def __init__(self, path: Path, config: ReinforceConfig, *, dev_score: DevScore, events: EventSink) -> None:
        self._path = path
        self._config = config
        self._dev_score = dev_score
        self._events = events
        self.rows: tuple[Mapping[str, Any], ...] = tuple(read_json_lines(path)) if path.exists() else ()
        self.alarms: tuple[Alarm, ...] = all_alarms(self.rows, config.alarms)

    @property
    def end_step(self) -> int:
        """The step after which the run ends: with the round of the first alarm that ends it, else as planned."""
        end = first_end(self.alarms, self._config.alarms)
        return self._config.num_steps if end is None else (end.round + 1) * self._config.steps_per_round

    def enter(self, round_: PolicyRound, pool: Mapping[str, float]) -> int:
        """Take a round in; rows and alarms after it are forgotten, the run will come to them again.

        Args:
            pool: Shares of the pool after it.

        Returns:
            ``end_step``.

        Raises:
            RecipeError: So many rounds passed without any advantage, and there was none before.
            StorageError: The table cannot be written.
        """
        index, config = round_.header.round_index, self._config
        dev = self._dev_score(index * config.steps_per_round)
        row = statistics(round_, config, pool=pool, dev=dev)
        is_new = put_round(self._path, row)
        self.rows = (*(known for known in self.rows if known["round"] < index), row)
        raised = new_alarms(self.rows, config.alarms)
        self.alarms = (*(alarm for alarm in self.alarms if alarm.round < index), *raised)
        if is_new:
            self._events.metrics("reinforce_round", row)
            for alarm in raised:
                self._events.metrics("alarm", alarm.to_json())
        self._refuse_a_pool_that_teaches_nothing(raised)
        return self.end_step

    def _refuse_a_pool_that_teaches_nothing(self, raised: tuple[Alarm, ...]) -> None:
        is_spent = any(alarm.name == "pool_spent" for alarm in raised)
        if is_spent and not any(row["num_kept_groups"] for row in self.rows):
            raise RecipeError(
                f"None of the {len(self.rows)} rounds so far had a group with an advantage.", hint=spent_hint(self.rows)
            )
