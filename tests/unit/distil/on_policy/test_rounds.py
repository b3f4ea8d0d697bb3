from __future__ import annotations

import json
from pathlib import Path

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.checked_lines import write_sealed_lines
from spiritsafe.core.records import FinishReason, Status, Verdict
from spiritsafe.distil.on_policy.config import Cursor
from spiritsafe.distil.on_policy.rounds import OWN_ROUNDS, OwnAnswer, OwnHeader, OwnRound, record_round
from spiritsafe.training.data.rounds import ROUNDS_FILE, round_path


def answer(
    sample: int,
    tokens: int,
    *,
    status: Status | None = None,
    finish: FinishReason = "stop",
    weight: float = 1.0,
    surprisal: float | None = None,
) -> OwnAnswer:
    verdict = status and Verdict(status=status, score=float(status == "correct"), verifier="test", version="1")
    return OwnAnswer(
        problem_id="sha256:p",
        sample_index=sample,
        token_ids=tuple(range(tokens)),
        finish_reason=finish,
        verdict=verdict or None,
        weight=weight,
        surprisal=surprisal,
    )


ANSWERS = (
    answer(0, 4, status="correct", weight=0.0, surprisal=1.0),
    answer(1, 2, status="wrong", surprisal=4.0),
    answer(2, 6, status="unparsed", finish="length", surprisal=0.5),
    answer(3, 0, status="unscored", finish="error"),
)


def written(directory: Path, index: int = 2) -> OwnRound:
    header = OwnHeader(
        feed="sha256:feed",
        round_index=index,
        weights="sha256:weights",
        before=Cursor(num_own=3, num_off=1),
        cap=6,
        seconds=1.235,
        num_answers=len(ANSWERS),
    )
    round_ = OwnRound(header, ANSWERS)
    OWN_ROUNDS.write(directory, round_)
    return round_


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    round_ = written(tmp_path)
    assert OWN_ROUNDS.read(tmp_path, 2, feed="sha256:feed") == round_
    assert round_.answers == ANSWERS
    assert [kept.sample_index for kept in round_.kept] == [1, 2]
    assert (round_.header.weights, round_.header.before.num_own, round_.header.cap) == ("sha256:weights", 3, 6)


def test_a_damaged_file_is_refused_by_name_wherever_the_damage_is(tmp_path: Path) -> None:
    written(tmp_path)
    path = round_path(tmp_path, 2)
    whole = path.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 37)]
    for damaged in (*flipped, whole[: len(whole) // 2], whole[:-1], whole[whole.index(b"\n") + 1 :], b""):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"round-00002.jsonl is damaged"):
            OWN_ROUNDS.read(tmp_path, 2, feed="sha256:feed")
    path.write_bytes(whole)
    assert OWN_ROUNDS.read(tmp_path, 2, feed="sha256:feed").answers == ANSWERS


def test_a_foreign_or_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(IntegrityError, match=r"round-00002.jsonl belongs to another run"):
        OWN_ROUNDS.read(tmp_path, 2, feed="sha256:other")
    round_path(tmp_path, 2).rename(round_path(tmp_path, 3))
    with pytest.raises(IntegrityError, match=r"round-00003.jsonl belongs to another run"):
        OWN_ROUNDS.read(tmp_path, 3, feed="sha256:feed")
    with pytest.raises(IntegrityError, match=r"round-00002.jsonl is missing"):
        OWN_ROUNDS.read(tmp_path, 2, feed="sha256:feed")
    write_sealed_lines(round_path(tmp_path, 2), [])
    with pytest.raises(IntegrityError, match="another version"):
        OWN_ROUNDS.read(tmp_path, 2, feed="sha256:feed")


def test_statistics_are_kept_once_a_round(tmp_path: Path) -> None:
    row = record_round(tmp_path, written(tmp_path), num_off=2, num_fallback=1)
    assert row == {
        "round": 2,
        "num_answers": 4,
        "num_kept": 2,
        "num_failed": 1,
        "num_truncated": 1,
        "cap": 6,
        "mean_tokens": 3.0,
        "share_correct": 1 / 3,
        "num_unparsed": 1,
        "num_unscored": 1,
        "mean_surprisal": (4 * 1.0 + 2 * 4.0 + 6 * 0.5) / 12,
        "seconds": 1.235,
        "num_off_policy": 2,
        "num_fallback": 1,
    }
    assert record_round(tmp_path, written(tmp_path), num_off=2, num_fallback=1) is None
    record_round(tmp_path, written(tmp_path, 3), num_off=2, num_fallback=1)
    record_round(tmp_path, written(tmp_path, 1), num_off=0, num_fallback=0)
    lines = [json.loads(line) for line in (tmp_path / ROUNDS_FILE).read_text().splitlines()]
    assert [line["round"] for line in lines] == [1]
