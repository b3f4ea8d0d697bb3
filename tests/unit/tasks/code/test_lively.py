from __future__ import annotations

import pytest
from code_parts import usable
from sandboxes import sandbox_of

from spiritsafe.tasks.code.duet.behaviour import BehaviourError
from spiritsafe.tasks.code.languages.language import trial_outcomes
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.lively import lively_mutants
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.layers import strongest_layer

SIGNATURE = CodeSignature("add_up", (("xs", "ints"), ("k", "int")), "int")
GOLDS = {
    "python": """def add_up(xs, k):
    total = 0
    for x in xs:
        if x > k:
            total += x
    return total
""",
    "fortran": """module solution
  implicit none
contains
  function add_up(xs, k) result(answer)
    integer(8), intent(in) :: xs(:), k
    integer(8) :: answer
    integer :: i
    answer = 0
    do i = 1, size(xs)
      if (xs(i) > k) answer = answer + xs(i)
    end do
  end function add_up
end module solution
""",
}
INPUTS: list[list[CodeValue]] = [[[], 0], [[1, 2, 3], 1], [[-5, 5], 0], [[2, 2], 2], [[7], -3]]


@pytest.mark.parametrize(("language", "count"), [("python", 12), ("fortran", 3)])
def test_each_can_be_told_from_the_right_program(language: str, count: int) -> None:
    known, sandbox = usable(language), sandbox_of(strongest_layer())
    gold = GOLDS[language]
    found = lively_mutants(sandbox, language, gold, SIGNATURE, INPUTS, count)
    assert 1 <= len(found.mutants) <= count
    assert len({one.source for one in found.mutants}) == len(found.mutants)
    limits = Limits(cpu_s=2.0, wall_s=60.0)
    right = trial_outcomes(sandbox, known, gold, SIGNATURE, INPUTS, limits)
    assert right == [0, 5, 5, 0, 7]
    for one in found.mutants:
        assert one.original == gold
        assert trial_outcomes(sandbox, known, one.source, SIGNATURE, INPUTS, limits) != right
    assert lively_mutants(sandbox, language, gold, SIGNATURE, [list(one) for one in INPUTS], count) is found


def test_where_inputs_tell_nothing_there_are_none() -> None:
    found = lively_mutants(
        sandbox_of(strongest_layer()), "python", "def add_up(xs, k):\n    return 0\n", SIGNATURE, [], 8
    )
    assert found.mutants == ()
    assert found.num_equivalent > 0


def test_those_that_are_equivalent_are_counted() -> None:
    gold = "def add_up(xs, k):\n    waste = 5\n    waste = waste + 1\n    return len(xs)\n"
    found = lively_mutants(sandbox_of(strongest_layer()), "python", gold, SIGNATURE, INPUTS, 100)
    assert found.num_equivalent > 2
    assert found.mutants
    assert 3 not in {one.line for one in found.mutants}


def test_where_the_right_program_gives_nothing_nobody_is_compared_with_it() -> None:
    """As on a machine that has no time for it: mutants would be told from it by that, for as long as they are kept."""
    usable("fortran")
    gold = GOLDS["fortran"].replace("answer = 0\n", "answer = 0\n    do while (k == 99)\n    end do\n")
    assert gold != GOLDS["fortran"]
    sandbox = sandbox_of(strongest_layer())
    with pytest.raises(BehaviourError, match="right program gives nothing for input 5: it took too long"):
        lively_mutants(sandbox, "fortran", gold, SIGNATURE, [*INPUTS, [[], 99]], 3)
    assert lively_mutants(sandbox, "fortran", gold, SIGNATURE, INPUTS, 3).mutants
