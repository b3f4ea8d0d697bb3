"""Benchmarks that go by a name: which set of the hub each is, at which commit, and what its fields are called.

In: ``gsm8k``, or ``gsm8k?file=DIRECTORY``. Out: the family, the location and the knobs that stand for it. Commits are
those that other evaluations of the same sets pin; :mod:`spiritsafe.tasks.data.published` has them, and what the files
are there. Where a benchmark has an official test split, exams are drawn from it; its other split is for study. Rows
that cannot be asked (two choices with the wording of the answer, no answer) are left out where a published set is known
to have some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from spiritsafe.tasks.data.published import PUBLISHED, PublishedSet


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What a name stands for.

    Attributes:
        family: Family of its task.
        hub: ``org/name``.
        about: What it asks.
        knobs: Of the family: configuration, splits, fields.
    """

    family: str
    hub: str
    about: str
    knobs: Mapping[str, str] = field(default_factory=dict)

    @property
    def published(self) -> PublishedSet:
        """The set at its commit, with its licence."""
        return PUBLISHED[self.hub]

    @property
    def revision(self) -> str:
        """The commit."""
        return self.published.revision


def _choice(hub: str, about: str, **knobs: str) -> Benchmark:
    return Benchmark(family="choice", hub=hub, about=about, knobs=knobs)


def _math(hub: str, about: str, **knobs: str) -> Benchmark:
    return Benchmark(family="math", hub=hub, about=about, knobs=knobs)


_ARC = "allenai/ai2_arc"
_GPQA = "Idavidrein/gpqa"
_OF_GPQA = {
    "split": "train",
    "question": "Question",
    "answer": "Correct Answer",
    "wrong": "Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3",
}

BENCHMARKS: Mapping[str, Benchmark] = {
    "gsm8k": _math(
        "openai/gsm8k", "grade-school word problems",
        config="main", split="train", exam="test",
    ),
    "math500": _math(
        "HuggingFaceH4/MATH-500", "500 problems of MATH's test set",
        split="test", question="problem", answer="answer", solution="solution",
    ),
    "aime24": _math(
        "HuggingFaceH4/aime_2024", "30 problems of AIME 2024",
        split="train", question="problem", answer="answer", solution="solution",
    ),
    "aime25": _math(
        "math-ai/aime25", "30 problems of AIME 2025",
        split="test", question="problem", answer="answer",
    ),
    "gpqa": _choice(_GPQA, "graduate questions, the diamond subset", config="gpqa_diamond", **_OF_GPQA),
    "gpqa-main": _choice(_GPQA, "graduate questions, the main subset", config="gpqa_main", **_OF_GPQA),
    "mmlu": _choice(
        "cais/mmlu", "57 subjects, 4 choices",
        config="all", split="validation", exam="test", faulty="skip",
    ),
    "mmlu-pro": _choice(
        "TIGER-Lab/MMLU-Pro", "harder questions, up to 10 choices",
        split="validation", exam="test", choices="options", faulty="skip",
    ),
    "arc": _choice(
        _ARC, "grade-school science, the challenge set",
        config="ARC-Challenge", split="train", exam="test", answer="answerKey", faulty="skip",
    ),
    "arc-easy": _choice(
        _ARC, "grade-school science, the easy set",
        config="ARC-Easy", split="train", exam="test", answer="answerKey", faulty="skip",
    ),
    "hellaswag": _choice(
        "Rowan/hellaswag", "how a text goes on",
        split="train", exam="validation", question="ctx", choices="endings", answer="label", faulty="skip",
    ),
    "commonsenseqa": _choice(
        "tau/commonsense_qa", "everyday knowledge, 5 choices",
        split="train", exam="validation", answer="answerKey", faulty="skip",
    ),
    "openbookqa": _choice(
        "allenai/openbookqa", "elementary science, 4 choices",
        config="main", split="train", exam="test", question="question_stem", answer="answerKey", faulty="skip",
    ),
    "ifeval": Benchmark(
        family="ifeval", hub="google/IFEval", about="541 prompts with instructions that a program checks",
        knobs={"split": "train"},
    ),
}  # fmt: skip
"""By name, every benchmark there is."""

_OF_A_SET = ("config", "split", "exam", "revision")


def stands_for(benchmark: Benchmark, given: Mapping[str, str]) -> tuple[str, str, dict[str, str]]:
    """Family, location and knobs.

    Args:
        given: Knobs that were written behind the name; ``file`` is a local copy, a file or a folder.
    """
    knobs = {**benchmark.knobs, "revision": benchmark.revision}
    own = {key: value for key, value in given.items() if key != "file"}
    location = given.get("file", "") or benchmark.hub
    if location != benchmark.hub:
        folder = Path(location)
        gone = ["revision"] if folder.is_dir() else list(_OF_A_SET)
        if not (folder / "README.md").is_file() and not (folder / knobs.get("config", ".")).is_dir():
            gone.append("config")  # only the files of one configuration were copied
        knobs = {key: value for key, value in knobs.items() if key not in gone}
    return benchmark.family, location, {**knobs, **own}
