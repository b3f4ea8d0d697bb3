from __future__ import annotations

import pytest

from spiritsafe.tasks.code.mutants.cobol_words.conditions import conditions_of, relations_of
from spiritsafe.tasks.code.mutants.cobol_words.words import procedure_words
from spiritsafe.tasks.code.mutants.columns import ProgramWord


def words(line: str) -> list[ProgramWord]:
    return list(procedure_words(f"PROCEDURE DIVISION.\n{line}\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("IF A = B", [("IF", "A = B")]),
        ("WHEN A", [("WHEN", "A")]),
        ("PERFORM UNTIL A = B", [("UNTIL", "A = B")]),
        ("PERFORM VARYING I FROM 1 BY 1 UNTIL I > 2 AFTER J FROM 1 BY 1 UNTIL J > 3", [
            ("UNTIL", "I > 2"), ("UNTIL", "J > 3"),
        ]),
        ("MOVE A TO B", []),
    ],
)  # fmt: skip
def test_where_conditions_stand(line: str, expected: list[tuple[str, str]]) -> None:
    found = [(kind, " ".join(word.text for word in part)) for kind, part in conditions_of(words(line))]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "sign", "length", "is_negated"),
    [
        ("A = B", "=", 1, False),
        ("A <> B", "<>", 1, False),
        ("A NOT = B", "=", 2, True),
        ("A IS NOT LESS THAN B", "<", 3, True),
        ("A EQUAL B", "=", 1, False),
        ("A IS EQUAL TO B", "=", 2, False),
        ("A EQUALS B", "=", 1, False),
        ("A GREATER B", ">", 1, False),
        ("A GREATER THAN B", ">", 2, False),
        ("A GREATER THAN OR EQUAL TO B", ">=", 5, False),
        ("A LESS OR EQUAL B", "<=", 3, False),
        ("A NOT LESS THAN OR EQUAL TO B", "<=", 6, True),
    ],
)
def test_relations(text: str, sign: str, length: int, is_negated: bool) -> None:
    (relation,) = relations_of(words(text))
    assert (relation.sign, relation.length, relation.is_negated) == (sign, length, is_negated)
    assert relation.place == (2 if " IS " in text else 1)
    assert relation.is_worded == (sign not in text)


def test_each_relation_of_a_condition() -> None:
    found = relations_of(words("A > 1 AND < 5 OR NOT B AND C OR D '=' E"))
    assert [(relation.place, relation.sign) for relation in found] == [(1, ">"), (4, "<")]
