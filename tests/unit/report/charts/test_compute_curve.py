from __future__ import annotations

import re
from itertools import pairwise

import pytest
from compute_parts import example_curve, lonely_curve
from page_checker import PageChecker

from spiritsafe.report.charts.compute_curve import compute_drawing, has_points
from spiritsafe.rollouts.test_time.records import ComputeCurve

CURVE = example_curve()


def lines_of(drawing: str, method: str) -> list[list[tuple[float, float]]]:
    found = re.findall(rf'<polyline points="([^"]+)" class="way w-{method}"', drawing)
    return [[tuple(map(float, pair.split(","))) for pair in one.split()] for one in found]  # type: ignore[misc]


@pytest.mark.parametrize("width", [340, 600, 1080])
@pytest.mark.parametrize("axis", ["tokens", "flops"])
def test_it_is_well_formed_and_stays_inside(width: int, axis: str) -> None:
    height, drawing = compute_drawing(CURVE, axis)(width)  # type: ignore[arg-type]
    assert PageChecker(drawing).problems == []
    places = re.findall(r"(-?[\d.]+),(-?[\d.]+)", " ".join(re.findall(r'points="([^"]+)"', drawing)))
    assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in places)
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="t tick">([^<]+)<', drawing)
    assert all(float(x) + 5 * len(words) < width for x, _, words in texts)


def test_points_stand_where_cost_and_accuracy_say() -> None:
    drawing = compute_drawing(CURVE, "tokens")(1080)[1]
    majority = [line for line in lines_of(drawing, "majority") if len(line) > 2]
    assert len(majority) == 3
    for model, places in zip(CURVE.models, majority, strict=True):
        line = model.line("majority")
        assert line is not None
        steps = [b[0] - a[0] for a, b in pairwise(places)]
        assert steps == pytest.approx([steps[0]] * len(steps), abs=0.2)  # doubling is an equal step
        heights = [point.accuracy.value for point in line.points]
        assert sorted(range(len(heights)), key=lambda i: heights[i]) == sorted(
            range(len(heights)), key=lambda i: -places[i][1]
        )
    labels = re.findall(r'text-anchor="middle">([^<]+)<', drawing)
    assert labels[-1] == "tokens generated a problem"
    assert "100" in labels


def test_the_ceiling_is_a_line_of_its_own_kind_and_every_mark_is_spoken() -> None:
    drawing = compute_drawing(CURVE, "tokens")(1080)[1]
    assert len([line for line in lines_of(drawing, "oracle") if len(line) > 2]) == 3
    spoken = re.findall("<title>(.*?)</title>", drawing)
    lines = [line for model in CURVE.models for line in model.lines]
    assert len(spoken) == sum(1 if len(line.points) == 1 else len(line.points) - 1 for line in lines)
    assert all(re.search(r"@|greedy|one sample", words) and re.search(r"\(.*%\)", words) for words in spoken)
    whiskers = drawing.count('class="span"')
    assert whiskers == sum(
        1 if len(line.points) == 1 else len(line.points) - 1 for line in lines if line.method != "oracle"
    )


def test_models_of_unknown_size_are_missing_where_x_is_operations() -> None:
    by_work = compute_drawing(CURVE, "flops")(1080)[1]
    assert "endpoint" not in by_work
    assert "endpoint" in compute_drawing(CURVE, "tokens")(1080)[1]
    assert has_points(CURVE, "flops")
    assert not has_points(lonely_curve(), "flops")
    assert has_points(lonely_curve(), "tokens")


def test_colours_follow_the_models_and_start_again() -> None:
    many: ComputeCurve = CURVE.model_copy(
        update={"models": tuple(CURVE.models[0].model_copy(update={"name": f"m{i}"}) for i in range(8))}
    )
    drawing = compute_drawing(many, "tokens")(1080)[1]
    assert drawing.count('class="tone0"') == 4  # keys and lines of the first and the seventh
    assert drawing.count('class="tone5"') == 2


def test_one_attempt_a_problem_still_makes_a_chart() -> None:
    line = CURVE.models[0].lines[1]
    model = CURVE.models[0].model_copy(update={"lines": (line,)})
    only = CURVE.model_copy(update={"models": (model,)})
    assert "<circle" in compute_drawing(only, "tokens")(340)[1]
