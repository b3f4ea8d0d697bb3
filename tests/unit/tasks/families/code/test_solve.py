"""``code:solve``: what the code in an answer gives for hidden inputs decides, whatever stands around it."""

from __future__ import annotations

import ast

import pytest
from code_parts import usable
from code_problems import COBOL, FORTRAN, GOLDS, PYTHON, in_fence, tax_facts, tax_problem

from spiritsafe.core.records import Problem
from spiritsafe.tasks.families.code import solve
from spiritsafe.tasks.families.code.exercises import exam_of
from spiritsafe.tasks.families.code.solve import SolveVerifier, labelled_solutions, solve_question
from spiritsafe.tasks.sandbox.job import Run, RunResult
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox
from spiritsafe.tasks.task import Verifier

BODY = "    if cents > 100:\n        return cents // 5\n    return 0\n"
OTHER = "def tax_of(cents):\n    return -1\n"


def judged(answer: str, problem: Problem | None = None, verifier: Verifier | None = None) -> tuple[str, str]:
    verdict = (verifier or SolveVerifier(("python",))).judge(problem or tax_problem(), answer)
    return verdict.status, verdict.reason


@pytest.mark.parametrize(
    "answer",
    [
        in_fence(PYTHON),
        in_fence(PYTHON, ""),
        in_fence(PYTHON, "Python3"),
        f"First I think.\n\n{in_fence(PYTHON)}\n\nDone.",
        f"{in_fence(OTHER)}\n\nNo, this is wrong. Better:\n\n{in_fence(PYTHON)}",
        f"{in_fence(PYTHON)}\n\nIt is used like this:\n\n{in_fence('print(tax_of(200))')}",
        f"{in_fence('tax_of(101) -> 20', 'text')}\n\n{in_fence(PYTHON)}",
        f"~~~py\n{PYTHON}~~~",
        f"```python\n{PYTHON}",
        PYTHON,
        in_fence("import math\n\ndef half(x):\n    return x // 5\n\n" + PYTHON.replace("cents // 5", "half(cents)")),
        in_fence(PYTHON + "\nif __name__ == '__main__':\n    raise SystemExit(1)\n"),
        in_fence("def tax_of(cents):\n    print('thinking')\n" + BODY),
        in_fence(PYTHON.replace("\n", "\r\n")),
    ],
)
def test_right_however_it_is_written(answer: str) -> None:
    verdict = SolveVerifier(("python",)).judge(tax_problem(), answer)
    assert (verdict.status, verdict.score) == ("correct", 1.0), verdict.reason
    assert verdict.reason == "right for all 9 inputs"
    assert str(verdict.sandbox).partition("+")[0] in SANDBOX_LAYERS
    assert (verdict.verifier, verdict.version) == ("code.solve", "1")
    assert "def tax_of" in str(verdict.answer)


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ("", "unparsed", "no Python code in the answer"),
        ("I do not know.", "unparsed", "no Python code in the answer"),
        (in_fence(FORTRAN, "fortran"), "unparsed", "no Python code in the answer"),
        (in_fence(FORTRAN), "wrong", "input 0: "),
        (in_fence(BODY), "wrong", "input 0: "),
        (in_fence(PYTHON.replace("100", "101")), "wrong", "right for 8 of 9 inputs; input 3: it gives 0"),
        (in_fence(PYTHON.replace("//", "/")), "wrong", "right for 4 of 9 inputs; input 3: "),
        (in_fence(PYTHON.replace("tax_of", "taxes_of")), "wrong", "right for 0 of 9 inputs; input 0: "),
        (in_fence(PYTHON.replace("return 0", "return False")), "wrong", "right for 5 of 9 inputs; input 0: "),
        (in_fence("def tax_of(cents):\n    raise KeyError('why')\n"), "wrong", "KeyError"),
        (in_fence(PYTHON + "\n" + OTHER), "wrong", "input 0: it gives -1"),
        (f"{in_fence(PYTHON)}\n\nor better\n\n{in_fence(OTHER)}", "wrong", "it gives -1"),
        (in_fence("def tax_of(cents):\n    while cents: pass\n    return 0\n"), "wrong", "time: "),
    ],
)
def test_wrong_and_why(answer: str, status: str, reason: str) -> None:
    found, why = judged(answer)
    assert found == status
    assert reason in why


