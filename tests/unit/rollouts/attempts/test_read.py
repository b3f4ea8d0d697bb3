from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError, RecipeError, SourceError
from spiritsafe.core.records import Attempt, Message, Problem, Sampling, Verdict
from spiritsafe.rollouts import (
    FakeGenerator,
    FakeReply,
    VerifiedAttempts,
    VerifiedReport,
    collect,
    read_attempts,
    read_endings,
    verified,
)
from spiritsafe.rollouts.attempts import read as read_module

PROBLEMS = [
    Problem(task="t", canonical_text=str(i), messages=(Message(role="user", content=str(i)),)) for i in range(3)
]
A, B, C = (problem.id for problem in PROBLEMS)


class Named:
    name, version = "v", "1"


class ContainsFour:
    name, version, verifier = "t", "1", Named()

    def grade(self, problem: Problem, text: str) -> Verdict:
        if text == "hang":
            return Verdict(status="unscored", score=0.0, verifier="v", version="1")
        good = "4" in text
        return Verdict(status="correct" if good else "wrong", score=float(good), verifier="v", version="1")


@pytest.fixture
def directory(tmp_path: Path) -> Callable[..., Path]:
    def make(replies: dict[str, list[str | FakeReply]], **sampling: Any) -> Path:
        generator = FakeGenerator(lambda problem_id, index: replies[problem_id][index])
        num_samples = len(next(iter(replies.values())))
        collect(
            ContainsFour(),
            [p for p in PROBLEMS if p.id in replies],
            generator,
            Sampling(**sampling),
            num_samples=num_samples,
            seed=0,
            directory=tmp_path,
            shard_size=1,
        )
        return tmp_path

    return make


REPLIES: dict[str, list[str | FakeReply]] = {
    A: ["it is 4", "4", "it is 4", "5", FakeReply(text="4 and", finish_reason="length"), "the 4"],
    B: [
        "hang",
        FakeReply(finish_reason="error", error="fire"),
        FakeReply(text="44", finish_reason="refused"),
        "no",
        "no",
        "no",
    ],
    C: ["4", "4", "x4", "y4", "z", "4"],
}


def test_all_attempts_in_order(directory: Callable[..., Path]) -> None:
    pairs = list(read_attempts(directory(REPLIES)))
    assert [(a.problem_id, a.sample_index) for a, _ in pairs] == [(p, i) for p in (A, B, C) for i in range(6)]
    assert [v.status for a, v in pairs if a.problem_id == B] == ["unscored", "unscored", "correct", *["wrong"] * 3]
    right = [sum(v.status == "correct" for a, v in pairs if a.problem_id == problem_id) for problem_id in (A, B, C)]
    assert right == [5, 1, 5]


def test_endings_are_those_of_the_attempts(directory: Callable[..., Path]) -> None:
    path = directory(REPLIES)
    manifest, endings = read_endings(path)
    assert (manifest.task, manifest.num_samples) == ("t", 6)
    assert list(endings) == [A, B, C]
    pairs = [(a.finish_reason, v) for a, v in read_attempts(path)]
    assert [ending for found in endings.values() for ending in found] == pairs
    with pytest.raises(SourceError):
        read_endings(path / "nowhere")


def test_verified_keeps_the_shortest_and_counts_the_rest(directory: Callable[..., Path]) -> None:
    kept, report = verified(directory(REPLIES), max_per_problem=2, rule="shortest")
    assert [(problem_id, a.text, a.sample_index) for problem_id, a in kept] == [
        (A, "4", 1),
        (A, "the 4", 5),
        (C, "4", 0),
        (C, "x4", 2),
    ]
    assert (report.num_asked, report.num_correct, report.num_kept) == (18, 11, 4)
    assert (report.num_problems, report.num_problems_kept) == (3, 2)
    assert report.dropped == {
        "duplicate": 3,
        "error": 1,
        "refused": 1,
        "surplus": 2,
        "truncated": 1,
        "unscored": 1,
        "wrong": 5,
    }
    assert report.num_asked == report.num_kept + sum(report.dropped.values())


