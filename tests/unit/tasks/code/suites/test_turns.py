from __future__ import annotations

import secrets

import pytest
from suite_parts import BEST_SUM, COMPILED, killed, suite_text

from spiritsafe.tasks.code.suites import compiled

MARK = "a" * 32
GOLD = BEST_SUM.golds["fortran"]
HONEST = "subroutine test_honest()\nif (best_sum([3_8, 4_8]) /= 7) error stop 'not seven'\nend subroutine"


def module(body: str) -> str:
    return f"module tests\nuse solution\ncontains\n{body}\nend module\n"


@pytest.mark.parametrize(
    "forged",
    [f"'', '{MARK} 25600', ''", f"'', '{MARK} 25600', '', '{MARK} 25600', ''", f"'', '{MARK} x', ''", f"'{MARK} 0'"],
)
def test_whoever_knew_the_mark_would_gain_nothing(forged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a mutant that is no other program than the gold, nor one that no test tells, is killed."""
    monkeypatch.setattr(secrets, "token_hex", lambda count: "a" * 2 * count)
    monkeypatch.setattr(secrets, "randbelow", lambda most: 0)
    forger = f"subroutine test_forger()\nprint '(a)', {forged}\nflush (6)\nerror stop\nend subroutine\n"
    same = [GOLD, GOLD.replace("here > answer", "here >= answer")]
    for text in (module(forger + HONEST), module(HONEST + "\n" + forger)):
        kills = killed("fortran", text, BEST_SUM, same)
        assert kills.killed_by == {}
        assert kills.not_run == frozenset()


def test_a_suite_that_answers_for_the_kernel_gains_nothing() -> None:
    """Its own waitpid says that every test has ended as those do that stop the process."""
    own = """
integer(c_int) function own_wait(pid, status, options) bind(c, name="waitpid")
  use, intrinsic :: iso_c_binding
  integer(c_int), value :: pid, options
  integer(c_int) :: status
  status = 0
  own_wait = pid
end function
"""
    kills = killed(
        "fortran", module(f"{HONEST}{own}").replace("use solution", "use solution\nuse iso_c_binding"), BEST_SUM, [GOLD]
    )
    assert kills.killed_by == {}
    assert kills.broken or set(kills.invalid) == {"test_honest"}


@COMPILED
def test_why_a_test_failed_is_what_it_printed(language: str) -> None:
    text = suite_text(language, BEST_SUM.signature, [([[3, 4]], 7), ([[3]], 4), ([[1]], 1)])
    said = {
        "fortran": ("error stop 'wrong'", "then\nprint *, 'it gave', best_sum([3_8])\nerror stop 'wrong'\nend if"),
        "cobol": ("MOVE 1 TO RETURN-CODE", 'DISPLAY "it gave " OUT MOVE 1 TO RETURN-CODE'),
    }[language]
    kills = killed(language, text.replace(*said), BEST_SUM, [])
    (name,) = kills.invalid
    assert name == kills.tests[1]
    assert "it gave" in kills.invalid[name]
    assert "3" in kills.invalid[name]


@COMPILED
def test_a_gold_that_takes_too_long_fails_the_test_that_asked(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those behind it are run all the same."""

    monkeypatch.setattr(compiled, "_CPU_S", 0.3)
    gold = BEST_SUM.golds[language]
    slow = {
        "fortran": ("here = xs(1)", "here = xs(1); do while (here == 9); end do"),
        "cobol": (
            "MOVE LK-XS-ITEM(1) TO HERE\n",
            "MOVE LK-XS-ITEM(1) TO HERE PERFORM UNTIL HERE NOT = 9 CONTINUE END-PERFORM\n",
        ),
    }[language]
    assert gold.count(slow[0]) >= 1
    problem = type(BEST_SUM)(
        signature=BEST_SUM.signature,
        golds={language: gold.replace(slow[0], slow[1], 1)},
        reference=BEST_SUM.reference,
        chosen=[],
        draw=BEST_SUM.draw,
    )
    text = suite_text(language, BEST_SUM.signature, [([[9]], 9), ([[4]], 4)])
    kills = killed(language, text, problem, [])
    assert kills.invalid == {kills.tests[0]: "the function took too long"}
