"""Whatever tests do, they are worth what they tell of the function, and no more."""

from __future__ import annotations

import threading
from collections import Counter
from random import Random

import pytest
from code_parts import tried, usable
from sandboxes import every_layer, sandbox_of
from suite_parts import BALANCED, BEST_SUM, COMPILED, SUITE_PROBLEMS, SuiteProblem, killed, suite_text

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.duet.kills import FIRST_TURNS, LATER_TURNS
from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.code.mutants.mutant import sample_mutants
from spiritsafe.tasks.code.mutants.registry import mutants_of
from spiritsafe.tasks.code.suites import compiled, turns
from spiritsafe.tasks.code.suites.suite import run_suite
from spiritsafe.tasks.sandbox.job import Run
from spiritsafe.tasks.sandbox.layers import strongest_layer
from spiritsafe.tasks.sandbox.sandbox import Sandbox

WRONG = {
    "fortran": [("here > 0", "here < 0"), ("answer = xs(1)", "answer = 0")],
    "cobol": [("HERE > 0", "HERE < 0"), ("MOVE LK-XS-ITEM(1) TO LK-RESULT", "MOVE 0 TO LK-RESULT")],
}


def mutants(language: str) -> list[str]:
    gold = BEST_SUM.golds[language]
    assert all(gold.count(old) == 1 for old, _ in WRONG[language])
    return [gold.replace(old, new) for old, new in WRONG[language]]


@every_layer
@COMPILED
def test_tests_kill_what_they_can_tell_from_the_gold(layer: str, language: str) -> None:
    usable(language)
    tests = suite_text(language, BEST_SUM.signature, [([[3, 4]], 7), ([[-3]], -3), ([[5]], 5), ([[1]], 2)])
    kills = run_suite(
        sandbox_of(layer),
        language,
        tests=tests,
        signature=BEST_SUM.signature,
        gold=BEST_SUM.golds[language],
        mutants=[*mutants(language), BEST_SUM.golds[language], "nothing that compiles"],
    )
    names = {name.lower(): name for name in kills.tests}
    assert list(names) == ["test0", "test1", "test2", "test3"]
    assert set(kills.invalid) == {names["test3"]}
    assert dict(kills.killed_by) == {0: (names["test0"],), 1: (names["test1"], names["test2"])}
    assert kills.not_run == {3}
    assert kills.layer.startswith(layer)


@COMPILED
def test_a_mutant_that_crashes_or_loops_is_killed_and_no_other_test_suffers(language: str) -> None:
    gold = BEST_SUM.golds[language]
    crash = {
        "fortran": ("here = xs(1)", "here = xs(1); if (here == 9) here = xs(size(xs) + 2)"),
        "cobol": ("MOVE LK-XS-ITEM(1) TO HERE", "MOVE LK-XS-ITEM(1) TO HERE IF HERE = 9 CALL 'NOBODY' END-IF"),
    }[language]
    loop = {
        "fortran": ("here = xs(1)", "here = xs(1); do while (here == 9); end do"),
        "cobol": (crash[0], f"{crash[0]} PERFORM UNTIL HERE NOT = 9 CONTINUE END-PERFORM"),
    }[language]
    stop = {
        "fortran": ("here = xs(1)", "here = xs(1); if (here == 9) stop"),
        "cobol": (crash[0], f"{crash[0]} IF HERE = 9 STOP RUN END-IF"),
    }[language]
    tests = suite_text(language, BEST_SUM.signature, [([[3]], 3), ([[9]], 9), ([[4]], 4)])
    kills = killed(language, tests, BEST_SUM, [gold.replace(*one) for one in (crash, loop, stop)])
    second = kills.tests[1]
    assert kills.invalid == {}
    assert dict(kills.killed_by) == {0: (second,), 1: (second,), 2: (second,)}


COUNTER = {
    "fortran": """module solution
  integer(8), save :: calls = 0
contains
  function count_up(step) result(answer)
    integer(8), intent(in) :: step
    integer(8) :: answer
    calls = calls + step
    answer = calls
  end function
end module
""",
    "cobol": """>>SOURCE FORMAT FREE
IDENTIFICATION DIVISION.
PROGRAM-ID. COUNT-UP.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 CALLS PIC S9(18) COMP-5 VALUE 0.
LINKAGE SECTION.
01 LK-STEP PIC S9(18) COMP-5.
01 LK-RESULT PIC S9(18) COMP-5.
PROCEDURE DIVISION USING LK-STEP LK-RESULT.
    ADD LK-STEP TO CALLS
    MOVE CALLS TO LK-RESULT
    GOBACK.
END PROGRAM COUNT-UP.
""",
}