def test_verified_keeps_the_first(directory: Callable[..., Path]) -> None:
    kept, report = verified(directory(REPLIES), rule="first")
    assert [(a.text, a.sample_index) for p, a in kept if p == A] == [("it is 4", 0), ("4", 1), ("the 4", 5)]
    assert [(a.text, a.sample_index) for p, a in kept if p == C] == [("4", 0), ("x4", 2), ("y4", 3)]
    assert "surplus" not in report.dropped


def test_wrong_attempts_are_kept_where_they_are_wanted(directory: Callable[..., Path]) -> None:
    attempts = VerifiedAttempts(directory(REPLIES), wanted="wrong")
    assert [(problem_id, a.text) for problem_id, a in attempts] == [(A, "5"), (B, "no"), (C, "z")]
    report = attempts.report
    assert (report.num_asked, report.num_correct, report.num_kept) == (18, 11, 3)
    assert report.dropped == {"correct": 11, "duplicate": 2, "error": 1, "unscored": 1}
    assert report.num_asked == report.num_kept + sum(report.dropped.values())


def test_verified_attempts_come_a_problem_at_a_time(
    directory: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = directory(REPLIES), list[str]()

    def watched(where: Path) -> Iterator[tuple[Attempt, Verdict]]:
        for row in read_attempts(where):
            read.append(row[0].problem_id)
            yield row

    kept, report = verified(path)
    monkeypatch.setattr(read_module, "read_attempts", watched)
    found = VerifiedAttempts(path)
    with pytest.raises(TypeError):
        _ = found.report
    stream = iter(found)
    assert next(stream) == kept[0]
    assert C not in read  # two shards were not opened yet, or one
    assert list(stream) == kept[1:]
    assert found.report == report


def test_bad_questions(directory: Callable[..., Path]) -> None:
    path = directory(REPLIES)
    with pytest.raises(RecipeError):
        verified(path, rule="best")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(RecipeError):
        verified(path, max_per_problem=0)


def test_no_collection_an_unfinished_one_a_damaged_one(tmp_path: Path, directory: Callable[..., Path]) -> None:
    with pytest.raises(SourceError, match="no collected attempts"):
        list(read_attempts(tmp_path))
    path = directory(REPLIES)
    shard = path / "shard-00001.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError):
        verified(path)
    shard.unlink()
    with pytest.raises(SourceError, match="unfinished"):
        verified(path)


def test_where_there_is_no_verifier_every_answer_that_says_something_is_kept(directory: Callable[..., Path]) -> None:
    """Problem A is judged, B is not: of it everything counts that ended by itself."""
    replies: dict[str, list[str | FakeReply]] = {
        A: ["4", "5", "4", "no", "hm", "4!", "", "", ""],
        B: [
            "hang",
            FakeReply(finish_reason="error", error="fire"),
            FakeReply(text="44", finish_reason="refused"),
            FakeReply(text="cut o", finish_reason="length"),
            " \n",
            "<think>\nhm",
            "<think>\nhm\n</think>\n\n",
            "no",
            "no",
        ],
    }
    found = directory(replies)
    attempts = VerifiedAttempts(found, without_verifier={B}, rule="first")
    assert [(problem, attempt.text) for problem, attempt in attempts] == [(A, "4"), (A, "4!"), (B, "hang"), (B, "no")]
    report = attempts.report
    assert (report.num_kept, report.num_unverified, report.num_problems_kept, report.num_correct) == (4, 2, 2, 4)
    assert report.dropped == {
        "duplicate": 2,
        "empty": 3,
        "error": 1,
        "refused": 1,
        "truncated": 1,
        "wrong": 6,
    }
    assert report.num_asked == report.num_kept + sum(report.dropped.values())
    most = VerifiedAttempts(found, without_verifier={B}, max_per_problem=1)
    assert [attempt.text for _, attempt in most] == ["4", "no"]
    assert VerifiedReport.from_json(report.to_json()) == report
    only_judged = VerifiedAttempts(found)
    assert [problem for problem, _ in only_judged] == [A, A]
    assert "num_unverified" not in only_judged.report.to_json()  # reports of before read and hash as they did
