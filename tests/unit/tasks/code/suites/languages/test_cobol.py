from __future__ import annotations

import textwrap

import pytest
from code_parts import MIX, MIXED, MIXED_INPUTS, mixed
from suite_parts import BEST_SUM, SQUEEZE, SuiteProblem, killed, suite_text

GOLD = BEST_SUM.golds["cobol"]
LESS = GOLD.replace("HERE > 0", "HERE < 0")
STORAGE = """01 XS.
   05 XS-LENGTH PIC S9(9) COMP-5 VALUE 2.
   05 XS-ITEM PIC S9(18) COMP-5 OCCURS 100 TIMES VALUE 3.
01 R PIC S9(18) COMP-5."""


def program(name: str, body: str, *, storage: str = STORAGE, using: str = "") -> str:
    section = "LINKAGE" if using else "WORKING-STORAGE"
    return f"""IDENTIFICATION DIVISION.
PROGRAM-ID. {name}.
DATA DIVISION.
{section} SECTION.
{storage}
PROCEDURE DIVISION{using}.
{body}
    GOBACK.
END PROGRAM {name}.
"""


CALL = """CALL "BEST-SUM" USING XS R"""
CHECK = f"{CALL}\nIF R NOT = 6\n    MOVE 1 TO RETURN-CODE\nEND-IF"


def fixed(source: str) -> str:
    return textwrap.indent(source, " " * 7)


def test_values_of_every_type_arrive_and_come_back() -> None:
    inputs = [one for one in MIXED_INPUTS if '"' not in str(one[2])]
    problem = SuiteProblem(
        signature=MIX, golds=MIXED, reference=mixed, chosen=inputs, draw=lambda rng: list(rng.choice(inputs))
    )
    other = MIXED["cobol"].replace("S-TEXT(S-LENGTH:1)", "S-TEXT(1:1)")
    kills = killed("cobol", problem.tests("cobol"), problem, [other])
    assert (kills.broken, kills.invalid) == ("", {})
    assert set(kills.killed_by[0]) == {
        f"TEST{number}" for number, (*_, text, _) in enumerate(inputs) if str(text)[:1] != str(text)[-1:]
    }


def test_what_the_caller_has_in_its_result_arrives() -> None:
    """As where the program is called at once: one that leaves a result alone returns what was there."""
    other = SQUEEZE.golds["cobol"].replace("MOVE 0 TO LK-RESULT-LENGTH", "CONTINUE")
    (test,) = suite_text("cobol", SQUEEZE.signature, [(["ab"], "ab")]).split("PROCEDURE DIVISION.")[1:]
    head = suite_text("cobol", SQUEEZE.signature, [(["ab"], "ab")]).partition("PROCEDURE DIVISION.")[0]
    filled = f"{head}PROCEDURE DIVISION.\nMOVE 5 TO OUT-LENGTH\n{test}"
    kills = killed("cobol", filled, SQUEEZE, [other])
    assert (kills.invalid, list(kills.killed_by)) == ({}, [0])


@pytest.mark.parametrize("format", [fixed, ">>SOURCE FORMAT FREE\n{}".format, "{}".format])
def test_tests_and_code_in_either_format_and_in_small_letters(format: object) -> None:
    assert callable(format)
    text = format(program("test-first", CHECK) + program("TEST-SECOND", CHECK.replace("BEST-SUM", "Best-Sum")))
    for gold in (GOLD, fixed(GOLD.replace(">>SOURCE FORMAT FREE\n", "")), GOLD.replace("BEST-SUM", "best-sum")):
        problem = SuiteProblem(
            signature=BEST_SUM.signature,
            golds={"cobol": gold},
            reference=BEST_SUM.reference,
            chosen=BEST_SUM.chosen,
            draw=BEST_SUM.draw,
        )
        kills = killed("cobol", text, problem, [gold.replace("HERE > 0", "HERE < 0")])
        assert (kills.broken, kills.invalid) == ("", {})
        assert dict(kills.killed_by) == {0: ("TEST-FIRST", "TEST-SECOND")}


def test_programs_with_parameters_or_other_names_are_no_tests() -> None:
    text = "".join(
        [
            program("HELPER", "MOVE 6 TO N", storage="01 N PIC 9.", using=" USING N"),
            program("TEST-HELPER", "MOVE 6 TO N", storage="01 N PIC 9.", using=" USING N"),
            "*> PROGRAM-ID. TEST-COMMENT.\n",
            program(
                "TEST-ONE",
                'CALL "TEST-HELPER" USING N\nIF N NOT = 6 MOVE 1 TO RETURN-CODE END-IF',
                storage="01 N PIC 9.",
            ),
        ]
    )
    for one in (text, fixed(text).replace("       *> ", "      *    ")):
        kills = killed("cobol", one, BEST_SUM, [LESS])
        assert (kills.tests, kills.invalid) == (("TEST-ONE",), {})


def test_ways_to_fail() -> None:
    bodies = {
        "TEST-CODE": "MOVE 7 TO RETURN-CODE",
        "TEST-STOP": "STOP RUN RETURNING 3",
        "TEST-STOP-WELL": "STOP RUN",
        "TEST-BOUNDS": "MOVE 200 TO XS-LENGTH\nMOVE 1 TO XS-ITEM(XS-LENGTH)",
        "TEST-MISSING": 'CALL "NOBODY"',
        "TEST-NEGATIVE": "MOVE -1 TO RETURN-CODE\nEXIT PROGRAM",
    }
    kills = killed("cobol", "".join(program(*one) for one in bodies.items()), BEST_SUM, [LESS])
    assert kills.tests == tuple(bodies)
    assert set(kills.invalid) == set(bodies)
    assert "NOBODY" in kills.invalid["TEST-MISSING"]
    assert "ended its process" in kills.invalid["TEST-STOP-WELL"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (program("OTHER", CHECK), "there are no tests"),
        ("", "there are no tests"),
        (program("TEST-ONE", "MOVE 1 TO MISSING"), "MISSING"),
        (program("TEST-ONE", 'COPY "solution.cob".'), "solution.cob"),
        (program("TEST-ONE", 'COPY "p0.cob".'), "p0.cob"),
        (GOLD + program("TEST-ONE", CHECK), "do not compile"),
    ],
)
def test_tests_that_are_none(text: str, said: str) -> None:
    kills = killed("cobol", text, BEST_SUM, [LESS])
    assert said in kills.broken
    assert (kills.killed_by, kills.tests) == ({}, ())


def test_a_program_inside_of_a_test_is_its_own_function() -> None:
    inner = GOLD.replace(">>SOURCE FORMAT FREE\n", "").strip()
    text = program("TEST-ONE", CHECK).replace(
        "    GOBACK.\nEND PROGRAM TEST-ONE", f"    GOBACK.\n{inner}\nEND PROGRAM TEST-ONE"
    )
    kills = killed("cobol", text, BEST_SUM, [LESS])
    assert kills.killed_by == {}