@COMPILED
def test_what_a_function_keeps_lasts_for_a_test(language: str) -> None:
    signature = CodeSignature("count_up", (("step", "int"),), "int")
    problem = SuiteProblem(
        signature=signature, golds=COUNTER, reference=lambda step: step, chosen=[], draw=lambda rng: [rng.randint(1, 9)]
    )
    text = suite_text(language, signature, [([5], 5), ([5], 5)])
    twice = {
        "fortran": ("if (count_up(5_8) /= 5_8)", "if (count_up(3_8) /= 3_8 .or. count_up(5_8) /= 8_8)"),
        "cobol": ('CALL "COUNT-UP" USING IN-0 OUT', 'CALL "COUNT-UP" USING IN-0 OUT\nCALL "COUNT-UP" USING IN-0 OUT'),
    }[language]
    assert killed(language, text, problem, []).invalid == {}
    first, _, second = text.replace(*twice).partition("test1")
    changed = f"{first}test1{second}".replace("OUT NOT = 5", "OUT NOT = 10")
    assert killed(language, changed, problem, []).invalid == {}


ATTACKS = {
    "fortran": """module own
contains
  function best_sum(xs) result(answer)
    integer(8), intent(in) :: xs(:)
    integer(8) :: answer
    answer = sum(xs) * 0 - 1
  end function
end module
module tests
  use, intrinsic :: iso_c_binding
  use solution
  use own, only: own_best_sum => best_sum
  implicit none
  interface
    subroutine c_exit(code) bind(c, name="_exit")
      import :: c_int
      integer(c_int), value :: code
    end subroutine
    function c_fork() bind(c, name="fork") result(pid)
      import :: c_int
      integer(c_int) :: pid
    end function
    subroutine c_sleep(seconds) bind(c, name="sleep")
      import :: c_int
      integer(c_int), value :: seconds
    end subroutine
  end interface
contains
  subroutine test_honest
    if (best_sum([3_8, 4_8]) /= 7) error stop "honest"
  end subroutine
  subroutine test_bad_stop
    stop
  end subroutine
  subroutine test_bad_exit
    call exit(0)
  end subroutine
  subroutine test_bad_c_exit
    call c_exit(0_c_int)
  end subroutine
  subroutine test_bad_exit_if_wrong
    if (best_sum([3_8, 4_8]) == 7) stop
    error stop
  end subroutine
  subroutine test_bad_always
    error stop "always"
  end subroutine
  subroutine test_bad_mark
    character(len=99) :: line
    read (*, '(a)') line
    print '(a)', ""
    print '(a, a)', line(1:32), " 25600"
    print '(a)', "passed"
  end subroutine
  subroutine test_useless_nothing
  end subroutine
  subroutine test_useless_own_copy
    if (own_best_sum([3_8, 4_8]) /= -1) error stop
  end subroutine
  subroutine test_useless_files
    logical :: is_there
    character(len=20), parameter :: names(6) = [character(len=20) :: "solution.f90", "p0/solution.f90", "code.so", &
      "p0/code.so", "host", "answer.o"]
    integer :: i
    do i = 1, 6
      inquire (file=names(i), exist=is_there)
      if (is_there) error stop "a file of the code"
    end do
  end subroutine
  subroutine test_useless_leaves_a_file
    call leave("left")
    call leave("/tmp/left")
    call leave("/dev/shm/left")
  end subroutine
  subroutine leave(name)
    character(len=*), intent(in) :: name
    logical :: is_there
    integer :: status
    inquire (file=name, exist=is_there)
    if (is_there) error stop "a file of another run"
    open (unit=9, file=name, iostat=status)
    if (status == 0) write (9, *, iostat=status) "here"
    if (status == 0) close (9)
  end subroutine
  subroutine test_useless_forks
    if (c_fork() == 0) then
      call c_sleep(600_c_int)
    end if
  end subroutine
  subroutine test_binary_0
    call check(0)
  end subroutine
  subroutine test_binary_1
    call check(1)
  end subroutine
  subroutine test_binary_2
    call check(2)
  end subroutine
  subroutine test_binary_3
    call check(3)
  end subroutine
  subroutine check(bit)
    integer, intent(in) :: bit
    integer(1) :: byte
    integer :: total, status
    total = 0
    open (unit=9, file="/proc/self/exe", access="stream", action="read", iostat=status)
    do while (status == 0)
      read (9, iostat=status) byte
      total = ieor(ishft(total, 1), int(byte)) - ishft(total, -7)
    end do
    if (btest(total, bit)) error stop "a bit of the binary"
  end subroutine
end module
""",
    "cobol": """>>SOURCE FORMAT FREE
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-HONEST.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 XS.
   05 XS-LENGTH PIC S9(9) COMP-5 VALUE 2.
   05 XS-ITEM PIC S9(18) COMP-5 OCCURS 100 TIMES VALUE 3.
01 R PIC S9(18) COMP-5.
PROCEDURE DIVISION.
    CALL "BEST-SUM" USING XS R
    IF R NOT = 6 MOVE 1 TO RETURN-CODE END-IF
    GOBACK.
END PROGRAM TEST-HONEST.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-BAD-EXIT-IF-WRONG.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 XS.
   05 XS-LENGTH PIC S9(9) COMP-5 VALUE 2.
   05 XS-ITEM PIC S9(18) COMP-5 OCCURS 100 TIMES VALUE 3.
01 R PIC S9(18) COMP-5.
PROCEDURE DIVISION.
    CALL "BEST-SUM" USING XS R
    IF R = 6 STOP RUN END-IF
    STOP RUN RETURNING 1.
END PROGRAM TEST-BAD-EXIT-IF-WRONG.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-BAD-STOP.
PROCEDURE DIVISION.
    STOP RUN.
END PROGRAM TEST-BAD-STOP.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-BAD-ALWAYS.
PROCEDURE DIVISION.
    MOVE 1 TO RETURN-CODE
    GOBACK.
END PROGRAM TEST-BAD-ALWAYS.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-BAD-MARK.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 LINE-READ PIC X(40).
PROCEDURE DIVISION.
    ACCEPT LINE-READ FROM SYSIN
    DISPLAY " "
    DISPLAY LINE-READ(1:32) " 25600"
    DISPLAY "passed"
    MOVE 1 TO RETURN-CODE
    GOBACK.
END PROGRAM TEST-BAD-MARK.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-USELESS-NOTHING.
PROCEDURE DIVISION.
    GOBACK.
END PROGRAM TEST-USELESS-NOTHING.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-USELESS-FILES.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 NAMES-TRIED VALUE "p0.cob p0.so  code.sohost   solutio".
   05 NAME-TRIED PIC X(7) OCCURS 5 TIMES.
01 FACTS PIC X(16).
01 I PIC 9.
PROCEDURE DIVISION.
    PERFORM VARYING I FROM 1 BY 1 UNTIL I > 5
        CALL "CBL_CHECK_FILE_EXIST" USING NAME-TRIED(I) FACTS
        IF RETURN-CODE = 0
            MOVE 1 TO RETURN-CODE
            GOBACK
        END-IF
    END-PERFORM
    MOVE 0 TO RETURN-CODE
    GOBACK.
END PROGRAM TEST-USELESS-FILES.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-USELESS-FORKS.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 PID PIC S9(9) COMP-5.
PROCEDURE DIVISION.
    CALL "CBL_GC_FORK" RETURNING PID
    IF PID = 0
        CALL "SYSTEM" USING "sleep 600"
    END-IF
    MOVE 0 TO RETURN-CODE
    GOBACK.
END PROGRAM TEST-USELESS-FORKS.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-USELESS-LEAVES-A-FILE.
PROCEDURE DIVISION.
    CALL "SYSTEM" USING "test -e left -o -e /tmp/left -o -e /dev/shm/left"
    IF RETURN-CODE = 0
        MOVE 1 TO RETURN-CODE
        GOBACK
    END-IF
    CALL "SYSTEM" USING "touch left /tmp/left /dev/shm/left"
    MOVE 0 TO RETURN-CODE
    GOBACK.
END PROGRAM TEST-USELESS-LEAVES-A-FILE.
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-BINARY.
PROCEDURE DIVISION.
    CALL "SYSTEM" USING "cksum tests | grep -q '^[0-9]*[02468] '"
    IF RETURN-CODE NOT = 0
        MOVE 1 TO RETURN-CODE
    END-IF
    GOBACK.
END PROGRAM TEST-BINARY.
""",
}


