from __future__ import annotations

import re

from page_checker import PageChecker

from spiritsafe.report import ReportData, RewardRun
from spiritsafe.report.charts.loss_curves import MAX_POINTS
from spiritsafe.report.charts.reward_curves import has_values, pass_drawing, round_drawing
from spiritsafe.report.charts.svg import Drawing


def drawn(drawing: Drawing, width: int = 510) -> str:
    height, content = drawing(width)
    assert height == 280
    page = PageChecker(f"<svg>{content}</svg>")
    assert page.problems == []
    return str(content)


def lines_of(svg: str) -> dict[str, int]:
    """Points of the line of each kind."""
    found = re.findall(r'<polyline points="([^"]*)" class="line l-(\w+)"', svg)
    return {kind: len(points.split()) for points, kind in found}


def test_one_line_a_run_the_real_one_on_top(steps: ReportData) -> None:
    svg = drawn(round_drawing(steps.reinforced[0].runs, lambda point: point.right))
    lines = lines_of(svg)
    assert list(lines) == ["random", "format", "rft", "reinforced"]
    assert lines["rft"] == 80
    assert 100 <= lines["reinforced"] <= MAX_POINTS
    assert svg.count('class="dot l-format"') == 2  # two rounds are two dots


def test_unknown_numbers_are_left_out(steps: ReportData) -> None:
    runs = steps.reinforced[0].runs
    assert lines_of(drawn(round_drawing(runs, lambda point: point.changed)))["rft"] == 53
    silent = [RewardRun(name="x", kind="random", rounds=(), drawing_s=0, grading_s=0, training_s=0)]
    assert not has_values(silent, lambda point: point.right)
    assert has_values([*silent, runs[0]], lambda point: point.right)


def test_long_runs_are_thinned_to_means() -> None:
    from spiritsafe.report import RoundPoint

    points = tuple(RoundPoint(round=n, num_tokens=n, right=float(n % 2)) for n in range(320))
    run = RewardRun(name="x", kind="reinforced", rounds=points, drawing_s=0, grading_s=0, training_s=0)
    svg = drawn(round_drawing([run], lambda point: point.right))
    (shown,) = re.findall(r'<polyline points="([^"]*)" class="line', svg)
    heights = {pair.split(",")[1] for pair in shown.split()}
    assert len(shown.split()) == MAX_POINTS
    assert len(heights) == 1  # the mean of each pair of rounds is one half


def test_estimates_are_drawn_with_their_intervals(steps: ReportData) -> None:
    svg = drawn(round_drawing(steps.reinforced[0].runs, lambda point: point.dev))
    assert svg.count('class="whisker w-reinforced"') == 5
    assert lines_of(svg) == {"reinforced": 5}


def test_pass_at_k_before_and_after(steps: ReportData) -> None:
    passes = steps.reinforced[0].passes
    svg = drawn(pass_drawing(passes), 340)
    assert lines_of(svg) == {"before": 4, "reinforced": 4}
    assert svg.count("<title>") == 8
    text = PageChecker(f"<svg>{svg}</svg>").text
    assert "pass@8" in text
    assert "tries at a problem (k)" in text
    one = drawn(pass_drawing(passes[:1]))
    assert lines_of(one) == {"before": 1, "reinforced": 1}
