"""``spiritsafe compare A B``: Compare two runs problem by problem: Inspect, lm-eval, samples, certificates."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from spiritsafe import exam
from spiritsafe.cli.paths import EXISTING, GuardedCommand, Kind, OutputFile
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import print_result
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.atomic import write_bytes

if TYPE_CHECKING:  # the help needs no statistics
    from spiritsafe.stats import Estimate

_TABLE = OutputFile(
    Kind("a table of two compared runs", lambda data: data.startswith(",".join(exam.PAIRED_COLUMNS).encode("ascii")))
)
_LEVEL = 0.05


@click.command(name="compare", cls=GuardedCommand)
@click.argument("a", type=EXISTING)
@click.argument("b", type=EXISTING)
@click.option(
    "--failed",
    type=click.Choice(["wrong", "left-out"]),
    default="wrong",
    show_default=True,
    help="What a try counts as that failed or could not be graded; the other way is shown, too.",
)
@click.option("--scorer", help="Inspect AI: whose scores count, where several graded.")
@click.option("--metric", help="lm-evaluation-harness: what says that an answer is right.")
@click.option("--filter", "filter_name", help="lm-evaluation-harness: whose answers count.")
@click.option("--out", type=_TABLE, help="File for a table with a line for each problem (CSV).")
@json_option
def command(
    a: Path,
    b: Path,
    failed: Literal["wrong", "left-out"],
    scorer: str | None,
    metric: str | None,
    filter_name: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare run B with run A on the problems that both answered, paired and exact.

    A and B are logs of Inspect AI (.eval, .json), samples_….jsonl of lm-evaluation-harness, folders that `spiritsafe
    sample` filled, practice files or certificates.
    """
    first, second = (exam.read_run(path, scorer=scorer, metric=metric, filter_name=filter_name) for path in (a, b))
    _refuse_idle(first, second, {"inspect-ai": scorer, "lm-eval": metric or filter_name})
    compared, problems = exam.compare_runs(first, second)
    if failed == "left-out" and compared.num_failed and compared.left_out is None:
        raise RecipeError(
            "Every paired problem has a try that failed: with these left out nothing remains.",
            hint="Count them as wrong: --failed wrong.",
        )
    if out is not None:
        text = io.StringIO()
        table = csv.DictWriter(text, exam.PAIRED_COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(exam.paired_rows(problems, first, second))
        write_bytes(out, text.getvalue().encode("utf-8", "backslashreplace"))
    if as_json:
        print_json([compared])
        return
    _print(compared, failed)
    if first.is_practice or second.is_practice:
        print_result(exam.PRACTICE_STATEMENT)


def _refuse_idle(first: exam.GradedRun, second: exam.GradedRun, given: dict[str, str | None]) -> None:
    """Refuse options for a tool that neither run is of.

    Raises:
        RecipeError: There is one.
    """
    tools = {run.scorer.partition(" ")[0] for run in (first, second)}
    for tool, value in given.items():
        if value is not None and tool not in tools:
            raise RecipeError(f'"{value}" is for files of {tool}; neither is one.', hint="Leave the option out.")


def _print(compared: exam.PairedRuns, failed: str) -> None:
    a, b = compared.a, compared.b
    print_result(f"A  {a.file}: {a.words}")
    print_result(f"B  {b.file}: {b.words}")
    keys = ", ".join(f"{count:,} by {key}" for key, count in compared.paired_by.items())
    tries = f", {compared.num_tries} tries each" if compared.num_tries > 1 else ""
    left_over = a.num_left_over + b.num_left_over
    sides = f" ({a.num_left_over:,} of A, {b.num_left_over:,} of B: not compared)" if left_over else ""
    print_result(f"{compared.num_paired:,} problems paired ({keys}){tries}, {left_over:,} left over{sides}")
    for name, side in (("A", a), ("B", b)):
        print_result(f"{name}: " + ", ".join(f"{count:,} {status}" for status, count in side.endings.items()))
    ways = {"wrong": compared.counted_wrong, "left-out": compared.left_out or compared.counted_wrong}
    _print_scores(ways[failed])
    if compared.num_failed:
        _print_other_way(compared, failed)
    for name, side in (("A", a), ("B", b)):
        for remark in side.remarks:
            print_result(f"- {name}: {remark}")
        if side.num_partial:
            print_result(f"- {name}: {side.num_partial:,} tries earned a part of the marks: they count as not right.")
    for remark in compared.remarks:
        print_result(f"- {remark}")


def _print_scores(scores: exam.PairedScores) -> None:
    print_result(f"A answers {_share(scores.score_a)} right, B {_share(scores.score_b)}")
    print_result(_sentence(scores))
    print_result(
        f"B did better at {scores.num_b_better:,} problems, A at {scores.num_a_better:,}; both were right at "
        f"{scores.num_both:,}, neither at {scores.num_neither:,}"
    )
    p_value, verdict = scores.exact_p_value, "" if scores.exact_p_value < _LEVEL else ": they are not told apart"
    often = f"{p_value:.0%}" if p_value >= 0.01 else "fewer than 1%"
    print_result(f"Two equally good runs would differ as much in {often} of such comparisons{verdict}.")


def _print_other_way(compared: exam.PairedRuns, failed: str) -> None:
    """What failed, how it was counted, and the other way to count it."""
    told = f"Failed, or could not be graded: {compared.a.num_failed:,} tries of A, {compared.b.num_failed:,} of B. "
    if failed == "left-out":
        other = compared.counted_wrong
        print_result(f"{told}Their problems are left out above. Counted as wrong: {_sentence(other)}")
    elif compared.left_out is None:
        print_result(f"{told}They count as wrong; every problem has one, so none can be left out.")
    else:
        other = compared.left_out
        print_result(f"{told}They count as wrong above. Their problems left out ({other.num_problems:,} remain): "
                     f"{_sentence(other)}")  # fmt: skip


def _sentence(scores: exam.PairedScores) -> str:
    shown = scores.difference.difference
    more = "more" if shown.value >= 0 else "fewer"
    return (
        f"B answers {abs(100 * shown.value):.1f} points {more} [{100 * shown.low:+.1f}, {100 * shown.high:+.1f}]; "
        f"exact p = {scores.exact_p_value:.2g}"
    )


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
