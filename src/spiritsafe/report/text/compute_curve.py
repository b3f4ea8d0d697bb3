"""What a compute curve says, in words and as a table for the terminal.

In: a :class:`~spiritsafe.rollouts.test_time.records.ComputeCurve`. Out: plain text. A sentence never claims more than
its interval does.
"""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from spiritsafe.core.text.safe_text import visible
from spiritsafe.report.numbers import (
    change_range,
    change_text,
    change_value,
    printed,
    score_range,
    score_value,
    tick_count,
    work_text,
)
from spiritsafe.rollouts import ComputeCurve, ComputeLine, EqualCost, ModelCompute, SelectionMethod, TokensToReach

METHOD_WORDS: dict[SelectionMethod, str] = {
    "greedy": "greedy",
    "mean": "one sample",
    "majority": "majority of k",
    "majority_early": "majority, stopped when decided",
    "likelihood": "best of k by likelihood",
    "self_check": "best of k by self-check",
    "oracle": "oracle, pass@k",
}
_AT: dict[SelectionMethod, str] = {
    "greedy": "greedy",
    "mean": "one sample",
    "majority": "maj@{k}",
    "majority_early": "maj@{k}, stopped early",
    "likelihood": "likelihood@{k}",
    "self_check": "self-check@{k}",
    "oracle": "oracle pass@{k}",
}


def method_at(method: SelectionMethod, k: int) -> str:
    """``maj@8``."""
    return _AT[method].format(k=k)


def tokens_text(number: float) -> str:
    """``42.5``, ``340``, ``2.7 k``."""
    return f"{number:.1f}" if number < 99.95 else tick_count(number)


def work_tick(operations: float) -> str:
    """``10 G``: as :func:`~spiritsafe.report.numbers.work_text`, short, for axes."""
    number, _, unit = work_text(operations).removesuffix("FLOP").partition("\u00a0")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number}\u00a0{unit}" if unit else number


def compute_findings(curve: ComputeCurve) -> list[str]:
    """What more attempts bring each model, where they hurt, and what a model spends to be as good as the first."""
    return [*filter(None, map(_gains, curve.models)), *map(_reached, curve.reached)]


def _gains(model: ModelCompute) -> str:
    parts = []
    for line in model.lines:
        if line.gain is None or line.method == "oracle":
            continue
        words = f"{_last(line)} {change_text(line.gain)}"
        if line.gain.high < 0:
            words += ", more attempts hurt"
        elif line.gain.low <= 0 <= line.gain.high:
            words += ", no difference shown"
        parts.append(words)
    return f"{model.name}, against one sample: {'; '.join(parts)}." if parts else ""


def _last(line: ComputeLine) -> str:
    return method_at(line.method, line.points[-1].num_samples)


def _reached(one: TokensToReach) -> str:
    target = f"{one.base}’s maj@{one.num_samples} ({score_value(one.target)}, {tokens_text(one.base_tokens)} tokens)"
    if one.num_tokens is None or one.low is None:
        return f"{one.model} does not reach {target} with its whole pool."
    most = f"to {tokens_text(one.high)}" if one.high is not None else "and more"
    return (
        f"{one.model} reaches {target} by vote with {tokens_text(one.num_tokens)} tokens a problem "
        f"({tokens_text(one.low)} {most})."
    )


def difference_words(one: EqualCost) -> str:
    """``taught − base, maj at 320 tokens: +5.0 points (…)``."""
    cost = f"{tokens_text(one.cost)} tokens" if one.axis == "tokens" else work_text(one.cost)
    return f"{one.first} − {one.second}, {METHOD_WORDS[one.method]} at {cost}: {change_text(one.difference)}"


def compute_table(curve: ComputeCurve) -> str:
    """Every line's last point, comparisons of votes at equal tokens, notes, as text; ends without a newline."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 0, 0, 1))
    table.add_column("Model, and how it is used", overflow="fold")
    for title in ("Tokens", *(("FLOP",) if curve.has_flops else ()), "Accuracy", "Gain, points"):
        table.add_column(title, justify="right", no_wrap=True)
    for model in curve.models:
        table.add_row(Text(visible(model.name).replace("\n", " ⏎ ")))
        for line in model.lines:
            cells = _cells(line, with_flops=curve.has_flops)
            table.add_row(*(Text(cell) for cell in cells), end_section=line is model.lines[-1])
    head = (
        f"{visible(curve.task)}: {curve.num_problems} problems, {curve.num_samples} samples at temperature "
        f"{curve.sampling.temperature:g}. Tokens and operations are means a problem."
    )
    foot = f"Brackets: {curve.interval}. Gain: against one sample, paired by problem."
    votes = [one for one in curve.differences if one.axis == "tokens" and one.method == "majority"]
    notes = [f"{visible(model.name)}: {note}" for model in curve.models for note in model.notes]
    lines = [visible(words) for words in (*map(difference_words, votes), *map(_reached, curve.reached), *notes)]
    return "\n\n".join(printed(part) for part in (Text(head), table, Text("\n".join((foot, *lines)))))


def _cells(line: ComputeLine, *, with_flops: bool) -> list[str]:
    point = line.points[-1]
    flops = [work_text(point.flops).removesuffix("FLOP") if point.flops is not None else "-"] if with_flops else []
    gain = line.gain
    return [
        f"  {_last(line)}",
        tokens_text(point.num_tokens),
        *flops,
        f"{score_value(point.accuracy)} [{score_range(point.accuracy).removesuffix(chr(160) + '%')}]",
        "" if gain is None else f"{change_value(gain)} [{change_range(gain).replace(' to ', ', ')}]",
    ]
