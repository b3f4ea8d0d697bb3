"""The ``chat`` family: conversations of your own, to be learnt from and to be asked. Nobody can grade them.

In: ``chat:chats.jsonl``, ``chat:folder/**``, ``chat:data/*.parquet``, ``chat:a.jsonl|b.jsonl``, or ``chat:org/name`` of
the Hugging Face hub; rows as OpenAI, ShareGPT, Alpaca and others write them, found by their fields. Out: a Task that
cannot grade. A problem's messages are the conversation up to the last reply, which is its solution; ``facts["turns"]``
are the places among the messages of earlier replies that are to be learnt too. Definitions of tools stand in the first
message. ``docs/own-data.md`` has the formats.

A problem is its prompt, what system and user said: the same prompt with another reply is the same problem, and whatever
file it stands in, it is in the same split. Replies behind more or fewer results of tools are problems of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Literal, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem, Verdict
from spiritsafe.tasks.data.knobs import DataKnobs, DataSources
from spiritsafe.tasks.families.chat.conversations import Example, RowFault, read_example
from spiritsafe.tasks.families.chat.layouts import Fields, Format, RowLayout, find_layout
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import TaskSpec, resolve_knobs
from spiritsafe.tasks.task import Draft, Task, Verifier

_VARIANT = "\x1f"  # white space, so no prompt in its normal form holds it


class ChatKnobs(DataKnobs):
    """Knobs of ``chat``.

    Attributes:
        format: Of the rows; found by their fields when left out.
        messages: Field of the list of turns.
        question: Field of what is asked.
        answer: Field of what is replied.
        input: Field of what an Alpaca instruction is about.
        system: Field of the system's text.
        tools: Field of the definitions of tools.
        dedupe: Keep one reply to each prompt, the first; else all of them.
        broken: What to do about rows that cannot be used: "refuse" the file, or "skip" them.
    """

    format: Literal["", "messages", "sharegpt", "alpaca", "prompt-completion", "question-answer", "prompts"] = ""
    messages: str = ""
    question: str = ""
    answer: str = ""
    input: str = ""
    system: str = ""
    tools: str = ""
    dedupe: bool = True
    broken: Literal["refuse", "skip"] = "refuse"


@final
class NoVerifier(Verifier):
    """Says of every answer that nobody can tell."""

    name = "none"
    version = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Always "unscored"."""
        return self.verdict("unscored", reason="conversations have no verifier")


@final
class ChatTask(Task):
    """Conversations of one data set, with the data's digest in their name."""

    finite = True
    verifies = False

    def __init__(self, location: str, knobs: ChatKnobs) -> None:
        self._knobs = knobs
        self._data = DataSources("chat", location, knobs)
        super().__init__(name=self._data.name, version="1", verifier=NoVerifier())

    @cached_property
    def _layouts(self) -> list[tuple[str, range, RowLayout]]:
        """The files, which rows are theirs, and how they are laid out."""
        rows, given = self._data.study.rows(), self._knobs.model_dump()
        return [
            (name, places, find_layout(Fields(rows[places.start : places.stop]), given, name))
            for name, places in self._data.study.tables()
            if places
        ]

    @cached_property
    def _read(self) -> tuple[dict[str, tuple[int, RowLayout]], int, int]:
        """By canonical texts the rows that are used; and how many were left out as duplicates and as broken."""
        rows = self._data.study.rows()
        used: dict[str, tuple[int, RowLayout]] = {}
        seen: Counter[str] = Counter()
        faults: list[str] = []
        for _, places, layout in self._layouts:
            for index in places:
                try:
                    prompt = _identity(read_example(rows[index], layout))
                except RowFault as fault:
                    faults.append(f"{self._data.study.place(index)}: {fault}")
                    continue
                seen[prompt] += 1
                if seen[prompt] == 1:
                    used[prompt] = index, layout
                elif not self._knobs.dedupe:
                    used[f"{prompt}{_VARIANT}reply {seen[prompt]}"] = index, layout
        if faults and self._knobs.broken == "refuse":
            raise TaskError(
                f"{faults[0]} ({len(faults):,} of {len(rows):,} rows cannot be used).",
                hint="Mend them, or leave them out: add broken=skip to the spec.",
            )
        return used, len(rows) - len(faults) - len(used), len(faults)

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        used, _, _ = self._read
        texts = list(used)
        for place in self._data.order(seed, len(texts)):
            text = texts[place]
            yield Draft(text, lambda text=text: self._problem(text))  # type: ignore[misc]  # mypy cannot type a lambda's default

    def _problem(self, text: str) -> Problem:
        index, layout = self._read[0][text]
        example: Example = read_example(self._data.study.rows()[index], layout)
        return Problem(
            task=self.name,
            canonical_text=text,
            messages=example.messages,
            facts={"turns": list(example.turns)},
            solution=example.reply,
        )

    def gold(self, problem: Problem) -> str:
        """The reply of the data; "" where it has none."""
        return problem.solution or ""

    @property
    def formats(self) -> tuple[Format, ...]:
        """Of its files, each named once."""
        return tuple(dict.fromkeys(layout.format for _, _, layout in self._layouts))

    def about(self) -> dict[str, str]:
        """Format, fields, and what was left out."""
        _, num_duplicates, num_broken = self._read
        told = {"format": ", ".join(self.formats)}
        layouts = list(dict.fromkeys(layout for _, _, layout in self._layouts))
        fields = [f"{what} = {name}" for layout in layouts for what, name in _fields(layout) if name]
        told["fields"] = ", ".join(dict.fromkeys(fields))
        told["rows"] = f"{len(self._data.study.rows()):,} in {len(self._layouts)} file{'s' * (len(self._layouts) > 1)}"
        told["left out"] = f"{num_duplicates:,} with a prompt that was there before, {num_broken:,} broken"
        return told


def _identity(example: Example) -> str:
    """The prompt, and how far the conversation has come where tools answer in it: some files have a row for each."""
    return f"{example.prompt}{_VARIANT}{example.num_results} results" if example.num_results else example.prompt


def _fields(layout: RowLayout) -> list[tuple[str, str]]:
    return [(what, getattr(layout, what)) for what in layout.__slots__ if what != "format"]


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: An unknown knob, or data that does not fit.
        SourceError: The data cannot be read.
    """
    return ChatTask(spec.name, resolve_knobs(spec, ChatKnobs))


FAMILY = Family(
    place=5,
    source="your files or a Hugging Face data set",
    describe=lambda: [
        (
            "<files, folder or org/name>",
            "conversations as OpenAI, ShareGPT, Alpaca and others write them; learnt from, not graded",
            None,
        )
    ],
    has_data=True,
    variant_mark=_VARIANT,
)
