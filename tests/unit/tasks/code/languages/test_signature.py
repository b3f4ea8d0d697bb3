from __future__ import annotations

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.languages.signature import CodeSignature, is_value


@pytest.mark.parametrize("name", ["Count", "two__lines", "_x", "x_", "größe", "1a", "", "solution", "while", "a" * 25])
def test_names_that_some_language_cannot_have_are_refused(name: str) -> None:
    CodeSignature("count_items", (("a1", "int"),), "int")
    with pytest.raises(TaskError, match="cannot be a name"):
        CodeSignature(name, (), "int")
    with pytest.raises(TaskError, match="cannot be a name"):
        CodeSignature("f", ((name, "int"),), "int")


def test_two_things_of_one_name_are_refused() -> None:
    for parameters in ((("a", "int"), ("a", "str")), (("f", "int"),)):
        with pytest.raises(TaskError, match="are the same"):
            CodeSignature("f", parameters, "int")  # type: ignore[arg-type]


def test_values_are_of_exactly_their_types_and_sizes() -> None:
    class Number(int):
        pass

    good = {
        "int": [0, 10**18 - 1, -(10**18) + 1],
        "bool": [True, False],
        "str": ["", " ~", "x" * 200],
        "ints": [[], [1] * 100],
    }
    bad = {
        "int": [True, 1.0, "1", 10**18, -(10**18), None, Number(1)],
        "bool": [0, 1, None, "True"],
        "str": ["x" * 201, "ä", "\n", "\x7f", b"x", 1],
        "ints": [[1] * 101, [True], [10**18], (1,), "1", [[1]], [1.0]],
    }
    for kind, values in good.items():
        assert all(is_value(value, kind) for value in values), kind  # type: ignore[arg-type]
    for kind, values in bad.items():
        assert [value for value in values if is_value(value, kind)] == [], kind  # type: ignore[arg-type,attr-defined]


def test_inputs_fit_a_signature_one_by_one() -> None:
    signature = CodeSignature("f", (("a", "int"), ("b", "bool")), "int")
    assert signature.accepts([1, True])
    assert not signature.accepts([True, 1])
    assert not signature.accepts([1])
    assert not signature.accepts([1, True, 1])


def test_functions_of_fortrans_own_and_parts_in_cobol_are_refused() -> None:
    for name in ("read", "len", "index"):
        CodeSignature("f", ((name, "int"),), "int")
        with pytest.raises(TaskError, match="Fortran's own"):
            CodeSignature(name, (), "int")
    CodeSignature("f", (("max_length", "int"), ("length", "str")), "int")
    with pytest.raises(TaskError, match="part of another"):
        CodeSignature("f", (("word", "str"), ("word_length", "int")), "int")
