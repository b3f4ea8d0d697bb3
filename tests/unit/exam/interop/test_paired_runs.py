"""Two runs paired: numbers held to independent arithmetic on the tools' own files, and nothing left out in silence."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from places import ROOT, TESTS
from scipy import optimize, stats

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.exam import compare, load_certificate
from spiritsafe.exam.interop.graded_runs import GradedRun, read_run
from spiritsafe.exam.interop.paired_runs import PAIRED_COLUMNS, PairedScores, compare_runs, pair_runs, paired_rows

FOREIGN = TESTS / "golden" / "foreign"
CERTIFICATES = ROOT / "experiments" / "quickstart"


def run(tries: dict[str, Any], **fields: Any) -> GradedRun:
    texts = fields.pop("texts", {})
    given: dict[str, Any] = {
        "file": "f", "words": "m on t", "scorer": "tool match", "names": "tool t", "asked": {},
        "tries": {name: (found,) if isinstance(found, str) else tuple(found) for name, found in tries.items()},
        "num_partial": 0, "is_practice": True, "remarks": (), "texts": lambda: texts,
    }  # fmt: skip
    return GradedRun(**{**given, **fields})


def right(flags: str, **fields: Any) -> GradedRun:
    return run({str(i): "correct" if flag == "1" else "wrong" for i, flag in enumerate(flags)}, **fields)


# ---- independent arithmetic


def tango(only_b: int, only_a: int, n: int) -> tuple[float, float]:
    """Tango 1998 with the closed form of the restricted estimate, less one problem (and up to two at the far end)."""

    def z(delta: float, side: int) -> float:
        excess = only_b - only_a - n * delta
        linear = -only_b - only_a + (2 * n - only_b + only_a) * delta
        quarter = (math.sqrt(linear**2 - 8 * n * (-only_a * delta * (1 - delta))) - linear) / (4 * n)
        held = 1 + max(0.0, -side * delta)
        return (excess - side * held) / math.sqrt(n * (2 * quarter + delta * (1 - delta)))

    critical, edge = stats.norm.ppf(0.975), 1 - 1e-9
    low = optimize.brentq(lambda delta: z(delta, 1) - critical, -edge, edge)
    high = optimize.brentq(lambda delta: z(delta, -1) + critical, -edge, edge)
    return low, high


def held_to(found: PairedScores, right_a: list[bool], right_b: list[bool]) -> None:
    """Every number, from the flags of the tool's own file."""
    n = len(right_a)
    only_b, only_a = (
        sum(x and not y for x, y in zip(*pair, strict=True)) for pair in ((right_b, right_a), (right_a, right_b))
    )
    assert found.num_problems == n
    assert (found.num_b_better, found.num_a_better) == (only_b, only_a)
    assert found.exact_p_value == pytest.approx(stats.binomtest(only_b, only_a + only_b).pvalue)
    shown = found.difference.difference
    assert shown.value == pytest.approx((sum(right_b) - sum(right_a)) / n)
    assert (shown.low, shown.high) == pytest.approx(tango(only_b, only_a, n), abs=1e-6)
    for score, flags in ((found.score_a, right_a), (found.score_b, right_b)):
        exact = stats.binomtest(sum(flags), n).proportion_ci(method="exact")
        assert (score.value, score.low, score.high) == pytest.approx((sum(flags) / n, exact.low, exact.high))


def test_two_logs_of_inspect_against_their_own_json() -> None:
    found, _ = compare_runs(read_run(FOREIGN / "sums-a.json"), read_run(FOREIGN / "sums-b.json"))
    flags = []
    for name in ("a", "b"):
        samples = json.loads((FOREIGN / f"sums-{name}.json").read_text("utf-8"))["samples"]
        flags.append([(sample.get("scores") or {}).get("pattern", {}).get("value") == "C" for sample in samples])
    held_to(found.counted_wrong, *flags)
    assert found.left_out is not None  # the last sample of a failed
    held_to(found.left_out, *(side[:-1] for side in flags))


def test_two_sample_files_of_the_harness_against_their_own_lines() -> None:
    found, _ = compare_runs(*(read_run(FOREIGN / f"lm-eval-{name}", filter_name="strict") for name in "ab"))
    flags = []
    for name in "ab":
        lines = next((FOREIGN / f"lm-eval-{name}").glob("samples_*")).read_text("utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if row["filter"] == "strict"]
        flags.append([row["exact_match"] == 1 for row in rows])
    held_to(found.counted_wrong, *flags)
    assert found.left_out is None
    assert found.paired_by == {"id": 7}


@pytest.mark.parametrize(("both", "only_b", "only_a", "neither"), [(700, 96, 52, 471), (90, 12, 0, 18), (0, 3, 9, 100)])
def test_runs_of_real_sizes(both: int, only_b: int, only_a: int, neither: int) -> None:
    flags_a = "1" * both + "0" * only_b + "1" * only_a + "0" * neither
    flags_b = "1" * both + "1" * only_b + "0" * only_a + "0" * neither
    found, _ = compare_runs(right(flags_a), right(flags_b))
    held_to(found.counted_wrong, [flag == "1" for flag in flags_a], [flag == "1" for flag in flags_b])
    assert (found.counted_wrong.num_both, found.counted_wrong.num_neither) == (both, neither)


def test_several_tries_by_brute_force() -> None:
    words = {"1": "correct", "0": "wrong"}
    a = run({str(i): [words[c] for c in tries] for i, tries in enumerate(["100", "110", "000", "111", "001", "000"])})
    b = run({str(i): [words[c] for c in tries] for i, tries in enumerate(["111", "110", "100", "110", "111", "011"])})
    found, _ = compare_runs(a, b)
    differences = [2, 0, 1, -1, 2, 2]
    signs = itertools.product((-1, 1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(sign, differences, strict=True))) for sign in signs]
    assert found.counted_wrong.exact_p_value == pytest.approx(sum(total >= 6 for total in sums) / len(sums))
    assert found.counted_wrong.difference.difference.value == pytest.approx(6 / 18)
    assert (found.num_tries, found.counted_wrong.num_b_better, found.counted_wrong.num_a_better) == (3, 4, 1)


