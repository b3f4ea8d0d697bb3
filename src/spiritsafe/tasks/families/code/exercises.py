"""Exercises as facts of problems: what a verifier needs, and nothing that it would have to make anew.

In: a template's settings and a language. Out: the facts of a problem; and, of these facts, an :class:`Exam`: the
signature, the gold code in that language, inputs and what they shall give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, final

from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.code.answer import code_in
from spiritsafe.tasks.code.languages.cobol import program_name
from spiritsafe.tasks.code.languages.language import Language, language_named
from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue
from spiritsafe.tasks.code.templates.hidden import hidden_inputs
from spiritsafe.tasks.code.templates.template import Settings, Template
from spiritsafe.tasks.code.translate.translate import translate

_HEADINGS = {
    "python": r"^[ \t]*def[ \t]+{0}\b",
    "fortran": r"\bfunction[ \t]+{0}\b",
    "cobol": r"\bPROGRAM-ID[ \t]*\.[ \t]*['\"]?{0}\b",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """An exercise in a language.

    Attributes:
        language: The language.
        signature: Of the function.
        gold: A right solution in that language.
        inputs: Arguments to test with.
        results: What they shall give.
    """

    language: Language
    signature: CodeSignature
    gold: str
    inputs: Sequence[Sequence[CodeValue]]
    results: Sequence[CodeValue]

    def code_in(self, text: str) -> str | None:
        """The solution in an answer; None: there is none."""
        name = self.signature.name
        name = program_name(name) if self.language.name == "cobol" else name
        heading = _HEADINGS[self.language.name].format(re.escape(name))
        return code_in(text, self.language, re.compile(heading, re.MULTILINE | re.IGNORECASE))


def facts_of(
    template: Template,
    settings: Settings,
    language: str,
    *,
    num_inputs: int,
    chosen: bool,
    name: str | None = None,
) -> dict[str, Any]:
    """The facts of a problem.

    Args:
        template: Of the exercise.
        settings: Its settings, in canonical form.
        language: The name of a language.
        num_inputs: How many arguments to test with, at most.
        chosen: Choose those that notice most faults; it takes a tenth of a second.
        name: What the function is called, instead of its own name.
    """
    exercise = template.exercise(settings)
    signature, gold = exercise.signature, exercise.gold
    if name is not None:
        gold = re.sub(rf"\b{signature.name}\b", name, gold)
        signature = CodeSignature(name, signature.parameters, signature.result)
    seed = derive_seed(0, "code", template.canonical_text(settings))
    inputs = hidden_inputs(exercise, seed, num_inputs) if chosen else exercise.inputs(Random(seed), num_inputs)
    return {
        "language": language,
        "name": signature.name,
        "parameters": [list(parameter) for parameter in signature.parameters],
        "result": signature.result,
        "answer": translate(gold, signature, language),
        "tests": [[list(arguments), exercise.answer(arguments)] for arguments in inputs],
    }


def exam_of(facts: Mapping[str, Any]) -> Exam:
    """The exercise of a problem's facts."""
    parameters = tuple((str(name), kind) for name, kind in facts["parameters"])
    return Exam(
        language=language_named(str(facts["language"])),
        signature=CodeSignature(str(facts["name"]), parameters, facts["result"]),
        gold=str(facts["answer"]),
        inputs=[inputs for inputs, _ in facts["tests"]],
        results=[result for _, result in facts["tests"]],
    )


def shown(value: CodeValue) -> str:
    """A value as every language's readers understand it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def example_lines(signature: CodeSignature, examples: Sequence[tuple[Sequence[CodeValue], CodeValue]]) -> str:
    """Arguments and results, one example a line."""
    return "\n".join(
        f"{signature.name}({', '.join(map(shown, arguments))}) gives {shown(result)}" for arguments, result in examples
    )
