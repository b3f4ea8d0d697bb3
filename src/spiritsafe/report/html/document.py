"""The head of a page: title, style, policy."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from spiritsafe.report.html.markup import Html, tag


def style_sheet() -> str:
    """The rules of every page and picture."""
    return resources.files("spiritsafe.report").joinpath("style.css").read_text("utf-8")


def page_head(title: str) -> Html:
    """The head of a page that loads nothing: its policy admits the style sheet inside, and nothing else."""
    style = style_sheet()
    fingerprint = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{fingerprint}'; img-src data:; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(style)),
    )
