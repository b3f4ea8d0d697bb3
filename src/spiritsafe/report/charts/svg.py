"""Figures: one chart drawn for several widths, so that its text stays readable from a telephone to paper.

In: a function that draws a chart into a given number of pixels. Out: a ``<figure>`` with one inline SVG for each
layout; the style sheet shows the one that fits its container. Every SVG has a title and a description for those who
cannot see it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from spiritsafe.report.html.markup import Html, join, tag

ChartLayout = Literal["narrow", "half", "mid", "wide"]
Drawing = Callable[[int], tuple[float, Html]]  # width in pixels -> height and content

FULL: dict[ChartLayout, int] = {"narrow": 340, "mid": 600, "wide": 1080}
HALF: dict[ChartLayout, int] = {"narrow": 340, "half": 510}


def figure(
    anchor: str,
    *,
    title: str,
    description: str,
    draw: Drawing,
    layouts: dict[ChartLayout, int],
    note: str | None = None,
) -> Html:
    """A titled chart.

    Args:
        anchor: Unique in the page; ids are made from it.
        title: Shown above the chart and read out.
        description: What the chart shows, in words; read out.
        draw: Draws the chart for a width.
        layouts: Which widths to draw.
        note: A line below the chart.
    """
    drawings = []
    for layout, width in layouts.items():
        height, content = draw(width)
        name = f"{anchor}-{layout}"
        drawings.append(
            tag(
                "svg",
                tag("title", title, id=f"{name}-title"),
                tag("desc", description, id=f"{name}-desc"),
                content,
                class_=f"chart {layout}",
                viewBox=f"0 0 {width} {height:.0f}",
                role="img",
                aria_labelledby=f"{name}-title {name}-desc",
            )
        )
    caption = tag("figcaption", title)
    below = tag("p", note, class_="note") if note else None
    return tag("figure", caption, tag("div", *drawings, class_="fit"), below, class_=f"figure n{len(layouts)}")


def svg_text(x: float, y: float, text: str, *, class_: str = "t", anchor: str | None = None) -> Html:
    """One line of text; ``anchor`` is "middle" or "end"."""
    return tag("text", text, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def svg_line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def marker(shape: str, x: float, y: float, *, hollow: bool = False) -> Html:
    """A mark whose shape tells the role too, for those who do not tell the colours apart.

    Args:
        shape: "base" and "given" are squares, "teacher" is a diamond, "student" a circle, "reinforced" and "tuned" are
            triangles, a "control" is a cross, "cut" a circle whose upper half is gone, "quantised" a hexagon, "merged"
            an hourglass, "routed" an hourglass on its side.
        x: Centre.
        y: Centre.
        hollow: Drawn as an outline.
    """
    class_ = f"m-{shape} hollow" if hollow else f"m-{shape}"
    if shape in ("base", "given"):
        return tag("rect", x=x - 5.0, y=y - 5.0, width="10", height="10", class_=class_)
    if shape == "teacher":
        diamond = ((x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y))
        return tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in diamond), class_=class_)
    if shape in ("reinforced", "tuned"):
        tip = -6.5 if shape == "reinforced" else 6.5
        triangle = ((x, y + tip), (x + 6.5, y - tip * 0.75), (x - 6.5, y - tip * 0.75))
        return tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in triangle), class_=class_)
    if shape == "control":
        return tag("path", d=f"M{x - 5:.1f} {y - 5:.1f}l10 10m-10 0l10 -10", class_=f"{class_} cross")
    if shape == "quantised":
        corners = ((x - 6, y), (x - 3, y - 5), (x + 3, y - 5), (x + 6, y), (x + 3, y + 5), (x - 3, y + 5))
        return tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in corners), class_=class_)
    if shape in ("merged", "routed"):
        ends = ((x - 6, y - 6), (x + 6, y - 6), (x - 6, y + 6), (x + 6, y + 6))
        ends = ends if shape == "merged" else (ends[0], ends[2], ends[1], ends[3])
        return tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in ends), class_=class_)
    if shape == "cut":
        return tag("path", d=f"M{x - 6.5:.1f} {y - 2:.1f}h13a6.5 6.5 0 0 1 -13 0z", class_=class_)
    return tag("circle", cx=float(x), cy=float(y), r="5.5", class_=class_)


def share_bar(parts: list[tuple[str, float]]) -> Html:
    """A thin stacked bar for a table cell: class and share of each part. Numbers stand beside it, so it is silent."""
    rects, left = [], 0.0
    for class_, share in parts:
        if share > 0:
            rects.append(tag("rect", x=left, y="0", width=100.0 * share, height="8", class_=class_))
        left += 100.0 * share
    return tag("svg", join(rects), class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true")
