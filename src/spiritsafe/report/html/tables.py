"""Tables that become cards on a narrow page.

In: column titles and rows of cells. Out: a table whose cells carry their column's title, which the style sheet shows
when the columns no longer fit. Explicit roles keep it a table for screen readers in either form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from spiritsafe.report.html.markup import Html, tag

Narrow = Literal["cards", "dense", "same"]


@final
@dataclass(frozen=True, kw_only=True)
class Column:
    """A column; ``numeric`` aligns right with tabular figures."""

    title: str
    numeric: bool = False
    wide: bool = False


def plain(*titles: str) -> list[Column]:
    """Columns of short text."""
    return [Column(title=title) for title in titles]


def wide(*titles: str) -> list[Column]:
    """Columns of text that may be long."""
    return [Column(title=title, wide=True) for title in titles]


def numeric(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title=title, numeric=True) for title in titles]


def stacked(first: object, second: object) -> Html:
    """A cell of two lines: a value, and its interval or detail below."""
    return tag("span", tag("span", first, class_="v"), " ", tag("span", second, class_="r"), class_="pair")


def nothing(reason: str | None) -> Html:
    """An empty cell that says why it is empty; a dash where the column's title already does."""
    return tag("span", reason or "–", class_="none")


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[object]], *, caption: str, narrow: Narrow = "cards"
) -> Html:
    """A table; the first cell of each row is its heading.

    Args:
        columns: One for each cell of a row.
        rows: Cells: text, or markup.
        caption: Read out, not shown: the section's title shows it.
        narrow: What a narrow page makes of it: cards of two columns, dense cards of three, or the same table.
    """
    head = tag(
        "tr",
        *(tag("th", column.title, class_=_class(column), scope="col", role="columnheader") for column in columns),
        role="row",
    )
    body = [
        tag(
            "tr",
            *(
                tag(
                    "td" if index else "th",
                    tag("span", cell, class_="cell"),
                    class_=_class(column),
                    scope=None if index else "row",
                    role="cell" if index else "rowheader",
                    data_label=column.title,
                )
                for index, (column, cell) in enumerate(zip(columns, row, strict=True))
            ),
            role="row",
        )
        for row in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, class_="unseen"),
            tag("thead", head, role="rowgroup"),
            tag("tbody", *body, role="rowgroup"),
            role="table",
        ),
        class_=f"table {narrow}",
    )


def _class(column: Column) -> str | None:
    names = [name for name, present in (("num", column.numeric), ("broad", column.wide)) if present]
    return " ".join(names) or None