def test_partial_scores_the_share_and_a_right_answer_one() -> None:
    partial, plain = SolveVerifier(("python",), partial=True), SolveVerifier(("python",))
    nearly = in_fence(PYTHON.replace("100", "101"))
    assert partial.judge(tax_problem(), nearly).score == pytest.approx(8 / 9)
    assert partial.judge(tax_problem(), nearly).status == "wrong"
    assert plain.judge(tax_problem(), nearly).score == 0.0
    assert partial.judge(tax_problem(), in_fence(PYTHON)).score == 1.0
    assert partial.judge(tax_problem(), "").score == 0.0
    assert partial.version != plain.version  # else one ledger would hold two scales under one name


@pytest.mark.parametrize("language", ["fortran", "cobol"])
def test_other_languages(language: str) -> None:
    usable(language)
    problem, verifier = tax_problem(language), SolveVerifier((language,))
    gold = GOLDS[language]
    verdict = verifier.judge(problem, f"Here:\n\n{in_fence(gold, language)}")
    assert verdict.status == "correct", verdict.reason
    assert str(verdict.sandbox).partition("+")[0] in SANDBOX_LAYERS
    assert judged(in_fence(gold, ""), problem, verifier)[0] == "correct"
    assert judged(in_fence(gold.replace("100", "104"), language), problem, verifier) == (
        "wrong",
        "right for 7 of 9 inputs; input 3: it gives 0",
    )
    status, why = judged(in_fence(gold.replace("100", "100 +* 3"), language), problem, verifier)
    assert (status, "compile: " in why) == ("wrong", True)
    assert judged(in_fence(PYTHON), problem, verifier)[0] == "unparsed"


class _Watched:
    """A sandbox that remembers what was run in it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def run(self, run: Run) -> RunResult:
        self.seen.append(repr(run))
        return shared_sandbox().run(run)


def test_what_it_shall_give_never_enters_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a solution could read has a result in it: 12345678901234567 is one, and no input."""
    watched = _Watched()
    monkeypatch.setattr(solve, "shared_sandbox", lambda: watched)
    problem = tax_problem().model_copy(update={"facts": {**tax_facts(), "tests": [[[5], 12345678901234567]]}})
    assert judged(in_fence(PYTHON), problem)[0] == "wrong"
    (seen,) = watched.seen
    assert "tax_of" in seen
    assert "12345678901234567" not in seen


def test_labelled_answers_are_what_they_say() -> None:
    exam = exam_of(tax_facts())
    found = labelled_solutions(exam, "key")
    verifier = SolveVerifier(("python",))
    kinds = {one.kind for one in found}
    assert {"gold among words", "gold in a plain fence", "gold in other words"} <= kinds
    assert {"mutants", "skeleton", "hacks", "constant"} <= kinds
    for one in found:
        assert one.texts
        for text in one.texts:
            assert (judged(text, verifier=verifier)[0] == "correct") == one.is_right, (one.kind, text)
    mutants = next(one for one in found if one.kind == "mutants")
    assert len(set(mutants.texts)) == len(mutants.texts) == 3


def test_a_constant_is_a_wrong_answer_only_where_results_differ() -> None:
    same = exam_of(tax_facts(cents=(0, 1, 2, 3)))
    assert "constant" not in {one.kind for one in labelled_solutions(same, "key")}


@pytest.mark.parametrize("language", ["fortran", "cobol"])
def test_labelled_answers_of_other_languages(language: str) -> None:
    usable(language)
    problem, verifier = tax_problem(language), SolveVerifier((language,))
    found = labelled_solutions(exam_of(problem.facts), "key")
    assert {"mutants", "skeleton", "hacks", "constant"} <= {one.kind for one in found}
    for one in found:
        for text in one.texts:
            assert (judged(text, problem, verifier)[0] == "correct") == one.is_right, (one.kind, text)


def test_the_question_shows_the_heading_and_the_examples_and_no_more() -> None:
    exam = exam_of(tax_facts())
    asked = solve_question(exam, "Tax is a fifth above 100.", [([50], 0), ([10**12], 2 * 10**11)])
    assert asked.startswith(
        "Write a function in Python.\n\nTax is a fifth above 100.\n\n```python\ndef tax_of(cents: int)"
    )
    assert asked.count(" gives ") == 2
    assert f"tax_of(50) gives 0\ntax_of({10**12}) gives {2 * 10**11}" in asked
    assert "999" not in asked  # which is tested
    assert "Examples" not in solve_question(exam, "x", [])
    code = asked.partition("```python\n")[2].partition("```")[0]
    assert ast.parse(code)
    assert "// 5" not in asked  # no gold
    assert COBOL not in solve_question(exam_of(tax_facts("cobol")), "x", [])
