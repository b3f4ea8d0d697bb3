from __future__ import annotations

from collections import Counter

import pytest

from spiritsafe.tasks.code.mutants.mutant import Edit, Mutant, sample_mutants

SOURCE = "first\r\n  sécond < third  # why\rlast\n"


def mutant(old: str, new: str, operator: str = "compare", shown: tuple[str, str] | None = None) -> Mutant:
    start = SOURCE.index(old)
    return Mutant(SOURCE, Edit(operator=operator, start=start, end=start + len(old), new=new, shown=shown))


def test_a_mutant_says_where_and_what() -> None:
    one = mutant("<", "<=")
    assert one.source == SOURCE.replace("<", "<=")
    assert (one.line, one.column, one.before, one.after) == (2, 10, "<", "<=")
    assert one.name == "L2 compare: < -> <="
    assert one.describe == ("Line 2, compare (< -> <=):\n- sécond < third  # why\n+ sécond <= third  # why")
    assert (mutant("last", "lost").line, mutant("last", "lost").column) == (3, 1)
    assert mutant("first", "1").line == 1


def test_what_a_reader_is_told_is_in_one_line_and_short() -> None:
    assert mutant("first\r\n  sécond", "x").name == "L1 compare: first sécond -> x"
    assert mutant("third", "").name == "L2 compare: third -> nothing"
    assert mutant("<", "9" * 80).name == f"L2 compare: < -> {'9' * 59}…"
    assert mutant("<", "(a <= b)", shown=("<", "<=")).name == "L2 compare: < -> <="
    assert mutant("first\r\n  sécond", "x").describe.endswith("+ x < third  # why")


def many() -> list[Mutant]:
    source = "".join(f"line {number}\n" for number in range(20))
    kinds = ("number", "number", "number", "number", "compare", "delete")
    starts = [source.index(f"line {number}\n") for number in range(20)]
    return [
        Mutant(source, Edit(operator=kind, start=start, end=start + 4, new=f"{kind}{place}"))
        for start in starts
        for place, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize("count", [1, 7, 20, 21, 40, 119])
def test_a_sample_is_spread_over_lines_and_operators(count: int) -> None:
    mutants = many()
    for seed in range(5):
        chosen = sample_mutants(mutants, count, seed)
        assert len(chosen) == count
        assert [mutants.index(one) for one in chosen] == sorted({mutants.index(one) for one in chosen})
        lines = Counter(one.line for one in chosen)
        assert max(lines.values()) - min([*lines.values(), *([0] if len(lines) < 20 else [])]) <= 1
        operators = Counter(one.operator for one in chosen)
        if 7 <= count <= 40:  # as long as there are enough of each; the last lines may have none of the rarest
            assert max(operators.values()) - min(operators[kind] for kind in ("number", "compare", "delete")) <= 2


def test_a_sample_is_the_seed_s() -> None:
    mutants = many()
    assert sample_mutants(mutants, 10, 1) == sample_mutants(mutants, 10, 1)
    assert len({tuple(mutants.index(one) for one in sample_mutants(mutants, 10, seed)) for seed in range(20)}) > 15
    assert sample_mutants(mutants, 1000, 3) == mutants
    assert sample_mutants([], 5, 0) == sample_mutants(mutants, 0, 0) == []
