from __future__ import annotations

import re

from page_checker import PageChecker

from spiritsafe.report.charts.svg import FULL, figure, marker, share_bar, svg_line, svg_text
from spiritsafe.report.html.markup import Html, tag


def test_a_figure_is_drawn_for_each_width_and_named_in_each() -> None:
    widths: list[int] = []

    def draw(width: int) -> tuple[float, Html]:
        widths.append(width)
        return 50.4, svg_line(0, 0, width, 10, "grid")

    made = figure("f", title="A <title>", description="says all", draw=draw, layouts=FULL, note="below")
    page = PageChecker(made)
    assert page.problems == []
    assert widths == list(FULL.values())
    assert page.tags.count("svg") == page.tags.count("desc") == len(FULL)
    assert [value for tag_, key, value in page.attributes if (tag_, key) == ("svg", "role")] == ["img"] * len(FULL)
    assert 'viewBox="0 0 340 50"' in made
    assert "A &lt;title&gt;" in made


def test_roles_differ_in_shape_not_only_in_colour() -> None:
    roles = ("base", "teacher", "student", "reinforced", "tuned", "control", "cut", "quantised", "merged", "routed")
    drawn = {role: re.sub(r' class="[^"]*"', "", marker(role, 5, 5)) for role in roles}
    assert len(set(drawn.values())) == len(roles)
    assert marker("given", 5, 5).replace("given", "base") == marker("base", 5, 5)  # nobody here made either
    shapes = {role: text.split()[0] for role, text in drawn.items()}
    assert (shapes["base"], shapes["teacher"], shapes["student"]) == ("<rect", "<polygon", "<circle")
    assert 'class="m-control cross"' in marker("control", 5, 5)
    assert 'class="m-teacher hollow"' in marker("teacher", 5, 5, hollow=True)


def test_bars_fill_their_share_and_leave_out_nothing_else() -> None:
    bar = share_bar([("a", 0.25), ("b", 0.0), ("c", 0.5)])
    assert bar.count("<rect") == 2
    assert '<rect x="25" y="0" width="50" height="8" class="c"/>' in bar
    assert 'aria-hidden="true"' in bar


def test_text_is_escaped() -> None:
    assert svg_text(1, 2, "</text><script>", anchor="end") == (
        '<text x="1" y="2" class="t" text-anchor="end">&lt;/text&gt;&lt;script&gt;</text>'
    )
    assert tag("g") == "<g></g>"
