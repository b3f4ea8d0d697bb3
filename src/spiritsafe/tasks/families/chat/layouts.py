"""Layouts of rows: which fields hold what, found by their names or as they were named.

In: the rows of a file, and what its user said of them. Out: a :class:`RowLayout`. The names are those of OpenAI's and
TRL's files, of ShareGPT, of Alpaca and of the data sets that are around; upper and lower case are one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, final, get_args

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.spec import nearest

Format = Literal["messages", "sharegpt", "alpaca", "prompt-completion", "question-answer", "prompts"]
CHAT_FORMATS: tuple[Format, ...] = get_args(Format)

_LOOKED_AT = 100
_CONVERSATIONS = ("conversations", "conversation")
_PROMPTS = ("prompt", "instruction", "question", "problem", "query", "input", "user")
_REPLIES = ("completion", "response", "output", "reply", "answer", "solution", "assistant")
_QUESTIONS, _ANSWERS = ("question", "problem"), ("answer", "solution")
_CHOICES = ("choices", "options")
_RENAMED = ("messages", "question", "answer", "input", "system", "tools")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """Which field of a row holds what; "" for none.

    Attributes:
        format: By what it is called.
        messages: A list of turns.
        question: What is asked: a text, or a list of turns.
        answer: What is replied: a text, or a list of turns.
        input: What an Alpaca instruction is about.
        history: Of Alpaca, earlier pairs of instruction and output.
        system: The system's text.
        tools: Definitions of tools.
    """

    format: Format
    messages: str = ""
    question: str = ""
    answer: str = ""
    input: str = ""
    history: str = ""
    system: str = ""
    tools: str = ""


@final
class Fields:
    """The fields that a file's first rows have.

    Args:
        rows: Of the file; the first hundred are looked at.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.values: dict[str, list[Any]] = {}
        for row in islice(rows, _LOOKED_AT):
            for name, value in row.items():
                if value is not None:
                    self.values.setdefault(str(name), []).append(value)
        self._by_lower = {name.lower(): name for name in reversed(list(self.values))}

    def find(self, *names: str) -> str:
        """The first of some names that a field has, as the field spells it; "" for none."""
        return next((self._by_lower[name] for name in names if name in self._by_lower), "")

    def has_turns(self, name: str) -> bool:
        """Whether a field holds turns."""
        return any(turns_in(value) is not None for value in self.values.get(name, ()))

    @property
    def listed(self) -> str:
        """Their names, for errors."""
        return ", ".join(sorted(self.values)) or "no fields"


def turns_in(value: Any) -> list[Any] | None:
    """Turns as JSON has them, or as the text of a CSV file holds them; None: it is something else."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) and value and all(isinstance(turn, Mapping) for turn in value) else None


def has_choices(fields: Fields) -> bool:
    """Whether rows are multiple-choice questions."""
    name = fields.find(*_CHOICES)
    return bool(name) and any(isinstance(value, list | dict) for value in fields.values[name])


def questions_with_answers(fields: Fields) -> tuple[str, str] | None:
    """The fields of questions and of their answers, where rows are such pairs by name."""
    question, answer = fields.find(*_QUESTIONS), fields.find(*_ANSWERS)
    return (question, answer) if question and answer else None


def find_layout(fields: Fields, given: Mapping[str, str], where: str) -> RowLayout:
    """The layout of a file.

    Args:
        fields: What its rows have.
        given: What its user said: ``format``, and names of fields.
        where: The file, for errors.

    Raises:
        TaskError: No layout fits, or a field that was named is not there.
    """
    named = {what: given[what] for what in _RENAMED if given.get(what)}
    for what, name in named.items():
        if name not in fields.values:
            raise TaskError(
                f'No row of {where} has a field "{name}", which {what}= names.',
                hint=f"{nearest(name, fields.values)}Its rows have {fields.listed}.",
            )
    format = given.get("format") or _format_of(fields, named, where)
    if format not in CHAT_FORMATS:
        raise TaskError(f'There is no format "{format}".', hint=f"{nearest(format, CHAT_FORMATS)}{_known()}")
    found = {
        "system": fields.find("system", "system_prompt"),
        "tools": fields.find("tools", "functions"),
        **_own_fields(format, fields),
        **named,
    }
    layout = RowLayout(format=format, **found)
    missing = [what for what in _needed(layout) if not getattr(layout, what)]
    if missing:
        names = " and ".join(f"{what}=…" for what in missing)
        raise TaskError(
            f"{where} is not of the format {format}: its rows have {fields.listed}.",
            hint=f"Name their fields: {names}. {_known()}",
        )
    return layout


def _format_of(fields: Fields, named: Mapping[str, str], where: str) -> Format:
    """By the names that the user gave, else by those of the fields."""
    if "messages" in named or (not named.keys() & {"question", "answer"} and fields.has_turns(fields.find("messages"))):
        return "messages"
    if "question" in named:
        return "prompt-completion" if named.get("answer") or fields.find(*_REPLIES) else "prompts"
    if any(fields.has_turns(fields.find(name)) for name in _CONVERSATIONS):
        return "sharegpt"
    if has_choices(fields):
        raise TaskError(
            f"{where} holds multiple-choice questions.", hint="Use choice: instead of chat:, which can grade them."
        )
    if fields.find("instruction") and fields.find("output"):
        return "alpaca"
    if questions_with_answers(fields):
        return "question-answer"
    if fields.find(*_PROMPTS):
        prompt = fields.find(*_PROMPTS)
        others = [name for name in _REPLIES if name != prompt.lower()]
        return "prompt-completion" if named.get("answer") or fields.find(*others) else "prompts"
    if fields.find("text"):
        raise TaskError(
            f"{where} holds plain texts: it does not say what is asked and what is answered.",
            hint="Write rows with a prompt and a completion; or name the fields that hold them: question=…&answer=….",
        )
    raise TaskError(
        f"{where} is of no format that is known: its rows have {fields.listed}.",
        hint=f"Name what is asked and what is answered: question=…&answer=…. {_known()}",
    )


def _own_fields(format: str, fields: Fields) -> dict[str, str]:
    if format == "messages":
        return {"messages": fields.find("messages", *_CONVERSATIONS)}
    if format == "sharegpt":
        return {"messages": fields.find(*_CONVERSATIONS, "messages")}
    if format == "alpaca":
        return {
            "question": fields.find("instruction"),
            "input": fields.find("input"),
            "answer": fields.find("output", "response"),
            "history": fields.find("history"),
        }
    if format == "question-answer":
        question, answer = questions_with_answers(fields) or ("", "")
        return {"question": question, "answer": answer}
    question = fields.find(*_PROMPTS)
    if format == "prompts":
        return {"question": question}
    return {"question": question, "answer": fields.find(*(name for name in _REPLIES if name != question.lower()))}


def _needed(layout: RowLayout) -> Sequence[str]:
    if layout.format in ("messages", "sharegpt"):
        return ("messages",)
    return ("question",) if layout.format == "prompts" else ("question", "answer")


def _known() -> str:
    return f"Formats: {', '.join(CHAT_FORMATS)}."