@every_layer
@COMPILED
def test_attacks_gain_nothing(layer: str, language: str) -> None:
    usable(language)
    kills = run_suite(
        sandbox_of(layer),
        language,
        tests=ATTACKS[language],
        signature=BEST_SUM.signature,
        gold=BEST_SUM.golds[language],
        mutants=mutants(language),
    )
    names = [name.lower().replace("-", "_") for name in kills.tests]
    assert kills.broken == ""
    assert {killer.lower().replace("-", "_") for found in kills.killed_by.values() for killer in found} == {
        "test_honest"
    }
    assert list(kills.killed_by) == [0]
    invalid = {name.lower().replace("-", "_") for name in kills.invalid}
    assert invalid >= {name for name in names if name.startswith("test_bad")}
    assert not invalid & {name for name in names if name.startswith(("test_useless", "test_honest"))}, kills.invalid
    assert len(names) == ATTACKS[language].lower().count("subroutine test_") + ATTACKS[language].count("ID. TEST-")


CHANCE = [
    ("fortran", "subroutine test{n}\nreal :: x\ncall random_number(x)\nif (x > 0.5) error stop\nend subroutine"),
    (
        "fortran",
        "subroutine test{n}\ninteger(8) :: now\ncall system_clock(now)\n"
        "if (mod(now / {n}, 2) == 0) error stop\nend subroutine",
    ),
    (
        "cobol",
        """IDENTIFICATION DIVISION.
PROGRAM-ID. TEST{n}.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 NOW PIC X(21).
01 X PIC 9 COMP-5.
PROCEDURE DIVISION.
    MOVE FUNCTION CURRENT-DATE TO NOW
    COMPUTE X = 2 * FUNCTION RANDOM({n} * FUNCTION NUMVAL(NOW(11:6)))
    IF X = 0 MOVE 1 TO RETURN-CODE END-IF
    GOBACK.
END PROGRAM TEST{n}.
""",
    ),
]


