from __future__ import annotations

import pytest
from code_parts import MIX, MIXED, MIXED_INPUTS, mixed
from suite_parts import BEST_SUM, SuiteProblem, killed

GOLD = BEST_SUM.golds["fortran"]
LESS = GOLD.replace("here > 0", "here < 0")


def module(body: str) -> str:
    return f"module tests\nuse solution\ncontains\n{body}\nend module\n"


def test_values_of_every_type_arrive_and_come_back() -> None:
    problem = SuiteProblem(
        signature=MIX,
        golds=MIXED,
        reference=mixed,
        chosen=MIXED_INPUTS,
        draw=lambda rng: list(rng.choice(MIXED_INPUTS)),
    )
    other = MIXED["fortran"].replace("text(len(text):)", "text(1:1)")
    kills = killed("fortran", problem.tests("fortran"), problem, [other])
    assert (kills.broken, kills.invalid) == ("", {})
    assert set(kills.killed_by[0]) == {
        f"test{number}" for number, (*_, text, _) in enumerate(MIXED_INPUTS) if str(text)[:1] != str(text)[-1:]
    }


def test_a_whole_program_is_one_test() -> None:
    whole = "program check\nuse solution\nif (best_sum([1_8, 2_8]) /= 3) {}\nprint *, 'fine'\nend program\n"
    for way in ("error stop", "error stop 'wrong'", "stop 1", "stop 'wrong'"):
        assert dict(killed("fortran", whole.format(way), BEST_SUM, [LESS]).killed_by) == {0: ("check",)}
    wrong = killed("fortran", whole.replace("/=", "==").format("error stop 'so'"), BEST_SUM, [LESS])
    assert "so" in wrong.invalid["check"]
    silent = killed("fortran", whole.format("stop"), BEST_SUM, [LESS])
    assert (silent.invalid, silent.killed_by) == ({}, {})


def test_names_in_two_modules_are_told_apart() -> None:
    first = module("subroutine test_a()\nif (best_sum([1_8, 2_8]) /= 3) error stop\nend subroutine")
    second = first.replace("module tests", "module others").replace("/= 3", "/= 4")
    kills = killed("fortran", first + second, BEST_SUM, [LESS])
    assert kills.tests == ("tests.test_a", "others.test_a")
    assert set(kills.invalid) == {"others.test_a"}
    assert dict(kills.killed_by) == {0: ("tests.test_a",)}


def test_a_subroutine_that_cannot_be_called_is_invalid() -> None:
    kills = killed("fortran", module("subroutine test_a() bind(c)\nend subroutine"), BEST_SUM, [LESS])
    assert kills.invalid == {"test_a": "nobody outside of its module can call it"}


def test_a_solution_without_a_module_and_in_capitals() -> None:
    bare = GOLD.partition("contains\n")[2].replace("end module solution\n", "")
    for gold in (bare, GOLD.upper(), GOLD.replace("module solution", "module other_name")):
        problem = SuiteProblem(
            signature=BEST_SUM.signature,
            golds={"fortran": gold},
            reference=BEST_SUM.reference,
            chosen=BEST_SUM.chosen,
            draw=BEST_SUM.draw,
        )
        kills = killed("fortran", problem.tests("fortran"), problem, [gold.replace("> 0", "< 0")])
        assert (kills.invalid, list(kills.killed_by)) == ({}, [0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (module("subroutine test_a()\nif (best_sum(1.5) /= 3) error stop\nend subroutine"), "Type mismatch"),
        (module("subroutine test_a()\nif (missing(1_8) /= 3) error stop\nend subroutine"), "do not compile"),
        (GOLD + module("subroutine test_a()\nif (best_sum([1_8]) /= 1) error stop\nend subroutine"), "do not compile"),
        (module("include 'solution.f90'\nsubroutine test_a()\nend subroutine"), "solution.f90"),
        (module("include 'p0/solution.f90'\nsubroutine test_a()\nend subroutine"), "solution.f90"),
        (module("subroutine other()\nend subroutine"), "there are no tests"),
        ("I do not know.", "do not compile"),
        ("", "there are no tests"),
        (module("\n".join(f"subroutine test{n}\nend subroutine" for n in range(201))), "more than 200 tests"),
    ],
)
def test_tests_that_are_none(text: str, said: str) -> None:
    kills = killed("fortran", text, BEST_SUM, [LESS])
    assert said in kills.broken
    assert (kills.killed_by, kills.tests) == ({}, ())


def test_tests_that_bring_their_own_function_kill_nothing() -> None:
    own = GOLD.replace("module solution", "module own")
    text = own + module("subroutine test_a()\nif (best_sum([1_8, 2_8]) /= 3) error stop\nend subroutine").replace(
        "solution", "own"
    )
    kills = killed("fortran", text, BEST_SUM, [LESS])
    assert (kills.tests, kills.invalid, kills.killed_by) == (("test_a",), {}, {})


def test_a_result_that_was_never_given_is_a_crash_that_nobody_waits_for() -> None:
    gold = MIXED["fortran"]
    line = "    answer = [a, merge(1, 0, ok), len(text), xs, last]\n"
    assert line in gold
    problem = SuiteProblem(
        signature=MIX,
        golds=MIXED,
        reference=mixed,
        chosen=MIXED_INPUTS[:2],
        draw=lambda rng: list(rng.choice(MIXED_INPUTS)),
    )
    kills = killed("fortran", problem.tests("fortran"), problem, [gold.replace(line, "")])
    assert dict(kills.killed_by) == {0: ("test0", "test1")}


def test_lists_and_texts_that_are_no_values_come_back_too() -> None:
    """Far longer than a signature allows: nothing is cut, and nothing waits for ever."""
    gold = BEST_SUM.golds["fortran"]
    long = "subroutine test_long()\ninteger(8) :: i\nif (best_sum([(1_8, i = 1, 300000)]) /= 300000) error stop\nend"
    kills = killed("fortran", module(f"{long} subroutine"), BEST_SUM, [gold.replace("2, size", "3, size")])
    assert dict(kills.killed_by) == {0: ("test_long",)}
