"""Two runs compared, as somebody meets it who has logs of their own tools and nothing of ours."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from inline_snapshot import snapshot
from places import TESTS

from spiritsafe.cli import cli
from spiritsafe.core.errors import RecipeError

FOREIGN = TESTS / "golden" / "foreign"


def compare(*arguments: str | Path) -> Any:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def test_two_folders_of_the_harness_as_it_wrote_them(tmp_path: Path) -> None:
    table = tmp_path / "problems.csv"
    done = compare(FOREIGN / "lm-eval-a", FOREIGN / "lm-eval-b", "--filter", "strict", "--out", table)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if not line.startswith(("- ", "This is practice"))]
    assert lines == snapshot(
        [
            "A  samples_sums_2026-11-27T10-06-09.636654.jsonl: a on sums (lm-eval 0.4.13, exact_match,strict)",
            "B  samples_sums_2026-11-27T10-06-25.499673.jsonl: b on sums (lm-eval 0.4.13, exact_match,strict)",
            "7 problems paired (7 by id), 0 left over",
            "A: 2 correct, 4 unparsed, 1 wrong",
            "B: 5 correct, 2 wrong",
            "A answers 28.6% [3.7%, 71.0%] right, B 71.4% [29.0%, 96.3%]",
            "B answers 42.9 points more [-37.1, +92.8]; exact p = 0.38",
            "B did better at 4 problems, A at 1; both were right at 1, neither at 1",
            "Two equally good runs would differ as much in 38% of such comparisons: they are not told apart.",
        ]
    )
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    assert [(row["right_a"], row["right_b"]) for row in rows] == [
        ("1", "1"), ("1", "0"), ("0", "0"), ("0", "1"), ("0", "1"), ("0", "1"), ("0", "1"),
    ]  # fmt: skip
    assert compare(FOREIGN / "lm-eval-a", FOREIGN / "lm-eval-b", "--filter", "strict", "--out", table).exit_code == 0


@pytest.mark.parametrize("failed", ["wrong", "left-out"])
def test_a_failed_sample_is_told_and_counted_in_both_ways(failed: str) -> None:
    done = compare(FOREIGN / "sums-a.json", FOREIGN / "sums-b.json", "--failed", failed)
    assert done.exit_code == 0, done.output
    assert "Failed, or could not be graded: 1 tries of A, 0 of B." in done.output
    first, second = ("42.9 points more", "33.3 points more") if failed == "wrong" else ("33.3 points", "42.9 points")
    assert 0 < done.output.index(first) < done.output.index(second)
    assert "This is practice" in done.output


def test_json_has_the_same_numbers() -> None:
    done = compare(FOREIGN / "sums-a.json", FOREIGN / "sums-b.json", "--json")
    told = json.loads(done.output)
    assert told["num_paired"] == 7
    assert told["paired_by"] == {"id": 7}
    assert told["a"]["endings"]["error"] == 1
    assert told["counted_wrong"]["difference"]["difference"]["value"] == pytest.approx(3 / 7)
    assert told["left_out"]["num_problems"] == 6


def test_options_that_no_run_is_for_are_refused(tmp_path: Path) -> None:
    for option in ("--metric", "--filter"):
        done = compare(FOREIGN / "sums-a.json", FOREIGN / "sums-b.json", option, "strict")
        assert isinstance(done.exception, RecipeError)
        assert "neither is one" in str(done.exception)
    done = compare(FOREIGN / "lm-eval-a", FOREIGN / "lm-eval-b", "--filter", "strict", "--scorer", "pattern")
    assert isinstance(done.exception, RecipeError)


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    letter = tmp_path / "letter.csv"
    letter.write_text("Dear,A\n", "utf-8")
    done = compare(FOREIGN / "sums-a.json", FOREIGN / "sums-b.json", "--out", letter)
    assert isinstance(done.exception, RecipeError)
    assert letter.read_text("utf-8") == "Dear,A\n"


def test_nothing_remains_without_the_failed(tmp_path: Path) -> None:
    logs = []
    for name in "ab":
        log = json.loads((FOREIGN / f"sums-{name}.json").read_text("utf-8"))
        for sample in log["samples"]:
            sample["error"] = {"message": "broke", "traceback": "", "traceback_ansi": ""}
        logs.append(tmp_path / f"{name}.json")
        logs[-1].write_text(json.dumps(log), "utf-8")
    done = compare(*logs, "--failed", "left-out")
    assert isinstance(done.exception, RecipeError)
    assert "with these left out nothing remains" in str(done.exception)
    assert compare(*logs).exit_code == 0
