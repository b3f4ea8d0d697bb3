"""Where the nodes of a syntax tree stand in the text of a program.

In: a program and nodes. Out: places in characters; the tree itself counts bytes of UTF-8 in lines.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from typing import final

_LINE_END = re.compile(r"\r\n|\r|\n")  # not splitlines(): form feeds and Unicode's separators end no line of Python
_BESIDE_OPERATORS = re.compile(r"#[^\r\n]*|[\s()\\]+")


@final
class NodePlaces:
    """The places of one program's nodes.

    Args:
        source: The program as the tree was parsed from it.

    Attributes:
        source: The same.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        starts = [0, *(found.end() for found in _LINE_END.finditer(source))]
        self._lines = [(start, source[start:end]) for start, end in pairwise([*starts, len(source)])]

    def line_start(self, line: int) -> int:
        """Where a line begins; the one behind the last begins at the end."""
        return self._lines[line - 1][0] if line <= len(self._lines) else len(self.source)

    def at(self, line: int, column: int) -> int:
        """A place that the tree gives as a line and a number of bytes."""
        start, text = self._lines[line - 1]
        if text.isascii():
            return start + column
        return start + len(text.encode("utf-8", "surrogatepass")[:column].decode("utf-8", "surrogatepass"))

    def start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        """Where a node begins."""
        return self.at(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        """Where a node ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.end_lineno, node.end_col_offset)

    def text(self, node: ast.expr | ast.stmt) -> str:
        """A node as it is written."""
        return self.source[self.start(node) : self.end(node)]

    def between(self, start: int, end: int) -> tuple[int, int]:
        """The operator that stands between two operands, without the brackets and comments around it."""
        place, found = start, (start, start)
        while place < end:
            if beside := _BESIDE_OPERATORS.match(self.source, place, end):
                place = beside.end()
                continue
            first = place
            while place < end and _BESIDE_OPERATORS.match(self.source, place, end) is None:
                place += 1
            found = (first if found[0] == found[1] else found[0], place)
        return found
