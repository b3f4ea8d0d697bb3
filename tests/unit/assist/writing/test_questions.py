from __future__ import annotations

from fake_subject import FakeSubject, number_mutants

from spiritsafe.assist.routines.routine import routines_of
from spiritsafe.assist.writing.questions import TestsSoFar, next_tests_question, shown_source, spread

LONG = "".join(
    f'def long_{number}():\n    """Says {number}.\n\n    Hidden {number}."""\n'
    + "    x = 1\n" * 2000
    + f"    return {number}\n\n\n"
    for number in range(4)
)


def test_the_first_question_has_code_and_rules_and_nothing_of_answers() -> None:
    subject = FakeSubject()
    question = next_tests_question(subject, TestsSoFar(number=1, survivors=subject.mutants))
    assert subject.source.strip() in question
    assert "A test is a line." in question
    assert "parts.py" in question
    for words in ("No test notices", "do not hold", "could not be used", "there already"):
        assert words not in question


def test_only_a_handful_of_each_is_told() -> None:
    subject = FakeSubject()
    question = next_tests_question(
        subject,
        TestsSoFar(
            number=2,
            kept=[f"k{number}" for number in range(100)],
            survivors=subject.mutants * 50,
            failed={f"f{number}": "no" for number in range(100)},
        ),
    )
    assert question.count(": no") == 6
    assert question.count("number (") == 6
    assert "k59" in question
    assert "k60" not in question
    assert "No test notices 300 faults" in question


def test_survivors_go_round_the_routines() -> None:
    mutants = number_mutants()
    routines = routines_of(mutants[0].original, "python")
    order = spread([mutants[0]] * 5 + [mutants[1]] * 3 + [mutants[2]], routines, seed=1)
    assert {mutant.line for mutant in order[:3]} == {2, 6, 10}
    assert {mutant.line for mutant in order[3:5]} == {2, 6}
    assert len(order) == 9
    seen = {spread(mutants * 3, routines[:1], seed=seed)[1].line for seed in range(40)}
    assert len(seen) > 1  # other ones in other questions


def test_a_long_file_is_an_outline_with_the_routines_that_matter() -> None:
    routines = routines_of(LONG, "python")
    mutants = number_mutants(LONG)
    shown = shown_source(LONG, routines, [mutants[2]])
    assert len(shown) < 25_000 < len(LONG)
    assert "return 2" in shown
    assert "return 1" not in shown
    assert "Says 1." in shown
    assert "Hidden 1." not in shown
    assert "def long_3():" in shown
    assert shown_source("x = 1\n" * 10_000, [], []) == ("x = 1\n" * 10_000)[:24_000]
    assert shown_source("short", [], []) == "short"
