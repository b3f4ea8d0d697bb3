from __future__ import annotations

from spiritsafe.tasks.code.translate.tree import (
    Append,
    Assign,
    CountLoop,
    Expr,
    If,
    Jump,
    Return,
    SetItem,
    While,
    changed_in,
    conjuncts,
    is_total,
    mentions,
    mutated_in,
    negated,
    number,
    shifted,
    statements_in,
    variables_in,
)

X, Y, XS = Expr("var", (), "int", "x"), Expr("var", (), "int", "y"), Expr("var", (), "ints", "xs")


def op(name: str, *args: Expr, kind: str = "int") -> Expr:
    return Expr(name, args, kind)  # type: ignore[arg-type]


def test_constants_are_added_in_the_shortest_form() -> None:
    assert shifted(number(4), -5) == number(-1)
    assert shifted(X, 1) == op("+", X, number(1))
    assert shifted(X, -1) == op("-", X, number(1))
    assert shifted(op("-", X, number(1)), 1) == X
    assert shifted(op("+", X, number(2)), -3) == op("-", X, number(1))
    assert shifted(op("-", number(2), X), 1) == op("+", op("-", number(2), X), number(1))


def test_negation_turns_comparisons_and_what_joins_them() -> None:
    less, same = op("<", X, Y, kind="bool"), op("==", X, Y, kind="bool")
    both = op("and", less, same, kind="bool")
    assert negated(both) == op("or", op(">=", X, Y, kind="bool"), op("!=", X, Y, kind="bool"), kind="bool")
    assert negated(negated(both)) == both
    flag = Expr("var", (), "bool", "f")
    assert negated(flag) == op("not", flag, kind="bool")
    assert negated(negated(flag)) == flag
    assert negated(Expr("const", (), "bool", True)).value is False


def test_parts_of_conditions_and_names() -> None:
    one, two, three = (op("<", X, number(n), kind="bool") for n in range(3))
    assert conjuncts(op("and", op("and", one, two, kind="bool"), three, kind="bool")) == [one, two, three]
    assert conjuncts(op("or", one, two, kind="bool")) == [op("or", one, two, kind="bool")]
    assert variables_in(op("+", op("item", XS, Y), X)) == {"xs", "x", "y"}
    assert mentions(op("item", XS, Y), "y")
    assert not mentions(op("item", XS, Y), "x")


def test_what_may_fail_is_not_total() -> None:
    assert is_total(op("+", X, op("%", Y, number(3))))
    assert is_total(op("//", X, number(-2)))
    for failing in (op("item", XS, X), op("//", X, Y), op("%", X, number(0)), op("min_of", XS), op("call", X)):
        assert not is_total(failing)
        assert not is_total(op("+", X, failing))


def test_bodies_tell_what_they_change() -> None:
    inner = (SetItem("xs", X, Y), If(X, (Append("ys", X),), (Assign("z", X), Jump(is_end=True))))
    body = (While(X, (CountLoop("i", X, Y, 1, inner, is_own=True),)), Return(X))
    assert mutated_in(body) == {"xs", "ys"}
    assert changed_in(body) == {"xs", "ys", "z", "i"}
    assert len(list(statements_in(body))) == 8
