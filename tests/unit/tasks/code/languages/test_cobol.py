from __future__ import annotations

import pytest
from code_parts import MIX, MIXED, MIXED_INPUTS, mixed, tried

from spiritsafe.tasks.code.languages import cobol
from spiritsafe.tasks.code.languages.cobol import program_name
from spiritsafe.tasks.code.languages.language import language_named
from spiritsafe.tasks.code.languages.signature import VALUE_TYPES, CodeSignature
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.sandbox.job import Limits

ONE = CodeSignature("add_up", (("x", "int"),), "int")
EXPECTED = [mixed(*inputs) for inputs in MIXED_INPUTS]  # type: ignore[arg-type]
FIXED = """       IDENTIFICATION DIVISION.
       PROGRAM-ID. ADD-UP.
       DATA DIVISION.
       WORKING-STORAGE SECTION.
       01 CALLS PIC 9(4) VALUE 0.
       01 TABLE-OF-THREE.
          05 T PIC S9(9) COMP-5 OCCURS 3.
       LINKAGE SECTION.
       01 X PIC S9(18) COMP-5.
       01 R PIC S9(18) COMP-5.
       PROCEDURE DIVISION USING X R.
           ADD 1 TO CALLS
{}
           COMPUTE R = X * CALLS
           GOBACK.
"""


def kinds(found: list[object]) -> list[object]:
    return [one.kind if isinstance(one, Failure) else one for one in found]


def test_skeletons_compile_with_a_body_in_the_place_of_dots() -> None:
    values = {"int": 3, "bool": True, "str": " x ", "ints": [4, 5]}
    names = dict(zip(VALUE_TYPES, "ABCD", strict=True))
    for kind in VALUE_TYPES:
        signature = CodeSignature("count", (("a", "int"), ("b", "bool"), ("c", "str"), ("d", "ints")), kind)
        skeleton = language_named("cobol").skeleton(signature)
        source = skeleton.replace("    *> ...", f"    MOVE LK-{names[kind]} TO LK-RESULT")
        assert tried("cobol", source, signature, [[3, True, " x ", [4, 5]]]) == [values[kind]]


def test_programs_are_named_by_no_reserved_word() -> None:
    assert program_name("day_of_week") == "DAY-OF-WEEK-PROGRAM"
    for name in ("count", "sum", "length", "reverse", "sort", "max", "upper_case", "add"):
        assert program_name(name) == f"{name.replace('_', '-').upper()}-PROGRAM"
    for name in ("add_up", "count_items", "solve"):
        assert program_name(name) == name.replace("_", "-").upper()


def free(text: str) -> str:
    return "\n".join(line[7:] for line in text.splitlines())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        str.lower,
        lambda text: text.rstrip().rstrip("."),  # the last full stop and line end are missing
        free,
        lambda text: free(text).lower(),
        lambda text: ">>SOURCE FORMAT FREE\n" + free(text),
        lambda text: "       >>SOURCE FORMAT IS FREE\n" + free(text),
        lambda text: text + "       END PROGRAM MIX-UP.\n",
        lambda text: "\n".join(f"{n * 10:06d}{line[6:]}" for n, line in enumerate(text.splitlines())),
        lambda text: text.replace("           MOVE A", "      * the first\n           MOVE A"),
        lambda text: text.replace("           MOVE A", f"      * {'long ' * 20}\n           MOVE A"),
        lambda text: text.replace("MOVE A TO", f"MOVE A{' ' * 60}TO"),  # beyond column 72
        lambda text: text.replace("MOVE A TO", f"MOVE A{' ' * 60}TO").replace(
            "           IF", "      * so\n           IF"
        ),
        lambda text: text.replace("       ", "\t", 3),
        lambda text: text.replace("PROGRAM-ID. MIX-UP.", "PROGRAM-ID. 'MIX-UP'."),
    ],
)
def test_formats_and_cases_are_accepted(change: object) -> None:
    source = change(MIXED["cobol"])  # type: ignore[operator]
    if source.rstrip().endswith("GOBACK"):
        source = source.rstrip() + "."
    assert tried("cobol", source, MIX, MIXED_INPUTS[:3]) == EXPECTED[:3]