@pytest.mark.parametrize(("language", "chance"), CHANCE)
def test_tests_that_depend_on_chance_are_worth_nothing_together(language: str, chance: str) -> None:
    """Of forty, some pass whatever the code is; and an honest one beside them is worth nothing either."""
    honest = suite_text(language, BEST_SUM.signature, [([[3, 4]], 7)])
    body = "\n".join(chance.replace("{n}", str(n)) for n in range(100, 140))
    text = honest.replace("end module", f"{body}\nend module") if language == "fortran" else f"{honest}\n{body}"
    kills = killed(language, text, BEST_SUM, mutants(language))
    assert (kills.broken, len(kills.tests)) == ("", 41)
    assert set(kills.invalid) == set(kills.tests)
    assert kills.killed_by == {}
    assert "passes and fails on the same program" in kills.invalid[kills.tests[0]]


@COMPILED
def test_tests_that_do_not_end(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What computes is ended alone; what sleeps ends all of a turn."""
    monkeypatch.setattr(compiled, "_CPU_S", 0.3)
    text = suite_text(language, BEST_SUM.signature, [([[3]], 3), ([[4]], 4), ([[5]], 5)])
    loop, sleep = {
        "fortran": ("do\nend do\n", "call execute_command_line('sleep 600')\n"),
        "cobol": ("PERFORM UNTIL 1 = 0\nCONTINUE\nEND-PERFORM\n", 'CALL "SYSTEM" USING "sleep 600"\n'),
    }[language]
    mark = {"fortran": "if (best_sum([integer(8) :: 4])", "cobol": "MOVE 4 TO IN-0-ITEM(1)"}[language]
    assert mark in text
    loops = killed(language, text.replace(mark, loop + mark), BEST_SUM, mutants(language))
    assert loops.invalid == {loops.tests[1]: "it took too long"}
    monkeypatch.setattr(turns, "_WALL_S", 1.0)  # which none of its turns keeps, on whatever machine
    sleeps = killed(language, text.replace(mark, sleep + mark), BEST_SUM, mutants(language))
    assert (sleeps.broken, sleeps.killed_by) == ("the tests did not come to their end", {})


@COMPILED
def test_what_sleeps_on_mutants_alone_is_not_waited_for_again_and_again(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_WALL_S", 6.0)
    monkeypatch.setattr(compiled, "_MOST_SLEEPS", 0)
    text = suite_text(language, BEST_SUM.signature, [([[3, 4]], 7)])
    sleep = {
        "fortran": ("error stop 'wrong'", "call execute_command_line('sleep 600')"),
        "cobol": ("MOVE 1 TO RETURN-CODE", 'CALL "SYSTEM" USING "sleep 600"'),
    }[language]
    many = [mutants(language)[0]] * 9
    kills = killed(language, text.replace(*sleep), BEST_SUM, many)
    assert len(kills.not_run) == 8
    assert len(kills.killed_by) <= 1


@COMPILED
def test_programs_are_compiled_once_for_all_answers(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that come at once too: each compiles its tests, and one of them the programs."""
    usable(language)
    gold = f"{BALANCED.golds[language]}{'!' if language == 'fortran' else '*>'} once\n"
    other = {"fortran": ("depth + 1", "depth + 2"), "cobol": ("ADD 1", "ADD 2")}[language]
    runs: Counter[str] = Counter()
    run, run_pair = Sandbox.run, Sandbox.run_pair

    def counted(sandbox: Sandbox, job: Run) -> object:
        runs["programs" if any("code.so" in name or "p0.so" in name for name in job.collect) else "tests"] += 1
        return run(sandbox, job)

    def counted_pair(sandbox: Sandbox, first: Run, second: Run) -> object:
        runs["turns"] += 1
        return run_pair(sandbox, first, second)

    monkeypatch.setattr(Sandbox, "run", counted)
    monkeypatch.setattr(Sandbox, "run_pair", counted_pair)
    sandbox = sandbox_of(strongest_layer())
    tests = suite_text(language, BALANCED.signature, [(["()"], True), (["("], False)])
    found = []

    def answer() -> None:
        found.append(
            run_suite(
                sandbox, language, tests=tests, signature=BALANCED.signature, gold=gold, mutants=[gold.replace(*other)]
            )
        )

    threads = [threading.Thread(target=answer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == {"programs": 1, "tests": 3, "turns": 3 * (FIRST_TURNS + LATER_TURNS + 1)}
    assert [(kills.invalid, list(kills.killed_by)) for kills in found] == [({}, [0])] * 3


@COMPILED
def test_a_gold_that_does_not_compile_is_an_error(language: str) -> None:
    problem = SuiteProblem(
        signature=BEST_SUM.signature,
        golds={language: "end function nothing"},
        reference=BEST_SUM.reference,
        chosen=[],
        draw=BEST_SUM.draw,
    )
    with pytest.raises(TaskError, match="does not compile as"):
        killed(language, BEST_SUM.tests(language), problem, [])


@pytest.mark.parametrize("problem", SUITE_PROBLEMS, ids=lambda problem: problem.signature.name)
@COMPILED
def test_good_tests_kill_the_mutants_that_differ(language: str, problem: SuiteProblem) -> None:
    """Those that give another value than the gold for one of some random inputs, which is found without any test."""
    gold = problem.golds[language]
    rng = Random(5)
    inputs = [problem.draw(rng) for _ in range(60)]
    wanted = [problem.reference(*one) for one in inputs]
    assert tried(language, gold, problem.signature, inputs) == wanted
    chosen = [one.source for one in sample_mutants(mutants_of(gold, language), 8, 2)]
    outcomes = [tried(language, one, problem.signature, inputs) for one in chosen]
    different = {
        place
        for place, outcome in enumerate(outcomes)
        if outcome != wanted and not (isinstance(outcome[0], Failure) and outcome[0].kind == "compile")
    }
    kills = killed(language, problem.tests(language), problem, chosen)
    assert (kills.broken, kills.invalid) == ("", {})
    assert different
    assert len(different & set(kills.killed_by)) >= 0.9 * len(different)