def test_certificates_of_one_paper_as_the_exam_compares_them() -> None:
    paths = [CERTIFICATES / f"{name}.certificate.json" for name in ("base", "student")]
    found, _ = compare_runs(*map(read_run, paths))
    expected = compare(*(load_certificate(path) for path in reversed(paths)))
    assert found.counted_wrong.difference == expected.sealed


# ---- what pairs with what


def test_inspect_and_the_harness_pair_by_the_question() -> None:
    found, problems = compare_runs(
        read_run(FOREIGN / "sums-a.json"), read_run(FOREIGN / "lm-eval-b", filter_name="loose")
    )
    assert found.paired_by == {"question": 7}
    assert [(p.name_a, p.name_b) for p in problems] == [
        (str(i + 1), str(i)) for i in range(7)
    ]  # ids, counted otherwise
    assert any("Two scorers" in remark for remark in found.remarks)
    assert any("text of the question" in remark for remark in found.remarks)


def test_equal_ids_of_different_questions_do_not_pair() -> None:
    a = right("110", asked={"0": "x", "1": "y", "2": "z"})
    b = right("101", asked={"0": "y", "1": "q", "2": "z"})
    found, problems = compare_runs(a, b)
    assert [(p.name_a, p.name_b, p.paired_by) for p in problems] == [
        ("1", "0", "question and target"), ("2", "2", "id"),
    ]  # fmt: skip
    assert (found.a.num_left_over, found.b.num_left_over) == (1, 1)
    with pytest.raises(CompatibilityError, match="No problem of"):
        compare_runs(right("11", names="tool t"), right("11", names="tool u"))


def test_a_text_of_several_problems_pairs_none_of_them() -> None:
    texts = {"0": ("same",), "1": ("same",), "2": ("own", "same")}
    found = pair_runs(right("111", names="x t", texts=texts), right("111", names="y t", texts=texts))
    assert [(p.name_a, p.name_b) for p in found] == [("2", "2")]


def test_another_tool_may_use_our_ids() -> None:
    ids = [f"sha256:{i}" for i in range(3)]
    ours = run(dict.fromkeys(ids, "correct"), names="spiritsafe")
    theirs = run({**dict.fromkeys(ids[:2], "wrong"), "7": "wrong"}, names="inspect-ai mine")
    found, _ = compare_runs(ours, theirs)
    assert (found.num_paired, found.a.num_left_over, found.b.num_left_over) == (2, 1, 1)


def test_more_tries_on_one_side_are_cut_and_told() -> None:
    one = run({"0": ["wrong", "correct"], "1": ["correct", "correct"]})
    found, problems = compare_runs(one, right("11"))
    assert [p.tries_a for p in problems] == [("wrong",), ("correct",)]
    assert "A has 2 tries a problem and B 1" in found.remarks[0]


# ---- what failed


def test_failed_tries_are_told_and_both_ways_are_computed() -> None:
    a = run({"0": "error", "1": "correct", "2": "wrong", "3": "unscored", "4": "refused"})
    b = run(dict.fromkeys("01234", "correct"))
    found, _ = compare_runs(a, b)
    assert (found.a.num_failed, found.b.num_failed, found.num_failed) == (2, 0, 2)
    assert found.counted_wrong.score_a.value == 1 / 5
    assert found.left_out is not None
    assert (found.left_out.num_problems, found.left_out.score_a.value) == (3, 1 / 3)  # a refusal is an answer
    assert found.left_out.score_b.n == 3
    none_left, _ = compare_runs(run({"0": "error"}), run({"0": "unscored"}))
    assert none_left.left_out is None
    assert none_left.num_failed == 2


def test_the_table_has_each_problem_once(tmp_path: Path) -> None:
    a, b = run({"0": "correct", "1": "error", "x": "wrong"}), run({"1": "correct", "0": "wrong", "y": "correct"})
    rows = paired_rows(compare_runs(a, b)[1], a, b)
    assert all(tuple(row) == PAIRED_COLUMNS for row in rows)
    assert [(row["problem_a"], row["problem_b"], row["right_a"], row["right_b"], row["failed_a"]) for row in rows] == [
        ("0", "0", 1, 0, 0), ("1", "1", 0, 1, 1), ("x", "", 0, "", 0), ("", "y", "", 1, ""),
    ]  # fmt: skip
