from __future__ import annotations

import ast

import pytest

from spiritsafe.tasks.code.translate.reading.subset import SubsetError, annotated, common_kind, refuse_line


def test_errors_name_the_line_and_say_what_to_do() -> None:
    node = ast.parse("\n\nx = 1").body[0]
    with pytest.raises(SubsetError, match=r"^Line 3: no\.$") as caught:
        refuse_line(node, "no")
    assert caught.value.hint
    with pytest.raises(SubsetError, match="Line 7: no"):
        refuse_line(7, "no")


def test_annotations_are_the_four_types() -> None:
    for text, kind in (("int", "int"), ("bool", "bool"), ("str", "str"), ("list[int]", "ints")):
        assert annotated(ast.parse(text, mode="eval").body) == kind
    for text in ("list", "float", "list[str]", "List[int]", "'int'"):
        with pytest.raises(SubsetError, match="no type"):
            annotated(ast.parse(text, mode="eval").body)
    with pytest.raises(SubsetError, match="'nothing' is no type"):
        annotated(None)


def test_a_character_is_a_text() -> None:
    assert common_kind("char", "str") == common_kind("str", "char") == "str"
    assert common_kind("char", "char") == "char"
    assert common_kind("int", "bool") is None
    assert common_kind("ints", "str") is None
