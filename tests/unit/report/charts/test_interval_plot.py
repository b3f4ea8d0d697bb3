from __future__ import annotations

import re

import pytest
from page_checker import PageChecker
from report_parts import estimate

from spiritsafe.report.charts.interval_plot import Mark, Row, row_chart


def rows(num_marks: int = 1) -> list[Row]:
    return [
        Row(
            label=f"model-{index}-with-a-name-that-is-much-too-long-for-any-column-of-the-chart",
            role=role,
            detail=role,
            marks=tuple(
                Mark(score=estimate(0.2 * index + 0.1, 0.05), spoken=f"spoken {index}") for _ in range(num_marks)
            ),
            note=("first", "(second)"),
            size_share=0.5,
            size="227 MB, 84 %",
        )
        for index, role in enumerate(("base", "teacher", "student"))
    ]


@pytest.mark.parametrize("width", [340, 600, 1080])
@pytest.mark.parametrize("num_marks", [1, 2])
def test_every_mark_has_its_interval_and_its_words(width: int, num_marks: int) -> None:
    height, drawing = row_chart(rows(num_marks), axis_title="score, %", reference=(0.1, "base"))(width)
    page = PageChecker(drawing)
    assert page.problems == []
    assert page.tags.count("title") == 3 * num_marks
    assert drawing.count('class="whisker') == 3 * 3 * num_marks
    assert "score, %" in page.text
    xs = [float(x) for x in re.findall(r' x[12]?="([-\d.]+)"', drawing)]
    assert min(xs) >= 0
    assert max(xs) <= width
    assert height > 150


def test_marks_stand_where_the_axis_says() -> None:
    _, drawing = row_chart(rows(), axis_title="score, %")(600)
    ticks = dict(re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="middle">(\d+)</text>', drawing))
    position = {int(label): float(x) for x, label in ticks.items()}
    (centre,) = re.findall(r'<title>spoken 2</title>.*?<circle cx="([\d.]+)"', drawing)
    assert float(centre) == pytest.approx(position[0] + 0.5 * (position[40] - position[0]) / 0.4, abs=0.1)
    whisker = re.findall(r'<title>spoken 2</title><line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', drawing)[0]
    scale = (position[40] - position[0]) / 0.4
    assert [float(x) for x in whisker] == pytest.approx(
        [position[0] + 0.45 * scale, position[0] + 0.555 * scale], abs=0.1
    )


def test_the_reference_is_drawn_in_each_row_and_named_where_there_is_room() -> None:
    draw = row_chart(rows(), axis_title="score", reference=(0.1, "the base line"))
    assert draw(340)[1].count('class="reference"') == 3
    assert "the base line" not in draw(340)[1]
    assert "the base line" in draw(600)[1]


def test_sizes_get_bars_only_on_wide_pages() -> None:
    draw = row_chart(rows(), axis_title="score")
    assert "size s-teacher" in draw(1080)[1]
    assert "size s-teacher" not in draw(600)[1]
    assert "teacher, 227 MB, 84 %" in draw(600)[1]
    assert "227 MB, 84 %" in draw(340)[1]


def test_scores_below_zero_stay_on_the_chart() -> None:
    row = rows()[0]
    negative = Row(label="m", role="base", detail="", marks=(Mark(score=estimate(-0.2, 0.1), spoken=""),), note=("",))
    _, drawing = row_chart([row, negative], axis_title="gain")(600)
    assert "−20" in drawing
