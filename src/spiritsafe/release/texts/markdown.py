"""Markdown and YAML that cannot be broken by what they show, and tables that can be read back.

In: any text, hostile names included. Out: text that a Markdown renderer shows as it is: no tag, no link, no emphasis,
no table cell and no line of its own comes of it; and YAML strings that say the same to every parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from spiritsafe.core.text.safe_text import one_line

# Whatever begins something in CommonMark, GFM or their usual extensions. Between letters "_" begins nothing; what
# begins a line can only do so there; of addresses GFM makes links by itself.
_SPECIAL = re.compile(r"([\\`*\[\]<>|~&@$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|!(?=\[)|:(?=//))")
_WWW = re.compile(r"(?i)(www)\.")
_START = re.compile(r"^([-+=#]|\d+[.)](?=\s|$))")
_CELL = re.compile(r"(?<!\\)\|")
_TAG = re.compile(r"(?<!\\)(?:\\\\)*<")
_LONGEST_CELL = 300


def plain_text(text: str, *, limit: int = 2_000) -> str:
    """A text that shows as it is, on one line.

    Args:
        limit: Characters that are shown of it.
    """
    shown = " ".join(one_line(text).split())
    if len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    shown = _WWW.sub(r"\1\\.", _SPECIAL.sub(r"\\\1", shown))
    return _START.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", shown)


def code_span(text: str) -> str:
    """A short text as code; backticks and whatever ends a cell become other characters."""
    shown = " ".join(one_line(text).replace("`", "'").replace("|", "¦").split())
    return f"`{shown[:_LONGEST_CELL]}`"


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A GFM table; heads and cells are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def read_tables(markdown: str) -> list[list[dict[str, str]]]:
    """The tables of a text, each a list of its rows by the heads of its columns."""
    tables: list[list[dict[str, str]]] = []
    block: list[str] = []
    for line in [*markdown.split("\n"), ""]:
        if line.startswith("|") and line.endswith("|"):
            block.append(line)
            continue
        if len(block) > 2:
            heads, _, *rows = [[cell.strip() for cell in _CELL.split(one[1:-1])] for one in block]
            tables.append([dict(zip(heads, row, strict=False)) for row in rows])
        block = []
    return tables


def hides_text(markdown: str) -> bool:
    """Whether a text may hold HTML, whose comments and tags hide what stands between them; ours never does."""
    return _TAG.search(markdown) is not None


def yaml_string(text: str) -> str:
    """A quoted YAML string: JSON's quotes mean the same to YAML."""
    return json.dumps(" ".join(one_line(text).split()), ensure_ascii=False)
