"""``code:tests``: tests are worth the mutants that they kill, if they hold for the code."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from code_parts import usable
from code_problems import FORTRAN, PYTHON, in_fence, tax, tax_facts, tax_problem

from spiritsafe.core.records import Problem, Verdict
from spiritsafe.tasks.code.hacks.registry import test_hacks
from spiritsafe.tasks.families.code import tests as module
from spiritsafe.tasks.families.code.exercises import exam_of
from spiritsafe.tasks.families.code.gold_tests import gold_tests
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS

INPUTS = (0, 1, -5, 99, 100, 101, 102, 104, 105, 106, 499, 500, 999, 1000, 10**12, 37, 110, 95, 200, 201)
PROBLEM = Problem(
    task="code:tests", canonical_text="tax_of()", messages=tax_problem().messages, facts=tax_facts(cents=INPUTS)
)


def judged(
    tests: str, *, share: float = 0.5, valid: float = 0.8, goal: float = 0.9, problem: Problem = PROBLEM
) -> Verdict:
    verifier = module.TestsVerifier(("python",), num_mutants=24, share=share, valid=valid, goal=goal)
    return verifier.judge(problem, tests)


def wrote(*checks: str) -> str:
    """An answer with so many tests."""
    parts = [f"def test_{number}():\n    assert {check}\n" for number, check in enumerate(checks)]
    return in_fence("from solution import tax_of\n\n" + "\n".join(parts))


def of_cents(*cents: int) -> str:
    return wrote(*(f"tax_of({one}) == {tax(one)}" for one in cents))


def test_the_gold_tests_hold_all_inputs_and_are_right() -> None:
    text = gold_tests(exam_of(PROBLEM.facts))
    for one in INPUTS:
        assert f"assert tax_of({one}) == {tax(one)}\n" in text
    verdict = judged(in_fence(text))
    assert (verdict.status, verdict.score) == ("correct", 1.0), verdict.reason
    assert str(verdict.sandbox).partition("+")[0] in SANDBOX_LAYERS
    assert verdict.reason.startswith("20 of 20 tests hold, and kill ")


def test_many_inputs_are_dealt_to_a_few_tests_and_none_is_left_out() -> None:
    facts = tax_facts(cents=range(90, 90 + 60))
    text = gold_tests(exam_of(facts))
    assert text.count("def test_") == 24
    assert text.count("assert tax_of(") == 60
    assert "assert tax_of(149) == 29" in text
    space: dict[str, object] = {}
    exec(PYTHON, space)
    exec(text.replace("from solution import tax_of", ""), space)
    for name, function in list(space.items()):
        if name.startswith("test_"):
            function()  # type: ignore[operator]  # a test


def test_weak_tests_score_less_than_strong_ones_and_none_nothing() -> None:
    scores = [judged(of_cents(*cents)).score for cents in ((0,), (0, 101), (0, 100, 101, 104, 105, 999))]
    assert 0.0 <= scores[0] < scores[1] < scores[2] <= 1.0
    assert judged(wrote("callable(tax_of)")).score == 0.0


def test_one_test_that_holds_everything_is_not_credited_with_all() -> None:
    everything = " and ".join(f"tax_of({one}) == {tax(one)}" for one in INPUTS)
    alone = judged(wrote(everything))
    assert (alone.status, alone.score) == ("wrong", 0.5)
    assert "as no test is credited with more than 50%" in alone.reason
    assert judged(wrote(everything), share=1.0).status == "correct"
    assert judged(wrote(everything, everything)).status == "correct"


def test_tests_that_do_not_hold_cost_everything_only_where_there_are_too_many() -> None:
    right = [f"tax_of({one}) == {tax(one)}" for one in INPUTS]
    one_bad = judged(wrote(*right[:9], "tax_of(3) == 3"))
    assert one_bad.score > 0.5
    assert "9 of 10 tests hold" in one_bad.reason
    three_bad = judged(wrote(*right[:9], *["tax_of(3) == 3"] * 3))
    assert (three_bad.status, three_bad.score) == ("wrong", 0.0)
    assert "9 of 12 tests hold for the code; test_9 does not" in three_bad.reason
    assert judged(wrote(*right[:9], "tax_of(3) == 3"), valid=1.0).score == 0.0


def test_the_goal_is_what_makes_an_answer_right() -> None:
    some = judged(of_cents(0, 101))
    assert 0 < some.score < 0.9
    assert some.status == "wrong"
    assert judged(of_cents(0, 101), goal=some.score).status == "correct"
    assert judged(of_cents(0, 101), goal=some.score + 0.01).status == "wrong"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ("", "unparsed", "no Python code"),
        ("They should be tested.", "unparsed", "no Python code"),
        (in_fence(FORTRAN, "fortran"), "unparsed", "no Python code"),
        (in_fence("def test_it(:\n"), "wrong", "SyntaxError"),
        (in_fence("import nothing_of_this_name\ndef test_a():\n    assert True\n"), "wrong", "nothing_of_this_name"),
        (in_fence("x = 1\n"), "wrong", ""),
    ],
)
def test_no_tests_at_all(answer: str, status: str, reason: str) -> None:
    verdict = judged(answer)
    assert (verdict.status, verdict.score) == (status, 0.0)
    assert reason in verdict.reason


def test_plain_asserts_and_unittest_are_tests_too() -> None:
    for one in module.labelled_tests(exam_of(PROBLEM.facts), "key"):
        for text in one.texts:
            verdict = judged(text)
            assert (verdict.status == "correct") == one.is_right, (one.kind, text, verdict.reason)


@pytest.mark.parametrize("language", ["fortran", "cobol"])
def test_answers_in_other_languages_are_what_they_say(language: str) -> None:
    usable(language)
    problem = PROBLEM.model_copy(update={"facts": tax_facts(language, cents=INPUTS)})
    verifier = module.TestsVerifier((language,), num_mutants=8, share=0.5, valid=0.8, goal=0.9)
    found = module.labelled_tests(exam_of(problem.facts), "key")
    assert "hacks" in {one.kind for one in found}
    for one in found:
        for text in one.texts:
            verdict = verifier.judge(problem, text)
            assert (verdict.status == "correct") == one.is_right, (one.kind, text, verdict.reason)


def test_hacks_are_spread_over_the_problems() -> None:
    exam = exam_of(PROBLEM.facts)
    tried = [
        text
        for key in map(str, range(40))
        for one in module.labelled_tests(exam, key)
        if one.kind == "hacks"
        for text in one.texts
    ]
    assert len(set(tried)) == len(test_hacks("python", exam.signature))


def most(killed_by: Mapping[int, Sequence[str]], places: int) -> int:
    """The same by trying all ways."""
    best = 0
    for way in itertools.product(*([None, *tests] for tests in killed_by.values())):
        counts = [way.count(name) for name in set(way) - {None}]
        if all(count <= places for count in counts):
            best = max(best, sum(counts))
    return best


def test_as_many_as_can_be_are_credited() -> None:
    rng = Random(1)
    for _ in range(200):
        killed_by = {
            mutant: rng.sample(["a", "b", "c"], rng.randint(1, 3)) for mutant in range(rng.randint(0, 5))
        }  # fmt: skip
        for places in (1, 2, 3):
            assert module.most_credited(killed_by, places) == most(killed_by, places), (killed_by, places)


def test_a_test_kept_for_whom_has_no_other() -> None:
    assert module.most_credited({0: ["a", "b"], 1: ["a"]}, 1) == 2
    assert module.most_credited({0: ["a", "b"], 1: ["a", "b"], 2: ["a"], 3: ["b"]}, 2) == 4


def test_the_version_says_what_scores_hang_on() -> None:
    knobs = {"num_mutants": 24, "share": 0.5, "valid": 0.8, "goal": 0.9}
    versions = {module.TestsVerifier(("python",), **knobs).version}  # type: ignore[arg-type]  # as they are named
    for name, value in (("num_mutants", 25), ("share", 0.4), ("valid", 0.7), ("goal", 1.0)):
        versions.add(module.TestsVerifier(("python",), **{**knobs, name: value}).version)  # type: ignore[arg-type]  # as above
    assert len(versions) == 5


def test_the_question_shows_the_code_and_no_input() -> None:
    asked = module.tests_question(exam_of(PROBLEM.facts))
    assert f"```python\n{PYTHON.rstrip()}\n```" in asked
    assert "Every test must pass on this code" in asked
    assert "999" not in asked
