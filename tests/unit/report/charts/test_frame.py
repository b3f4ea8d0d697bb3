from __future__ import annotations

from page_checker import PageChecker

from spiritsafe.report.charts.frame import chart_axes, chart_frame, decimal_labels, polyline


def test_axes_hold_what_is_drawn() -> None:
    for width in (340, 510):
        across, up = chart_axes(width, 90.0, 0.2, 0.7)
        assert 50.0 <= across(0.0) < across(90.0) <= width - 18.0
        assert 14.0 <= up(0.7) < up(0.2) <= 230.0
    across, _ = chart_axes(340, 0.0, 0.0, 1.0)  # a single round
    assert across(0.0) == 50.0


def test_ticks_have_their_labels() -> None:
    across, up = chart_axes(510, 2000.0, 0.0, 1.0)
    labels = decimal_labels(up.ticks)
    assert labels == ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0")
    text = PageChecker(f"<svg>{chart_frame(across, up, labels, 'round')}</svg>").text
    assert "0.8" in text
    assert text.endswith("round")
    assert "1 k" in text
    own = [f"<{tick:g}>" for tick in across.ticks]
    shown = PageChecker(f"<svg>{chart_frame(across, up, labels, 'k', across_labels=own)}</svg>")
    assert shown.problems == []
    assert "<2000>" in shown.text


def test_negative_ticks_have_a_true_minus() -> None:
    assert decimal_labels((-0.5, 0.0, 0.5)) == ("−0.5", "0.0", "0.5")


def test_a_line_goes_through_its_points() -> None:
    assert 'points="1.0,2.0 3.5,4.0" class="line"' in polyline([(1, 2), (3.5, 4)], "line")
