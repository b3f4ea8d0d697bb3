"""Buckets: a function of the problem alone, shared by variants of a task."""

from collections import Counter

import pytest

from spiritsafe.core.records import Problem
from spiritsafe.tasks.splits import SPLIT_BUCKETS, bucket_of, bucket_of_text, split_of


def problem(task: str, text: str) -> Problem:
    return Problem(task=task, canonical_text=text, messages=())


def test_golden_buckets_never_move() -> None:
    """Do not fix this test: published certificates stand on these numbers."""
    assert [bucket_of_text("arith:sums?terms=2", text) for text in ("+5 +12", "+7 +28", "-9 +37 +42", "ä")] == GOLDEN


GOLDEN = [3, 32, 66, 71]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("arith:sums?terms=2-3", "arith:sums?hint=false&terms=2-9"),
        ("math:a.jsonl?sha256=1", "math:b.jsonl?sha256=2"),
        ("choice:a.jsonl", "choice:b.jsonl?hint=false"),
        ("programs:a.jsonl", "programs:b.jsonl?ask=false"),
        ("code:solve?language=cobol", "code:tests?mutants=9"),
        ("code:solve", "code:explain?language=fortran"),
    ],
)
def test_variants_share_buckets(left: str, right: str) -> None:
    for index in range(50):
        assert bucket_of(problem(left, f"{index}")) == bucket_of(problem(right, f"{index}"))


def test_kinds_and_families_do_not_share_buckets() -> None:
    texts = [str(index) for index in range(50)]
    assert [bucket_of_text("arith:sums", t) for t in texts] != [bucket_of_text("arith:products", t) for t in texts]


def test_split_of_follows_the_bucket_and_shares_are_right() -> None:
    counts = Counter()
    for index in range(5000):
        one = problem("arith:sums", str(index))
        split = split_of(one)
        assert bucket_of(one) in SPLIT_BUCKETS[split]
        counts[split] += 1
    assert abs(counts["train"] / 5000 - 0.8) < 0.03
    assert abs(counts["exam"] / 5000 - 0.1) < 0.02


def test_ranges_cover_every_bucket_once() -> None:
    assert sorted(b for buckets in SPLIT_BUCKETS.values() for b in buckets) == list(range(100))


def test_which_of_several_answers_moves_no_conversation_to_another_split() -> None:
    for n in range(50):
        alone = bucket_of_text("chat:a.jsonl?dedupe=false", f"What is {n}?")
        assert bucket_of_text("chat:b.jsonl?sha256=0", f"What is {n}?\x1freply {n}") == alone
    assert bucket_of_text("math:a", "x\x1fy") != bucket_of_text("math:a", "x")  # only where a family says so
