"""Answers of which it is known whether they are right: how often does a verifier of code err?

In: a program that is right, its language and name. Out: right answers in other words and other settings, and wrong
ones: hacks, a few of them for each problem, so that all problems together try them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from spiritsafe.tasks.code.languages.language import Language
from spiritsafe.tasks.task import LabelledAnswers

_HACKS = 4
"""For each problem."""


def fenced(code: str, word: str) -> str:
    """A block of code."""
    return f"```{word}\n{code.rstrip()}\n```"


def right_code(code: str, other: str, language: Language) -> list[LabelledAnswers]:
    """The same code as models give it.

    Args:
        code: Right.
        other: The same in other words.
        language: Of both.
    """
    block = fenced(code, language.fences[0])
    example = fenced("f(1) -> 2", "text")
    return [
        LabelledAnswers(
            "gold among words",
            True,
            (
                f"Let me think about it.\n\n{block}\n\nThis does what is asked: it looks at each case in turn.",
                f"First an example:\n\n{example}\n\nAnd the code:\n\n{block}\n",
            ),
        ),
        LabelledAnswers("gold in a plain fence", True, (fenced(code, ""), fenced(code, language.fences[-1].upper()))),
        LabelledAnswers("gold in other words", True, (fenced(other, language.fences[0]),)),
    ]


def wrong_code(hacks: Mapping[str, str], key: str, word: str) -> list[LabelledAnswers]:
    """Some of the hacks, chosen by a problem's key.

    Args:
        hacks: By what they try.
        key: Of the problem.
        word: What the fence says.
    """
    order = sorted(hacks, key=lambda what: hashlib.sha256(f"{key}\0{what}".encode()).digest())
    return [LabelledAnswers("hacks", False, tuple(fenced(hacks[what], word) for what in order[:_HACKS]))]
