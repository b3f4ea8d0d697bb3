"""HTML that cannot be broken by what it shows.

In: any text, hostile model output included. Out: :class:`Html`, which is safe to put into a page. Every child of
:func:`tag` that is not ``Html`` already is escaped, so forgetting to escape is not possible; the only way to make
``Html`` from a literal is to say so.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import final

from spiritsafe.core.text.safe_text import visible

_VOID = frozenset({"br", "hr", "meta", "link", "col", "path", "line", "rect", "circle", "polyline", "polygon"})


@final
class Html(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters, an ellipsis for the rest."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def escape(value: object) -> Html:
    """Any value as text that stands between tags or inside a quoted attribute."""
    return value if isinstance(value, Html) else Html(html.escape(visible(str(value)), quote=True))


def join(parts: Iterable[object], separator: str = "") -> Html:
    """Escape and join; None is left out."""
    return Html(escape(separator).join(escape(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element.

    Args:
        children: Escaped unless they are :class:`Html`; None is left out.
        attributes: A trailing underscore is dropped (``class_``), others become hyphens (``stroke_width``); None
            leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def paragraph(*children: object, class_: str | None = None) -> Html:
    """A paragraph of text and markup."""
    return tag("p", *children, class_=class_)


def section(anchor: str, title: str, *children: object) -> Html:
    """A titled part of the page that the navigation can reach."""
    heading = tag("h2", title, id=f"{anchor}-title")
    return tag("section", heading, *children, id=anchor, aria_labelledby=f"{anchor}-title")


def _plain(value: object) -> object:
    """Coordinates with two decimals at most, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
