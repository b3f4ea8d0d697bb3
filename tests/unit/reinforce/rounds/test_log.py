from __future__ import annotations

import json
from pathlib import Path

import pytest
from reinforce_parts import config, groups, round_of

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.reinforce.alarms import AlarmConfig
from spiritsafe.reinforce.rounds.log import RoundLog
from spiritsafe.reinforce.rounds.store import PolicyRound

TAUGHT, SOLVED, HOPELESS = groups([1, 0, 0, 0]), groups([1, 1, 1, 1]), groups([0, 0, 0, 0])
POOL = {"pool_easy": 0.5}


class Heard:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None: ...

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        self.kinds.append(kind if kind == "reinforce_round" else str(values["name"]))


def log_of(path: Path, heard: Heard | None = None, **alarms: object) -> RoundLog:
    return RoundLog(
        path,
        config(num_rounds=10, alarms=AlarmConfig.model_validate({"max_empty_rounds": 3} | alarms)),
        dev_score=lambda step: (step - step % 4, step / 100),
        events=heard or Heard(),
    )


def test_each_round_is_told_once_with_the_newest_development_score(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "rounds.jsonl"
    log = log_of(path, heard)
    rounds = [round_of(TAUGHT, index) for index in range(3)]
    assert [log.enter(round_, POOL) for round_ in rounds] == [20, 20, 20]
    assert heard.kinds == ["reinforce_round"] * 3
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["round"], row["dev_step"], row["dev_score"]) for row in rows] == [
        (0, 0, 0.0),
        (1, 0, 0.02),
        (2, 4, 0.04),
    ]
    assert list(log.rows) == rows
    # the next sitting comes to the last round again, and goes on
    again = log_of(path, heard)
    again.enter(rounds[2], POOL)
    assert heard.kinds == ["reinforce_round"] * 3
    again.enter(round_of(TAUGHT, 3), POOL)
    assert [row["round"] for row in again.rows] == [0, 1, 2, 3]
    assert len(heard.kinds) == 4


def test_an_alarm_ends_the_run_with_its_round_in_this_sitting_and_the_next(tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / "rounds.jsonl"
    log = log_of(path, heard, stop_on=["no_advantage"])
    log.enter(round_of(TAUGHT, 0), POOL)
    assert log.enter(round_of(HOPELESS, 1), POOL) == 4
    assert heard.kinds == ["reinforce_round", "reinforce_round", "no_advantage"]
    assert log_of(path, stop_on=["no_advantage"]).end_step == 4
    # who does not want to end there any more goes on
    assert log_of(path).end_step == 20
    # and a round that was drawn again may be another
    assert log_of(path, stop_on=["no_advantage"]).enter(round_of(TAUGHT, 1), POOL) == 20


def enter_all(log: RoundLog, rounds: list[list[PolicyRound]]) -> list[int]:
    return [log.enter(round_, POOL) for part in rounds for round_ in part]


def test_a_pool_that_teaches_no_more_ends_the_run_and_one_that_never_did_is_an_error(tmp_path: Path) -> None:
    log = log_of(tmp_path / "once.jsonl")
    taught, solved = [round_of(TAUGHT, 0)], [round_of(SOLVED, index) for index in (1, 2, 3)]
    assert enter_all(log, [taught, solved]) == [20, 20, 20, 8]
    assert [alarm.name for alarm in log.alarms] == ["no_advantage", "pool_spent"]
    for answers, advice in ((SOLVED, "the problems are solved"), (HOPELESS, "too hard")):
        log = log_of(tmp_path / f"{advice[-4:]}.jsonl")
        never = [round_of(answers, index) for index in range(3)]
        enter_all(log, [never[:2]])
        with pytest.raises(RecipeError, match="None of the 3 rounds") as error:
            log.enter(never[2], POOL)
        assert advice in error.value.hint
