"""Exercises: facts that say all that a verifier needs, and the code that is looked for in answers."""

from __future__ import annotations

import json
import re
from random import Random

import pytest
from code_problems import COBOL, FORTRAN, PYTHON, tax_facts

from spiritsafe.core.records import Problem
from spiritsafe.tasks.code.languages.signature import CodeSignature, is_value
from spiritsafe.tasks.code.templates.catalogue import templates
from spiritsafe.tasks.families.code.exercises import exam_of, example_lines, facts_of, shown


def test_facts_survive_the_way_through_a_file_and_are_the_templates_own() -> None:
    rng = Random(3)
    for name in sorted(templates())[::7]:
        template = templates()[name]
        settings = template.draw(rng)
        facts = facts_of(template, settings, "python", num_inputs=8, chosen=False)
        problem = Problem(task="code:solve", canonical_text="x", messages=(), facts=facts)
        exam = exam_of(Problem.from_json(problem.to_json()).facts)
        assert exam == exam_of(facts)
        assert exam.signature == template.exercise(settings).signature
        assert 4 <= len(exam.inputs) == len(exam.results) <= 8
        space: dict[str, object] = {}
        exec(exam.gold, space)
        for inputs, result in zip(exam.inputs, exam.results, strict=True):
            assert exam.signature.accepts(inputs)
            assert is_value(result, exam.signature.result)
            again = space[exam.signature.name](*json.loads(json.dumps(inputs)))  # type: ignore[operator]
            assert (type(again), again) == (type(result), result), (name, settings, inputs)


def test_the_same_settings_give_the_same_facts_in_every_language_but_for_the_code() -> None:
    template = next(iter(templates().values()))
    settings = template.draw(Random(0))
    by_language = {
        name: facts_of(template, settings, name, num_inputs=12, chosen=True) for name in ("python", "fortran", "cobol")
    }
    for name, facts in by_language.items():
        assert facts == facts_of(template, settings, name, num_inputs=12, chosen=True)
        assert facts.pop("language") == name
    golds = {facts.pop("answer") for facts in by_language.values()}
    assert len(golds) == 3
    assert by_language["python"] == by_language["fortran"] == by_language["cobol"]


@pytest.mark.parametrize(
    ("language", "heading", "others"),
    [
        ("python", "def tax_of(x):", ["def tax_offer(x):", "tax_of(1)", "# def tax_of", "def taxing_of(x):"]),
        ("fortran", "integer(8) function tax_of(x)", ["function tax_offer(x)", "call tax_of(1)"]),
        ("cobol", "PROGRAM-ID. TAX-OF.", ["PROGRAM-ID. TAX-OFFER-X.", "CALL 'TAX-OF'", "PROGRAM-ID. TAX_OF."]),
    ],
)
def test_of_several_blocks_the_one_with_the_heading_is_taken(language: str, heading: str, others: list[str]) -> None:
    exam = exam_of(tax_facts(language))
    for other in others:
        text = f"```{language}\n{heading}\n```\n\n```{language}\n{other}\n```"
        assert str(exam.code_in(text)).strip() == heading, other
    spelt = {"python": heading, "fortran": heading.upper(), "cobol": heading.lower().replace("tax-of", "'tax-of'")}
    assert exam.code_in(spelt[language]) == spelt[language]
    assert exam.code_in("nothing of the kind") is None


@pytest.mark.parametrize(("language", "gold"), [("python", PYTHON), ("fortran", FORTRAN), ("cobol", COBOL)])
def test_a_whole_answer_without_a_fence_is_code(language: str, gold: str) -> None:
    assert exam_of(tax_facts(language)).code_in(gold) == gold


def test_examples_are_written_as_readers_of_every_language_understand_them() -> None:
    assert [shown(value) for value in (True, False, 7, "a b", [1, -2], [])] == [
        "true", "false", "7", '"a b"', "[1, -2]", "[]",
    ]  # fmt: skip
    signature = CodeSignature("find_it", (("text", "str"), ("deep", "bool")), "ints")
    lines = example_lines(signature, [(("x,y", True), [1]), (("", False), [])])
    assert lines == 'find_it("x,y", true) gives [1]\nfind_it("", false) gives []'
    assert not re.search(r"True|None", lines)
