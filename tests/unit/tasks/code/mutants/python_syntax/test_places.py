from __future__ import annotations

import ast

import pytest

from spiritsafe.tasks.code.mutants.python_syntax.places import NodePlaces

TEXTS = {
    "bytes": 'grüße = "日本" + naïve(ä, "𝄞")\nx = "é" < y\n',
    "line ends": 'a = 1\r\nb = """x\r\ny""" + c\r\nd = e\n',
    "old line ends": "a = 1\rb = 2\rif c:\r    d(e)\r",
    "form feeds": "a = 1\n\x0cdef f():\n    return '\x0b\x1c\u2028' + b\n",
    "tabs": "def f():\n\tif a:\n\t\treturn é(b)\n",
    "no last line end": "a = (b,\n     ü)",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_places_are_those_of_the_text(text: str) -> None:
    """The standard library's own way from a node to its text is slow, and is the reference."""
    places = NodePlaces(text)
    seen = 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.expr | ast.stmt):
            expected = ast.get_source_segment(text.replace("\r\n", "\n").replace("\r", "\n"), node)
            assert places.text(node).replace("\r\n", "\n").replace("\r", "\n") == expected
            seen += 1
    assert seen > 4


def test_operators_between_operands() -> None:
    for text, operator in (
        ("a<b", "<"),
        ("a  not   in  b", "not   in"),
        ("(a) # is\n is \\\n not # is\n (b)", "is \\\n not"),
        ("((a))//(b)", "//"),
        ("a and (b)", "and"),
    ):
        start, end = NodePlaces(text).between(len(text) - len(text.lstrip("(")) + 1, text.rindex("b"))
        assert text[start:end] == operator, text


def test_lines_begin_where_they_begin() -> None:
    places = NodePlaces("a\r\nb\rc\n")
    assert [places.line_start(line) for line in (1, 2, 3, 4, 5)] == [0, 3, 5, 7, 7]