@pytest.mark.parametrize("name", ["SQRT", "Write", "malloc", "Part-Of", "fork", "WAITPID"])
def test_programs_are_found_however_their_names_are_written(name: str) -> None:
    """In capitals, small letters, or as C names a function that the runtime leans on."""
    part = f"""
       IDENTIFICATION DIVISION.
       PROGRAM-ID. {name.swapcase()}.
       DATA DIVISION.
       LINKAGE SECTION.
       01 X PIC S9(18) COMP-5.
       PROCEDURE DIVISION USING X.
           ADD 1 TO X
           GOBACK.
       END PROGRAM {name.swapcase()}.
"""
    whole = FIXED.format(f'           CALL "{name}" USING X') + "       END PROGRAM ADD-UP." + part
    for text in (whole, whole.lower()):
        assert tried("cobol", text, ONE, [[4], [50]]) == [5, 51]


def test_one_input_that_fails_loses_no_other_and_storage_is_fresh() -> None:
    body = """           DISPLAY "0 13" WITH NO ADVANCING
           IF X = 1 MOVE 5 TO T(X + 3) END-IF
           IF X = 2 STOP RUN END-IF
           IF X = 3 CALL "NOWHERE" END-IF
           IF X = 4 STOP RUN RETURNING 3 END-IF"""
    found = tried("cobol", FIXED.format(body), ONE, [[number] for number in range(7)])
    assert kinds(found) == [0, "crash", "missing", "crash", "crash", 5, 6]
    reasons = [one.reason for one in found if isinstance(one, Failure)]
    assert "subscript of 'T' out of bounds" in reasons[0]
    assert "NOWHERE" in reasons[2]


def test_an_endless_loop_ends_the_trial() -> None:
    source = FIXED.format("           PERFORM UNTIL X = 0 CONTINUE END-PERFORM")
    assert kinds(tried("cobol", source, ONE, [[0], [1], [0]], Limits(cpu_s=1.0))) == [0, "time", "time"]


def test_what_does_not_compile_says_why() -> None:
    (found,) = tried("cobol", FIXED.format("           MOVE Y TO R"), ONE, [[1]])
    assert isinstance(found, Failure)
    assert found.kind == "compile"
    assert found.reason.startswith("solution.cob:13: error: 'Y' ")


def test_a_program_of_another_name_is_not_called() -> None:
    (found,) = tried("cobol", FIXED.replace("ADD-UP", "OTHER").format("           CONTINUE"), ONE, [[1]])
    assert isinstance(found, Failure)
    assert "ADD-UP" in found.reason


def test_numbers_of_nineteen_digits_are_not_cut() -> None:
    found = tried("cobol", FIXED.format("           MOVE 4 TO CALLS"), ONE, [[10**18 - 1]])
    assert found == [4 * (10**18 - 1)]


@pytest.mark.parametrize("length", [-1, 101])
def test_lengths_that_cannot_be_are_nonsense(length: int) -> None:
    signature = CodeSignature("f", (("a", "int"),), "ints")
    source = language_named("cobol").skeleton(signature)
    (found,) = tried("cobol", source.replace("    *> ...", "    MOVE LK-A TO LK-RESULT-LENGTH"), signature, [[length]])
    assert kinds([found]) == ["nonsense"]


def test_truth_is_one_or_zero() -> None:
    signature = CodeSignature("f", (("a", "int"),), "bool")
    source = language_named("cobol").skeleton(signature).replace("    *> ...", "    MOVE LK-A TO LK-RESULT")
    assert kinds(tried("cobol", source, signature, [[0], [1], [2]])) == [False, True, "nonsense"]


def test_a_missing_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    language = language_named("cobol")
    monkeypatch.setattr(cobol, "cobol_compiler", lambda: None)
    assert str(language.why_not()).startswith("GnuCOBOL is not installed: apt-get install")
